"""What is kept of the parts of ``make trust`` that were tried."""

import xml.etree.ElementTree as ElementTree

import pytest
from trust.__main__ import main
from trust.outcome import Outcome

from trust import hostile, numbers, outcome, record

FINE = Outcome("files", 7, "files", note="seed 3")
CASE = ElementTree.fromstring(
    '<testcase name="b"><properties><property name="tried" value="4"/></properties></testcase>'
)
SHORT = Outcome("sets", 5, "cases", ("one is wrong",))


@pytest.fixture
def parts(monkeypatch):
    """Two parts of which one falls short."""
    monkeypatch.setattr(hostile, "check", lambda quick: iter([FINE]))
    monkeypatch.setattr(numbers, "check", lambda quick: iter([FINE, SHORT]))


def test_each_part_is_kept_and_replaced_by_its_next_run(parts, tmp_path, monkeypatch, capsys):
    place = tmp_path / "results.json"
    assert main(["hostile", "numbers", "--output", str(place)]) == 1
    assert "fell short: one is wrong" in capsys.readouterr().out

    monkeypatch.setattr(numbers, "check", lambda quick: iter([FINE]))
    assert main(["numbers", "--output", str(place)]) == 0
    held = record.read(place)
    assert {name: part.outcomes for name, part in held.items()} == {
        "hostile": (FINE,),
        "numbers": (FINE,),
    }
    assert held["numbers"].versions["python"]


def test_a_run_that_is_stopped_keeps_the_parts_it_had_done(parts, tmp_path, monkeypatch):
    def stopped(quick):
        yield FINE
        raise KeyboardInterrupt

    monkeypatch.setattr(numbers, "check", stopped)
    place = tmp_path / "results.json"
    with pytest.raises(KeyboardInterrupt):
        main(["hostile", "numbers", "--output", str(place)])
    assert list(record.read(place)) == ["hostile"]


def test_a_quick_look_leaves_no_earlier_part_beside_its_own(parts, tmp_path):
    place = tmp_path / "results.json"
    main(["hostile", "--output", str(place)])
    main(["--quick", "numbers", "--output", str(place)])
    assert list(record.read(place)) == ["numbers"]


def test_the_last_results_are_shown_without_trying_anything(parts, tmp_path, monkeypatch, capsys):
    place = tmp_path / "results.json"
    main(["numbers", "--output", str(place)])
    first = capsys.readouterr().out
    monkeypatch.setattr(numbers, "check", None)
    assert main(["--show", "--output", str(place)]) == 1
    assert capsys.readouterr().out == first.removesuffix(f"written to {place}\n")


def test_only_what_fell_short_is_tried_again(parts, tmp_path, monkeypatch, capsys):
    place = tmp_path / "results.json"
    ids = ("tests/a/test_x.py::test_y[z w]", "tests/a/test_x.py::TestA::test_b")
    monkeypatch.setattr(numbers, "check", lambda quick: iter([Outcome("sets", 9, "cases", ids)]))
    main(["hostile", "numbers", "--output", str(place)])
    asked = []

    def once_more(names):
        asked.append(names)
        return [CASE], ""

    monkeypatch.setattr(outcome, "cases_of", once_more)
    monkeypatch.setattr(hostile, "check", None)
    assert main(["hostile", "numbers", "--again", "--output", str(place)]) == 0
    assert asked == [list(ids)]
    held = record.read(place)
    assert held["hostile"].outcomes == (FINE,)
    (sets,) = held["numbers"].outcomes
    assert (sets.tried, sets.short) == (9 - 2 + 4, ())
    assert "2 tests that fell short were tried again" in sets.note


@pytest.mark.parametrize("name", ["test_y[z w]", "TestA::test_b"])
def test_what_falls_short_is_named_as_pytest_takes_it(name):
    inside, _, last = name.rpartition("::")
    classname = ".".join(filter(None, ["tests.a.test_x", inside]))
    case = ElementTree.Element("testcase", file="tests/a/test_x.py", classname=classname, name=last)
    ElementTree.SubElement(case, "failure")
    assert outcome.of_cases("x", "cases", [case]).short == (f"tests/a/test_x.py::{name}",)


def test_the_kept_record_is_of_full_runs_of_committed_sources():
    held = record.read()
    assert held
    assert list(held) == [name for name in record.PARTS if name in held]
    assert {part.sources[-1:] for part in held.values()}.isdisjoint({"+", ""})
