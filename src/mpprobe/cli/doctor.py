"""``mpprobe doctor``: what is installed here, what can be used, and what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mpprobe.cli import options
from mpprobe.cli.console import stdout
from mpprobe.errors import MissingPackageError, require


def doctor(as_json: options.Json = False, debug: options.Debug = False) -> int:
    """Say what is installed here, what can be used, and what is missing with the line for it.

    Exits with 3 if something that is needed is missing, can't be imported, or has a version that
    isn't supported.
    """
    require("packaging", "mpprobe doctor")
    from mpprobe.doctor import diagnose

    found = diagnose()
    if as_json:
        import json

        print(json.dumps(found, indent=1, ensure_ascii=False))
    else:
        _print(found)
    return MissingPackageError.exit_code if found["problems"] else 0


def _print(found: Mapping[str, Any]) -> None:
    console = stdout()
    python = found["python"]
    lines = [f"mpprobe {python['mpprobe']}, Python {python['installed']} ({python['supported']})"]
    lines += ["", "Packages (supported versions in brackets)", *_packages(found["packages"])]
    lines += ["", "Devices"]
    lines += [f"  {d['name']}: {d['what']}, {_size(d['memory'])}" for d in found["devices"]]
    lines += ["", f"Threads: {_threads(found['threads'])}", "", "Kept on disk"]
    lines += [
        f"  {c['what']}: {c['folder']}, {_size(c['bytes'])}; {_size(c['free'])} free"
        for c in found["caches"]
    ]
    lines += ["", "Models", *_models(found["models"])]
    missing = [p for p in found["parts"] if not p["installed"]]
    if missing:
        lines += ["", "Optional parts that are missing"]
        lines += [f"  {p['extra']}: {p['install']}" for p in missing]
    lines += ["", *(f"Advice: {line}" for line in found["advice"])]
    lines += [f"Problem: {line}" for line in found["problems"]] or ["Nothing needed is missing."]
    for line in lines:
        console.print(line, soft_wrap=True)


def _packages(packages: Sequence[Mapping[str, Any]]) -> list[str]:
    """Several packages a line; those that aren't as they should be say so in a word."""
    cells = []
    for p in packages:
        state = "" if p["state"] == "ok" else f" {p['state'].upper()}"
        version = f" {p['installed']}" if p["installed"] else ""
        cells.append(f"{p['name']}{version} ({p['supported'] or 'any'}){state}")
    width = max(map(len, cells), default=0) + 2
    return [
        "  " + "".join(cell.ljust(width) for cell in cells[i : i + 3]).rstrip()
        for i in range(0, len(cells), 3)
    ]


def _threads(threads: Mapping[str, Any]) -> str:
    counts = [f"{name} {threads[name]}" for name in ("torch", "numba") if name in threads]
    omp = threads["OMP_NUM_THREADS"] or "not set"
    cores = f"{threads['allowed']} of {threads['here']} cores allowed"
    return ", ".join([*counts, f"OMP_NUM_THREADS {omp}", cores])


def _models(models: Sequence[Mapping[str, str]]) -> list[str]:
    states = dict.fromkeys(m["state"] for m in models)
    return [f"  {s}: {', '.join(m['name'] for m in models if m['state'] == s)}" for s in states]


def _size(n_bytes: int | None) -> str:
    if n_bytes is None:
        return "memory not known"
    return f"{n_bytes / 1e9:,.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:,.1f} MB"
