"""Whether mpprobe can be had and runs on Pythons besides the one that its pins are made with."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from trust.dependencies import pins, runtime
from trust.outcome import ROOT

#: Those that the metadata name besides 3.11.
OTHERS = ("3.12",)


def environment(version: str) -> Path:
    """Its Python, where ``make test PYTHON=python3.12 VENV=.venv-3.12`` puts it."""
    return ROOT / f".venv-{version}/bin/python"


def without_wheel(version: str) -> str:
    """Why the pins can't be installed there without a compiler; empty if they can."""
    wanted = [f"{name}=={pins()[name]}" for name in runtime()]
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--no-deps",
            "--ignore-installed", "--target", folder, "--python-version", version,
            "--only-binary=:all:", *wanted,
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True)
    errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    return "" if done.returncode == 0 else (errors or ["pip ended without a word"])[-1]
