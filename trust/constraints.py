"""Refresh constraints.txt from a fresh installation: ``make constraints``.

A new environment in a temporary folder gets ``.[all,dev,trust]`` as pip resolves it today, but for
the versions in :data:`KEPT`; what then is installed becomes the pins. Run the tests before they are
committed. With ``--keep`` today's pins hold, and only packages that came or went are changed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path

from packaging.utils import canonicalize_name

from trust.dependencies import pins
from trust.licences import CUDA
from trust.outcome import ROOT

FILE = ROOT / "constraints.txt"

#: Versions that a refresh doesn't change, and why. Change them here, with the README's lines.
KEPT = {
    "e3nn": ("0.5.1", "serves SevenNet and MACE at once"),
    "mace-torch": ("0.3.16", "installed alone, for it pins e3nn 0.4.4; tried with 0.5.1"),
    "sevenn": (
        "0.13.0",
        "the checkpoints in its wheel are known by their hashes",
    ),
    "torch": ("2.13.0", "the last one tried with e3nn 0.5.1"),
}

HEADER = """\
# The versions that mpprobe is tested with. `make` installs these:
#     pip install -c constraints.txt -e ".[all,dev]"
#     pip install -c constraints.txt --no-deps mace-torch
# `make constraints` makes this file anew (trust/constraints.py), and keeps these versions:
"""

#: Not pinned: what installs, and what torch itself pins in its CUDA build.
_LEFT_OUT = {"mpprobe", "pip", "triton"}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m trust.constraints", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="change no version that is pinned")
    parser.add_argument("--dry-run", action="store_true", help="only show what would change")
    options = parser.parse_args(arguments)
    before = pins()
    text = as_text(resolved(before if options.keep else {}))
    for line in changes(before, pins(text)):
        print(line)
    if not options.dry_run:
        FILE.write_text(text, encoding="utf-8")
        print(f"written to {FILE}; run the tests, and make sbom, before you commit it")
    return 0


def resolved(held: dict[str, str]) -> list[str]:
    """What pip freeze says of a new environment in which these versions are held.

    Raises:
        CalledProcessError: pip can't install it.
    """
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "venv"
        venv.create(place, with_pip=True)
        python = place / ("Scripts" if sys.platform == "win32" else "bin") / "python"
        limits = Path(folder) / "held.txt"
        versions = held | {name: version for name, (version, _) in KEPT.items()}
        limits.write_text("".join(f"{n}=={v}\n" for n, v in versions.items()), encoding="utf-8")
        install = [python, "-m", "pip", "install", "--quiet", "-c", limits]
        subprocess.run([*install, f"{ROOT}[all,dev,trust]"], check=True)
        subprocess.run([*install, "--no-deps", "mace-torch"], check=True)
        freeze = [python, "-m", "pip", "freeze", "--all"]
        return subprocess.run(
            freeze, check=True, capture_output=True, text=True
        ).stdout.splitlines()


def as_text(frozen: Sequence[str]) -> str:
    """The file, from lines ``name==version``; builds (``+cpu``) aren't told apart."""
    lines = {}
    for line in frozen:
        name, _, version = line.partition("==")
        plain = str(canonicalize_name(name))
        if version and plain not in _LEFT_OUT and not CUDA.fullmatch(plain):
            lines[plain] = f"{name}=={version.partition('+')[0]}\n"
    kept = "".join(f"#     {name} {version}: {why}\n" for name, (version, why) in KEPT.items())
    return HEADER + kept + "".join(lines[name] for name in sorted(lines))


def changes(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """What came, went and changed, a line each."""
    return [
        f"{name}: {before.get(name, 'new')} → {after.get(name, 'gone')}"
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    ]


if __name__ == "__main__":
    sys.exit(main())
