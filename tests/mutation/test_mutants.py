"""Which mutants are tried, in which order, and what is kept of it."""

from __future__ import annotations

from importlib.metadata import version

import pytest

pytest.importorskip("mutmut", reason="needs what make trust installs")

from trust.mutants import (
    RESULTS,
    Function,
    Results,
    carried_over,
    of_these_sources,
    order,
    split_name,
)
from trust.mutation import REASONS, of_room, read_reasons
from trust.reached import Reached

NAMES = {"mpprobe.probes.a.x_f": 40, "mpprobe.probes.a.x_g": 60, "mpprobe.targets.b.x_h": 20}


def functions(**changed):
    return {name: Function("same", n, **changed) for name, n in NAMES.items()}


def test_every_beginning_of_the_order_holds_each_module_by_its_size():
    ordered = order(functions())
    assert len(set(ordered)) == len(ordered) == 120
    for n in (12, 60, 90):
        of_a = sum(name.startswith("mpprobe.probes.a.") for name in ordered[:n])
        assert of_a == pytest.approx(n * 100 / 120, abs=1)


def test_the_order_is_random_within_a_module_and_the_same_again():
    ordered = order(functions())
    assert ordered == order(functions())
    assert ordered != order(functions(), seed=9)
    numbers = [number for name, number in map(split_name, ordered) if name.endswith("x_g")]
    assert numbers != sorted(numbers)
    first = [split_name(name)[0] for name in ordered[:30]]
    assert {"mpprobe.probes.a.x_f", "mpprobe.probes.a.x_g"} <= set(first)


def test_what_was_written_is_read(tmp_path):
    f = Function("a1b2", 5, [1, 3], [4], {"2": "Å → None"})
    results = Results("3.8", {"probes": "0a"}, {"mpprobe.probes.a.x_f": f})
    results.write(tmp_path / "results.json")
    assert Results.read(tmp_path / "results.json") == results
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]
    assert [f.has_tried(i) for i in range(1, 6)] == [True, True, True, True, False]


TESTS = {"probes": "old", "targets": "old"}


class TestWhatIsUsedAgain:
    def carried(self, tests=TESTS, **made):
        tried = {n: Function("same", m, [1], [2], {"3": "x"}) for n, m in NAMES.items()}
        old = Results(version("mutmut"), TESTS, tried)
        return carried_over(old, functions() | made, tests)

    def test_everything_where_nothing_has_changed(self):
        assert all(f.tried == 3 for f in self.carried().functions.values())

    def test_nothing_of_a_function_that_has_changed(self):
        found = self.carried(**{"mpprobe.probes.a.x_f": Function("other", 40)}).functions
        assert [found[name].tried for name in NAMES] == [0, 3, 3]

    def test_survivors_stay_until_they_are_tried_again(self):
        found = self.carried({"probes": "new", "targets": "old"})
        assert [found.functions[name].survived for name in NAMES] == [{"3": "x"}] * 3
        assert [found.functions[name].caught for name in NAMES] == [[1]] * 3
        assert found.tests == {"probes": "new", "targets": "old"}

    def test_rooms_that_are_not_looked_at_stay_as_they_are(self):
        made = {"mpprobe.targets.b.x_h": Function("other", 7)}
        tried = {n: Function("same", m, [1]) for n, m in NAMES.items()}
        old = Results(version("mutmut"), TESTS, tried)
        found = carried_over(old, made, {"targets": "old"})
        assert {n: (f.tried, f.mutants) for n, f in found.functions.items()} == {
            "mpprobe.probes.a.x_f": (1, 40),
            "mpprobe.probes.a.x_g": (1, 60),
            "mpprobe.targets.b.x_h": (0, 7),
        }


def test_what_was_tried_on_another_source_is_not_counted():
    name = "mpprobe.probes.controls.x_shuffle_within_species"
    there = Results.read(RESULTS).functions[name].source
    tried = {
        name: Function(there, 14, [1, 2]),
        "mpprobe.probes.maps.x_principal_components": Function("another", 51, [1, 2]),
        "mpprobe.probes.gone.x_f": Function("any", 5, [1]),
    }
    found = of_these_sources(Results("3.8", {}, tried)).functions
    assert {n: (f.tried, f.mutants) for n, f in found.items()} == {
        name: (2, 14),
        "mpprobe.probes.maps.x_principal_components": (0, 51),
    }


class TestTheChoiceOfTests:
    REACHED = Reached(
        tests={"f": ["slow", "quick", "shares", "shares too"]},
        seconds={"quick": 0.5, "slow": 9.0, "shares": 0.1, "shares too": 0.2},
        shared={"fixture": 3.0},
        uses={"quick": [], "slow": [], "shares": ["fixture"], "shares too": ["fixture"]},
    )

    def test_the_quickest_come_first_and_what_they_share_is_made_once(self):
        tests, seconds = self.REACHED.chosen("f", 5.0)
        assert tests == ["quick", "shares", "shares too"]
        assert seconds == pytest.approx(3.8)

    def test_there_is_at_least_one(self):
        slow = Reached({"f": ["slow"]}, {"slow": 9.0}, {}, {"slow": []})
        assert slow.chosen("f", 5.0) == (["slow"], 9.0)
        assert slow.chosen("g", 5.0) == ([], 0.0)

    def test_files_that_are_run_again_replace_what_was_known(self):
        old = Reached({"f": ["a.py::x", "b.py::y"]}, {"a.py::x": 1, "b.py::y": 2}, {}, {})
        new = Reached({"g": ["a.py::x"]}, {"a.py::x": 3}, {}, {})
        found = old.without({"a.py"}).merged(new)
        assert found.tests == {"f": ["b.py::y"], "g": ["a.py::x"]}
        assert found.seconds == {"a.py::x": 3, "b.py::y": 2}


def test_reasons_are_of_changes_of_functions():
    reasons = read_reasons(REASONS)
    assert all(name.startswith("mpprobe.") and " → " in change for name, change in reasons)
    assert all(len(reason) > 20 for reason in reasons.values())


class TestARoom:
    def outcome(self, reasons, survivors=2, tests="old"):
        f = Function("s", 40, list(range(3, 33)), [], {str(i + 1): "x" for i in range(survivors)})
        results = Results("3.8", {"probes": "old"}, {"mpprobe.probes.a.x_f": f})
        return of_room("probes", results, reasons, tests)

    def test_survivors_without_a_reason_fall_short(self):
        found = self.outcome({})
        assert found.tried == 32
        assert found.short == ("mpprobe.probes.a.x_f: x",) * 2
        assert found.note.startswith("a random SAMPLE of 40; 93.8% caught (95 %: 79.2% to 99.2%)")

    def test_a_reason_is_of_one_change_of_one_function(self):
        assert self.outcome({("mpprobe.probes.a.x_f", "x"): "harmless"}).short == ()
        assert len(self.outcome({("mpprobe.probes.a.x_f", "y"): "harmless"}).short) == 2

    def test_too_many_fall_short_whatever_the_reasons(self):
        found = self.outcome({("mpprobe.probes.a.x_f", "x"): "harmless"}, survivors=8)
        assert found.short == ("probes: 8 of 38 mutants survived",)

    def test_changed_tests_are_told(self):
        assert "tests have changed since" in self.outcome({}, tests="new").note
        assert "tests have changed since" not in self.outcome({}).note
