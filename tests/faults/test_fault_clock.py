"""Clocks that jump, and what dead processes and older releases leave: neither matters."""

from __future__ import annotations

import json
import os
import time

import pytest

from faults.commands import UNFINISHED, alone, content
from mpprobe.activations import Journal
from mpprobe.errors import ToyError
from mpprobe.toys.training import _held

DAY, YEAR = 86400, 365 * 86400


@pytest.mark.slow
@pytest.mark.parametrize("jump", [-DAY, YEAR])
@pytest.mark.parametrize(
    "command", ["extract", *[pytest.param(c, marks=pytest.mark.slow) for c in ("run", "erase")]]
)
def test_a_clock_that_jumps_changes_nothing(command, jump, made, tmp_path, record_property):
    _, want = alone(made, command, tmp_path / "alone")
    folder = tmp_path / "work"
    ended = made.run(command, folder, before={"clock": [jump]}, fault="SIGTERM", at=30)
    assert ended.code in (0, 143), ended.said
    for path in [*folder.rglob("*")]:
        os.utime(path, (time.time() + jump,) * 2)
    assert made.run(command, folder, before={"clock": [-jump]}).code == 0
    assert content(folder) == want
    if command == "run":  # what is done is known whatever the clock said
        again = made.run(command, folder)
        assert sum("done before" in line for line in again.said) == 3, again.said
    record_property("tried", 2)


@pytest.mark.parametrize("command", ["ood", "merge"])
def test_a_folder_that_a_dead_process_left_is_cleared_away(command, made, tmp_path):
    _, want = alone(made, command, tmp_path / "alone")
    name = next(iter(want)).split("/")[command == "merge"]
    folder = tmp_path / "work"
    place = folder / "out" if command == "merge" else folder
    left = place / f".part-1-0123456789ab-{name}"
    (left / "new").mkdir(parents=True)
    (left / "new" / "results.json").write_text("{")
    (left / ".lock").touch()
    assert made.run(command, folder).code == 0
    assert content(folder) == want


def test_results_set_aside_by_a_process_that_died_are_put_back(made, tmp_path):
    """Where two folders can't be swapped, it may die between the two renames."""
    _, want = alone(made, "ood", tmp_path / "alone")
    folder = tmp_path / "work"
    assert made.run("ood", folder).code == 0
    left = folder / ".part-1-0123456789ab-out"
    left.mkdir()
    (left / ".lock").touch()
    os.rename(folder / "out", left / "old")
    ended = made.run("ood", folder)
    assert ended.code == 2
    assert "holds results already" in ended.last
    assert content(folder) == want


@pytest.mark.parametrize("garbage", [
    b"\xff\xfe\x00", b"null", b"123", b"[]", b'{"name": "part 9", "part": 1}', bytes(40),
    b'{"crc32": 0, "held": ["part 1", 7]}', b'{"crc32": 1, "held": 3}',
])  # fmt: skip
def test_garbage_in_a_journal_costs_no_whole_part(tmp_path, garbage):
    file = tmp_path / "parts.jsonl"
    journal = Journal(file, "it")
    for k in range(3):
        journal.part(f"part {k}", lambda k=k: {"value": k})
    whole = file.read_bytes()
    for content_now in (whole + garbage, whole + garbage + b"\n",
                        whole[: whole.index(b"\n") + 1] + garbage + b"\n"
                        + whole[whole.index(b"\n") + 1 :]):  # fmt: skip
        file.write_bytes(content_now)
        again = Journal(file, "it")
        assert again.parts == {f"part {k}": {"value": k} for k in range(3)}
        again.part("part 3", lambda: 3)
        assert Journal(file, "it").found == 4


def test_a_digit_changed_in_a_journal_is_made_again(tmp_path):
    file = tmp_path / "parts.jsonl"
    Journal(file, "it").part("one", lambda: 0.125)
    file.write_text(file.read_text().replace("0.125", "0.126"))
    assert Journal(file, "it").part("one", lambda: 0.125) == 0.125


@pytest.mark.slow
def test_a_journal_of_an_older_release_is_begun_anew(made, tmp_path):
    _, want = alone(made, "erase", tmp_path / "alone")
    left = tmp_path / "work" / f"out{UNFINISHED}"
    left.mkdir(parents=True)
    (left / "parts.jsonl").write_text('{"about": "old"}\n' + json.dumps({"name": 1}) + "\n")
    assert made.run("erase", tmp_path / "work").code == 0
    assert content(tmp_path / "work") == want


def test_a_damaged_state_of_training_is_one_line(tmp_path):
    last = tmp_path / "last.pt"
    last.write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(ToyError, match=r"isn't what a training run leaves .* from the start$"):
        _held(last)
