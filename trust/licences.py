"""Licences of what mpprobe needs when it runs: which pass, and which pass for a reason."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable

from packaging.utils import canonicalize_name

#: Permissive ones, and those that ask for their own files only: any program may use them.
ALLOWED = frozenset({
    "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "BSD",
    "BSL-1.0", "CC0-1.0", "ISC", "MIT", "MIT-0", "MIT-CMU", "MPL-2.0", "OLDAP-2.8", "PSF-2.0",
    "Unlicense", "Zlib",
})  # fmt: skip

#: What packages write that aren't SPDX's names.
SPELLINGS = {
    "Apache 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}

_LIBRARY = "imported when it runs, unchanged and replaceable, never copied into mpprobe's wheel"

#: Packages that pass by name: their licence, and why.
EXPLAINED = {
    "ase": ("LGPL-2.1-or-later", f"reads structures; {_LIBRARY}"),
    "matscipy": ("LGPL-2.1-or-later", f"finds neighbours; {_LIBRARY}"),
    "dftd4": ("LGPL-3.0-or-later", f"gives EEQ charges; {_LIBRARY}"),
    "torch-ema": ("MIT", "its metadata name none; the MIT text is in its LICENSE file"),
}

# What stands for an expression in brackets that passes; no licence is called so.
_PASSES = "<passes>"

#: They come with torch's CUDA build from PyPI, which a machine without CUDA need not have.
CUDA = re.compile(r"nvidia-.*|cuda-.*")


def licences() -> dict[str, str]:
    """The licence that every installed package states, by name.

    Raises:
        CalledProcessError: pip-licenses, of the extra ``trust``, isn't there or failed.
    """
    command = [sys.executable, "-m", "piplicenses", "--format=json", "--from=mixed",
               "--with-system"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {str(canonicalize_name(p["Name"])): p["License"] for p in json.loads(done.stdout)}


def allowed(stated: str) -> bool:
    """Whether an SPDX expression, or a list with semicolons, needs no licence but those allowed.

    Of licences joined by OR one is enough.
    """
    if ";" in stated:
        return all(allowed(part) for part in stated.split(";"))
    text = SPELLINGS.get(stated.strip(), stated.strip())
    while (inner := re.sub(r"\(([^()]*)\)", lambda m: _value(m[1]), text)) != text:
        text = inner
    return _value(text) == _PASSES


def _value(expression: str) -> str:
    """Whether it passes, as text that can stand in an expression around it."""
    choices = [re.split(r"\s+AND\s+", choice) for choice in re.split(r"\s+OR\s+", expression)]
    passes = any(all(part.strip() in {*ALLOWED, _PASSES} for part in parts) for parts in choices)
    return _PASSES if passes else "<refused>"


def unexplained(names: Iterable[str], stated: dict[str, str]) -> list[str]:
    """Packages whose licence neither is allowed nor has a reason to pass, a line each."""
    lines = []
    for name in names:
        licence = " ".join(stated.get(name, "UNKNOWN").split())
        if not (name in EXPLAINED or CUDA.fullmatch(name) or allowed(licence)):
            lines.append(f"{name}: {licence[:100]}: neither allowed nor explained")
    return lines
