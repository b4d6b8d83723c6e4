"""Extraction killed at any moment, and resumed: the same store, byte for byte."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mpprobe.activations import Store

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX processes")

LIMIT, MAX_ATOMS = 8, 8
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


class Server:
    """The script beside this test, which forks a child for each extraction."""

    def __init__(self) -> None:
        script = Path(__file__).with_name("extracting.py")
        self.process = subprocess.Popen(
            [sys.executable, script, "ionic", str(LIMIT), str(MAX_ATOMS)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT,
        )  # fmt: skip
        assert self.answer() == "ready"

    def answer(self) -> str:
        return self.process.stdout.readline().strip()

    def ask(self, *words) -> int:
        print(*words, file=self.process.stdin, flush=True)
        return int(self.answer())

    def start(self, folder, step="-", count=0, seeds=1) -> int:
        return self.ask("start", folder, step, count, seeds)

    def wait(self, child: int) -> int:
        return self.ask("wait", child)

    def extract(self, folder, step="-", count=0, seeds=1) -> int:
        return self.wait(self.start(folder, step, count, seeds))


@pytest.fixture(scope="module")
def server():
    server = Server()
    yield server
    server.process.communicate()
    assert server.process.returncode == 0


@pytest.fixture(scope="module")
def undisturbed(server, tmp_path_factory):
    """What one run that is left alone makes, and the seconds it takes."""
    folder = tmp_path_factory.mktemp("undisturbed")
    start = time.perf_counter()
    assert server.extract(folder) == 0
    return content(folder), time.perf_counter() - start


def test_an_undisturbed_store_is_complete_and_holds_nothing_else(undisturbed):
    files, _ = undisturbed
    (store,) = {Path(name).parts[0] for name in files}
    shards = [name for name in files if name.endswith(".safetensors")]
    assert len(shards) >= LIMIT - 1
    assert set(files) - set(shards) == {
        f"{store}/{name}" for name in ("manifest.json", "structures.jsonl", "index.parquet")
    }


@pytest.mark.parametrize("step", ["write", "rename", "renamed"])
def test_a_kill_at_each_step_of_writing_loses_nothing(server, undisturbed, step, tmp_path):
    # Structures, index and manifest are the first three files; shards follow.
    killed = 0
    for count in (1, 2, 3, 1, 3, 5):
        killed += server.extract(tmp_path, step, count) == -signal.SIGKILL
    assert killed >= 5
    assert server.extract(tmp_path) == 0
    assert content(tmp_path) == undisturbed[0]


def test_a_killed_run_leaves_whole_shards_only(server, undisturbed, tmp_path):
    assert server.extract(tmp_path, "write", 6) == -signal.SIGKILL
    (folder,) = tmp_path.iterdir()
    assert [p.name for p in folder.rglob(".part-*")], "the kill left no half-written file"
    store = Store.open(tmp_path)
    there = [s.number for s in store.shards if s.number not in store.missing()]
    assert there == [0, 1]
    for number in there:
        assert np.isfinite(store.read_shard(number)[3].values).all()


def test_a_store_of_several_seeds_resumes_after_a_kill(server, tmp_path):
    assert server.extract(tmp_path / "killed", "write", 6, seeds=2) == -signal.SIGKILL
    assert len(Store.open(tmp_path / "killed").missing()) > 1
    for name in ("killed", "undisturbed"):
        assert server.extract(tmp_path / name, seeds=2) == 0
    assert content(tmp_path / "killed") == content(tmp_path / "undisturbed")
    assert Store.open(tmp_path / "killed").configuration.random_weights_seeds == (0, 1)


def test_random_kills_end_in_the_undisturbed_store(server, undisturbed, tmp_path):
    files, seconds = undisturbed
    rng = np.random.default_rng(0)
    killed = 0
    for _ in range(8):
        child = server.start(tmp_path)
        time.sleep(rng.uniform(0, seconds / 4))
        os.kill(child, signal.SIGKILL)
        killed += server.wait(child) == -signal.SIGKILL
    assert killed
    assert server.extract(tmp_path) == 0
    assert content(tmp_path) == files


def test_two_processes_on_one_store_share_the_work(server, undisturbed, tmp_path):
    children = [server.start(tmp_path), server.start(tmp_path)]
    assert [server.wait(child) for child in children] == [0, 0]
    assert content(tmp_path) == undisturbed[0]


def test_a_process_takes_over_what_a_killed_one_was_at(server, undisturbed, tmp_path):
    children = [server.start(tmp_path, "rename", 5), server.start(tmp_path)]
    assert [server.wait(child) for child in children] == [-signal.SIGKILL, 0]
    assert content(tmp_path) == undisturbed[0]


def kill_after_a_shard(folder: Path, delay: float) -> bool:
    """Run the real command, and kill it so long after it has put a shard in place.

    Returns whether it was killed, rather than done before.
    """
    before = set(content(folder))
    process = command(folder)
    while process.poll() is None and not [
        path for path in set(map(str, folder.rglob("*.safetensors")))
        if str(Path(path).relative_to(folder)) not in before
    ]:  # fmt: skip
        time.sleep(0.002)
    time.sleep(delay)
    process.kill()
    return process.wait() == -signal.SIGKILL


def command(folder: Path) -> subprocess.Popen:
    arguments = ["extract", "-m", "sevenn-0", "-s", "ionic", "--limit", LIMIT, "-o", folder,
                 "--max-atoms", MAX_ATOMS, "--random-seeds", 1, "--device", "cpu",
                 "--quiet"]  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "-c", "from mpprobe.cli import main; main()", *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        env=ENVIRONMENT,
    )


@pytest.mark.slow
def test_the_command_resumes_after_a_kill(undisturbed, tmp_path):
    files, seconds = undisturbed
    # A short delay, so that it is killed with shards left to make.
    assert kill_after_a_shard(tmp_path, np.random.default_rng(1).uniform(0, seconds / 5))
    assert 1 <= sum(name.endswith(".safetensors") for name in content(tmp_path)) < len(files) - 3
    assert command(tmp_path).wait(timeout=300) == 0
    assert content(tmp_path) == files


@pytest.mark.slow
def test_twenty_kills_of_the_command(undisturbed, tmp_path):
    files, seconds = undisturbed
    rng = np.random.default_rng(2)
    killed = rounds = 0
    while killed < 20:
        folder = tmp_path / str(rounds)
        folder.mkdir(exist_ok=True)
        if kill_after_a_shard(folder, rng.uniform(0, seconds / 3)):
            killed += 1
        else:  # it was done: this store must be whole, and the next kills are for another
            assert content(folder) == files
            rounds += 1
    assert command(folder).wait(timeout=300) == 0
    assert content(folder) == files
