"""Parts of a calculation that was stopped are there when it goes on."""

from __future__ import annotations

import pytest

from mpprobe.activations import Journal, journal_beside
from mpprobe.errors import StoreError


def stopped(output, about, parts):
    """A run that was interrupted after some parts."""
    with journal_beside(output, about) as journal:
        assert journal.found == 0
        for name, value in parts.items():
            journal.part(name, lambda value=value: value)
        raise KeyboardInterrupt


def refuse():
    raise AssertionError("made again")


def test_what_was_made_is_there_when_it_goes_on_to_the_last_digit(tmp_path):
    value = [{"x": 0.1 + 0.2, "none": None, "nan": float("nan")}]
    with pytest.raises(KeyboardInterrupt):
        stopped(tmp_path / "out", {"seed": 0}, {"one": value})
    with journal_beside(tmp_path / "out", {"seed": 0}) as journal:
        assert journal.found == 1
        again = journal.part("one", refuse)
        assert repr(again) == repr(value)
        assert journal.part("two", lambda: 2) == 2
    assert not (tmp_path / "out.unfinished").exists()


def test_parts_of_another_calculation_are_dropped(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        stopped(tmp_path / "out", {"seed": 0}, {"one": 1})
    with journal_beside(tmp_path / "out", {"seed": 1}) as journal:
        assert journal.found == 0
        assert journal.part("one", lambda: 2) == 2


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_line_cut_off_by_a_kill_is_made_again(tmp_path, cut):
    file = tmp_path / "parts.jsonl"
    journal = Journal(file, "it")
    for k in range(3):
        journal.part(f"part {k}", lambda k=k: {"value": k})
    content = file.read_bytes()
    file.write_bytes(content[:-cut])
    again = Journal(file, "it")
    # One byte is the end of the line: what is in it is whole.
    assert again.found == (3 if cut == 1 else 2)
    assert again.part("part 2", lambda: {"value": 2}) == {"value": 2}
    assert Journal(file, "it").found == 3


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[]\n", b'{"about": "it"}'])
def test_what_is_no_journal_is_begun_anew(tmp_path, content):
    file = tmp_path / "parts.jsonl"
    file.write_bytes(content)
    journal = Journal(file, "it")
    assert journal.found == 0
    journal.part("one", lambda: 1)
    assert Journal(file, "it").parts == {"one": 1}


def test_two_runs_do_not_share_one(tmp_path):
    """As two processes: locks are a process's own."""
    import subprocess
    import sys

    script = (
        "import sys; from pathlib import Path; from mpprobe.activations import journal_beside\n"
        "try:\n"
        "    with journal_beside(Path(sys.argv[1]), {}): pass\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    with journal_beside(tmp_path / "out", {}):
        done = subprocess.run([sys.executable, "-c", script, tmp_path / "out"], text=True,
                              capture_output=True, check=True)  # fmt: skip
    assert done.stdout.startswith("StoreError")
    assert "another run is writing there" in done.stdout


def test_a_failure_before_any_part_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="bad"), journal_beside(tmp_path / "out", {}):
        raise ValueError("bad")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_can_not_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(StoreError, match="can't be written"),
        journal_beside(tmp_path / "file" / "out", {}),
    ):
        pass
