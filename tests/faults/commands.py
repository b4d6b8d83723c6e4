"""Every command that writes, on small input, and what is done to it and looked at."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

CPU = ("--device", "cpu", "--no-progress")
SEVENN = ("-m", "sevenn-0", *CPU)
RESAMPLES = ("--resamples", "100")
ONCE = ("--assignments", "1")
TOY = ("-w", "fixed", "-n", "4", "-t", "1", "--channels", "4", "--no-progress", "--device", "cpu")

#: Arguments by command; FILE, PARTS, STORE, RUN, STUDY and SWEEP are filled in.
COMMANDS = {
    "extract": ("extract", *SEVENN, "-l", "1", "-s", "FILE", "--max-atoms", "8",
                "--random-seeds", "1"),
    "merge": ("merge", "PARTS", "--no-progress"),
    "probe": ("probe", *SEVENN, "-l", "1", "-s", "FILE", "--folds", "2", *RESAMPLES, *ONCE,
              "--random-seeds", "1"),
    "probe --store": ("probe", "--store", "STORE", "--folds", "2", *RESAMPLES, *ONCE,
                      "--no-progress"),
    "erase": ("erase", *SEVENN, "-l", "1", "-s", "FILE", "--limit", "6", "--folds", "2",
              *RESAMPLES, "--no-random-weights"),
    "steer": ("steer", *SEVENN, "-l", "1", "-s", "FILE", *RESAMPLES, "--no-random-weights"),
    "patch": ("patch", "-m", "sevenn-0", "--device", "cpu", "-l", "1", "-a", "0",
              "--source", "FILE@5", "--into", "FILE@8"),
    "attribute": ("attribute", *SEVENN, "-l", "1", "-s", "FILE@0", "-n", "energy",
                  "--no-random-weights"),
    "response": ("response", *SEVENN, "--compound", "NaCl", "--no-metals", *RESAMPLES,
                 "--no-random-weights"),
    "explain": ("explain", *SEVENN, *RESAMPLES, "-s", "FILE"),
    "ood": ("ood", *SEVENN, "-s", "FILE", *RESAMPLES),
    "nonlocal": ("nonlocal", *SEVENN, *RESAMPLES),
    "report": ("report", "RUN"),
    "run": ("run", "STUDY", "--no-progress"),
    "toy make": ("toy", "make", "out", "-w", "fixed", "-n", "2"),
    "toy train": ("toy", "train", *TOY, "--epochs", "3", "--test-structures", "5", *RESAMPLES),
    "toy sweep": ("toy", "sweep", *TOY, "--epochs", "1"),
    "toy report": ("toy", "report", "SWEEP"),
}  # fmt: skip
#: The name of what a command makes, where it isn't a folder called ``out``.
OUTPUTS = {"report": "out.html", "toy make": "out.extxyz"}
#: Beside an output while it is being made.
UNFINISHED = ".unfinished"
#: Files and entries that hold how long something took, or when it was done.
TIMED = ("seconds", "finished", "inputs")


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        code: exit status, negative for a signal.
        said: its lines.
    """

    code: int
    said: list[str]

    @property
    def last(self) -> str:
        return self.said[-1] if self.said else ""


class Faults:
    """The script beside, which runs commands in children of its own.

    Args:
        files: what stands for FILE and so on in :data:`COMMANDS`.
    """

    def __init__(self, files: dict[str, list[str]]) -> None:
        self.files = files
        self._children: set[int] = set()
        settings = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS",
                                 "NUMBA_NUM_THREADS"), "1")  # fmt: skip
        # Large arrays go back to the system when they are dropped, so that a limit is felt.
        settings["MALLOC_MMAP_THRESHOLD_"] = "65536"
        script = Path(__file__).with_name("faulting.py")
        self.process = subprocess.Popen(
            [sys.executable, script, files["FILE"][0]], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True, env=os.environ | settings,
        )  # fmt: skip
        assert self.process.stdout.readline() == "ready\n"

    def _ask(self, **request: Any) -> int:
        print(json.dumps(request), file=self.process.stdin, flush=True)
        return int(self.process.stdout.readline())

    def start(self, command: str, folder: Path, *more: str, **fault: Any) -> tuple[int, Path]:
        """Start a command in a folder; its process id, and the file of what it says.

        Args:
            command: one of :data:`COMMANDS`.
            folder: the current one of the process, in which the output is made.
            more: arguments, such as ``--overwrite``.
            fault: see faulting.py.
        """
        folder.mkdir(exist_ok=True)
        log = folder.with_name(folder.name + f"-{len(list(folder.parent.iterdir()))}.log")
        arguments = self.arguments(command, *more)
        child = self._ask(start={"arguments": arguments, "folder": str(folder), "log": str(log),
                                 **fault})  # fmt: skip
        self._children.add(child)
        return child, log

    def wait(self, child: int, log: Path) -> Ended:
        code = self._ask(wait=child)
        self._children.discard(child)
        return Ended(code, log.read_text(errors="replace").splitlines())

    def run(self, command: str, folder: Path, *more: str, **fault: Any) -> Ended:
        """Run a command to its end."""
        return self.wait(*self.start(command, folder, *more, **fault))

    def steps(self, command: str, folder: Path) -> list[str]:
        """What a command that is left alone does to its folder's files, in order."""
        child, log = self.start(command, folder)
        ended = self.wait(child, log)
        assert ended.code == 0, ended.said
        return log.with_name(log.name + ".steps").read_text().splitlines()

    def arguments(self, command: str, *more: str) -> list[str]:
        """The command's arguments, its output among them."""
        filled = []
        for word in COMMANDS[command]:
            name, at, index = word.partition("@")
            filled += [file + at + index for file in self.files[name]] if name in self.files else [
                output(command) if word == "out" else word
            ]  # fmt: skip
        if "out" not in COMMANDS[command]:
            filled += ["-o", output(command)]
        return [*filled, *more]

    def close(self) -> None:
        """End the script, and children that a failed test has left, stopped ones too."""
        for child in self._children:
            os.kill(child, signal.SIGKILL)
        self.process.communicate()
        assert self.process.returncode == 0


# What a command does and makes that is left alone, found out once.
_ALONE: dict[str, tuple[list[str], dict[str, bytes]]] = {}


def alone(runner: Faults, command: str, folder: Path) -> tuple[list[str], dict[str, bytes]]:
    """The steps of a command that nothing disturbs, and what it makes."""
    if command not in _ALONE:
        _ALONE[command] = runner.steps(command, folder), content(folder)
    return _ALONE[command]


def runner_of(command: str, request: Any) -> Faults:
    """With what the command takes; a sweep of toys is made only where it is needed."""
    return request.getfixturevalue("swept" if command == "toy report" else "made")


def output(command: str) -> str:
    """The name of what a command makes."""
    return OUTPUTS.get(command, "out")


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too, without the times that some say."""
    return {
        str(path.relative_to(folder)): _timeless(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _timeless(path: Path) -> bytes:
    """A file's bytes; where durations or times are told in it, what is left without them."""
    whole = path.read_bytes()
    if path.name == "history.csv":
        return b"\n".join(line.rpartition(b",")[0] for line in whole.splitlines())
    if path.suffix == ".json" and any(f'"{name}"'.encode() in whole for name in TIMED):
        with contextlib.suppress(ValueError):  # half of one, where a kill has left it
            return json.dumps(_without(json.loads(whole), TIMED)).encode()
    if path.suffix == ".pt":
        with contextlib.suppress(Exception):  # as above
            held, kept = torch.load(path, weights_only=False), io.BytesIO()
            torch.save(_without(held, TIMED), kept)
            return kept.getvalue()
    return whole


def _without(value: Any, names: tuple[str, ...]) -> Any:
    if isinstance(value, dict):
        return {k: _without(v, names) for k, v in value.items() if k not in names}
    return [_without(v, names) for v in value] if isinstance(value, list) else value


def of_result(files: dict[str, bytes], command: str) -> dict[str, bytes]:
    """Those of the files that have the names under which a finished command's are found."""
    made = output(command)
    return {
        name: value for name, value in files.items()
        if Path(name).parts[0] == made and not any(p.startswith(".") for p in Path(name).parts)
    }  # fmt: skip


def empty_disk(path: Path, size: str) -> bool:
    """Mount an empty disk of so many bytes in memory; whether this machine lets us."""
    path.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)]
    try:
        return subprocess.run(words, capture_output=True, check=False).returncode == 0
    except OSError:
        return False
