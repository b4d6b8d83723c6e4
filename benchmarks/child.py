"""Contenders in a process of their own, for settings that are read when a process starts.

The parent says which contender is to run, and waits: never do two of them work at once.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.timing import Run, Runnable

#: Children find this package in the folder above it, whatever folder the parent was started in.
ROOT = Path(__file__).parents[1]
#: glibc told to keep what it has been given, so that large arrays cost no page faults.
KEEP_MEMORY = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**40),
    "MALLOC_TOP_PAD_": str(2**28),
}


class Child:
    """A process running ``python -m MODULE ARGUMENTS`` that serves contenders by name.

    Args:
        module: one that ends in :func:`serve`.
        arguments: for its command line.
        environment: variables set in it.
    """

    def __init__(
        self, module: str, arguments: Sequence[str], environment: Mapping[str, str]
    ) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=os.environ | dict(environment),
        )
        self._answer()  # waits until it is ready

    def contender(self, name: str, atoms: int) -> Remote:
        return Remote(self, name, atoms)

    def ask(self, action: str, name: str, *arguments: float) -> Any:
        """What the contender's method of that name returns."""
        self._process.stdin.write(json.dumps([action, name, *arguments]) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the child process ended ({self._process.wait()}); see above")
        return json.loads(line)

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


class Remote:
    """A contender that a child runs and times."""

    def __init__(self, child: Child, name: str, atoms: int) -> None:
        self.child, self.name, self.atoms = child, name, atoms

    def warm_up(self, least: float) -> None:
        self.child.ask("warm_up", self.name, least)

    def run(self) -> Run:
        return Run(*self.child.ask("run", self.name))


def serve(contenders: Mapping[str, Runnable]) -> None:
    """Answer a parent's requests until it closes the line."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever libraries print goes to stderr

    def answer(value: Any) -> None:
        print(json.dumps(value), file=answers, flush=True)

    answer("ready")
    for line in sys.stdin:
        action, name, *arguments = json.loads(line)
        answer(getattr(contenders[name], action)(*arguments))


def run_json(module: str, *arguments: str, environment: Mapping[str, str] | None = None) -> Any:
    """What ``python -m MODULE ARGUMENTS`` prints as its last line, read as JSON."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=ROOT,
        env=os.environ | dict(environment or {}),
    )
    return json.loads(done.stdout.splitlines()[-1])
