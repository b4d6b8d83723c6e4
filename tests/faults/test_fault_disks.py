"""Disks that are full, too small, or can't be written: one line, and nothing half-written."""

from __future__ import annotations

import subprocess

import pytest

from faults.commands import COMMANDS, alone, content, of_result, output, runner_of

#: For a disk in memory, from too little for anything to too little for the last file.
SIZES = ("4k", "64k", "256k")
QUICK = ("extract", "ood")


def refused(ended, *says):
    assert ended.code == 2, ended.said
    assert ended.last.startswith("mpprobe: "), ended.said
    assert any(words in ended.last for words in says), ended.said
    assert "Traceback" not in "\n".join(ended.said)


def fill_up(runner, command, disk, sizes):
    """Run a command on ever larger disks, going on; how many were too small, and what came out."""
    folder, times = disk(sizes[0]), 0
    for size in (*sizes, "64m"):
        subprocess.run(["mount", "-o", f"remount,size={size}", folder], check=True)
        ended = runner.run(command, folder)
        if ended.code == 0:
            break
        times += 1
        refused(ended, "No space left on device")
        left = of_result(content(folder), command)
        assert command == "extract" or not left or command == "run"
        assert not any(".part-" in name for name in content(folder))
    assert ended.code == 0, ended.said
    return times, content(folder)


@pytest.mark.parametrize("command", [
    pytest.param(c, marks=() if c in QUICK else pytest.mark.slow) for c in COMMANDS
])  # fmt: skip
def test_a_full_disk_is_one_line_and_more_space_is_all_it_takes(
    command, request, disk, tmp_path, record_property
):
    runner = runner_of(command, request)
    _, want = alone(runner, command, tmp_path / "alone")
    times, files = fill_up(runner, command, disk, SIZES)
    assert times
    assert files == want
    record_property("tried", times)


@pytest.mark.parametrize("command", [
    pytest.param(c, marks=() if c in QUICK else pytest.mark.slow) for c in COMMANDS
])  # fmt: skip
def test_a_limit_on_the_size_of_files_is_one_line(command, request, tmp_path, record_property):
    """As a full disk, for a user who may mount none: a quota, or ``ulimit -f``."""
    runner = runner_of(command, request)
    largest = max(map(len, alone(runner, command, tmp_path / "alone")[1].values()))
    for limit in (largest // 2, largest - 1):
        ended = runner.run(command, tmp_path / "work", before={"limit_files": [limit]})
        refused(ended, "File too large", "no file may grow so large")
        assert not any(".part-" in name for name in content(tmp_path / "work"))
    ended = runner.run(command, tmp_path / "work")
    assert ended.code == 0, ended.said
    record_property("tried", 2)


@pytest.mark.parametrize("command", [
    pytest.param(c, marks=() if c in QUICK else pytest.mark.slow) for c in COMMANDS
])  # fmt: skip
def test_a_read_only_disk_is_refused_before_any_work(
    command, request, disk, tmp_path, record_property
):
    runner, folder = runner_of(command, request), disk("1m")
    subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
    refused(runner.run(command, folder), "Read-only file system")
    assert content(folder) == {}
    record_property("tried", 1)


@pytest.mark.parametrize("command", ["extract", "merge", "ood", "erase", "report", "run"])
def test_a_file_in_the_place_of_a_folder_is_refused(command, made, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("mine")
    ended = made.run(command, tmp_path / "work", "-o", str(blocked / output(command)))
    refused(ended, "Not a directory", "is a file", "File exists")
    assert blocked.read_text() == "mine"


def test_results_are_not_lost_where_the_disk_for_temporary_files_is_full(
    made, disk, tmp_path, record_property
):
    """Features lie there meanwhile, mapped: without space the process would die of SIGBUS."""
    small = str(disk("32k"))
    ended = made.run("probe", tmp_path / "work", before={"temporary_files": [small]})
    refused(ended, "no space for", "No space left on device")
    assert content(tmp_path / "work") == {}
    record_property("tried", 1)


def test_a_mount_point_is_no_output_folder(made, disk, tmp_path):
    """It can't be renamed, which would be found out when all the work is done."""
    folder = disk("1m")
    refused(made.run("ood", tmp_path / "work", "-o", str(folder)), "is a mount point")
    assert made.run("ood", tmp_path / "work", "-o", str(folder / "in-it")).code == 0


@pytest.mark.parametrize(
    "closed", ["close_reader", pytest.param("full_stdout", marks=pytest.mark.slow)]
)
def test_results_are_written_though_nobody_reads_stdout(made, tmp_path, closed):
    ended = made.run("ood", tmp_path / "work", before={closed: []})
    assert ended.code == 0, ended.said
    assert any(line.startswith("stdout: can't be written") for line in ended.said)
    assert content(tmp_path / "work") == alone(made, "ood", tmp_path / "alone")[1]


@pytest.mark.slow
def test_a_cache_that_can_not_be_written_costs_time_only(made, disk, tmp_path):
    """Compiled kernels are kept there for the next process."""
    ended = made.run("ood", tmp_path / "work", before={"cache_at": [str(disk("8k"))]})
    assert ended.code == 0, ended.said
