"""What is installed on this machine, what it can use, and what is missing.

Nothing here needs what it looks for: torch and the potentials' packages are imported in a process
of their own, so that one that can't be imported, or crashes, is a line of the answer.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageMetadata, PackageNotFoundError, distribution, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mpprobe.errors import optional_packages

#: Imported to see whether they can be, besides the optional parts that are installed.
NATIVE = ("torch", "numba")
# A child that imports the packages named, and says in JSON which can't be, and what torch sees.
_CHILD = """
import contextlib, importlib, io, json, sys, warnings
warnings.simplefilter("ignore")
failed, seen = {}, {"devices": [], "threads": {}}
with contextlib.redirect_stdout(io.StringIO()):
    for name in sys.argv[1:]:
        try:
            importlib.import_module(name)
        except BaseException as error:
            failed[name] = " ".join(f"{type(error).__name__}: {error}".split())
    torch, numba = ({} if n in failed else sys.modules.get(n) for n in ("torch", "numba"))
    if torch:
        seen["threads"]["torch"] = torch.get_num_threads()
        for i in range(torch.cuda.device_count()):
            about = torch.cuda.get_device_properties(i)
            seen["devices"].append([f"cuda:{i}", about.name, about.total_memory])
        if torch.backends.mps.is_available():
            seen["devices"].append(["mps", "Apple GPU", None])
    if numba:
        seen["threads"]["numba"] = numba.config.NUMBA_NUM_THREADS
print(json.dumps(seen | {"failed": failed}))
"""


def diagnose() -> dict[str, Any]:
    """All there is to say about this installation, as plain data.

    ``python``, ``packages`` (installed and supported versions), ``parts`` (optional, with the line
    that installs them), ``devices`` (memory in bytes), ``threads``, ``caches`` (bytes), ``models``,
    ``problems`` (something needed is missing, or of a version that isn't supported) and
    ``advice``.
    """
    parts = _parts()
    requirements = _requirements([p["extra"] for p in parts if p["installed"]])
    packages = [_package(r) for r in requirements if _applies(r)]
    names = [n for n in (*NATIVE, *(p["package"] for p in parts)) if find_spec(n) is not None]
    seen = _seen(names)
    threads = {"allowed": cores_allowed(), "here": os.cpu_count(), **seen["threads"],
               "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS")}  # fmt: skip
    return {
        "python": _python(),
        "packages": packages,
        "parts": parts,
        "devices": [_cpu(), *(dict(zip(("name", "what", "memory"), d, strict=True))
                              for d in seen["devices"])],
        "threads": threads,
        "caches": _caches(),
        "models": _models(),
        "problems": _problems(packages, parts, seen["failed"]),
        "advice": _advice(threads),
    }  # fmt: skip


def _metadata() -> PackageMetadata | None:
    """The metadata of mpprobe, or None where it isn't installed as a package."""
    try:
        return distribution("mpprobe").metadata
    except PackageNotFoundError:
        return None


def _requirements(extras: Sequence[str]) -> list[Requirement]:
    """What mpprobe needs, with the parts that are installed; each package once."""
    metadata = _metadata()
    lines = (metadata.get_all("Requires-Dist") or []) if metadata else []
    found: dict[str, Requirement] = {}
    for requirement in map(Requirement, lines):
        wanted = requirement.marker is None or any(
            requirement.marker.evaluate({"extra": extra}) for extra in ("", *extras)
        )
        name = str(canonicalize_name(requirement.name))
        if wanted and name != "mpprobe" and not (name in found and not requirement.specifier):
            found[name] = requirement
    # mace-torch is installed alone, and so is named in its line only.
    for name, line in optional_packages().items():
        if find_spec(name) is not None:
            exact = re.findall(r'"([\w-]+==[\w.]+)"', line)
            found |= {canonicalize_name(Requirement(e).name): Requirement(e) for e in exact}
    return [found[name] for name in sorted(found)]


def _applies(requirement: Requirement) -> bool:
    """Whether this Python needs it at all, extras aside."""
    marker = requirement.marker
    return marker is None or "extra" in str(marker) or marker.evaluate()


def _package(requirement: Requirement) -> dict[str, Any]:
    """A package's version beside those supported; ``state`` is ok, missing or not supported."""
    try:
        installed = version(requirement.name)
    except PackageNotFoundError:
        installed = None
    fits = installed and requirement.specifier.contains(installed, prereleases=True)
    state = "missing" if installed is None else "ok" if fits else "not supported"
    supported = str(requirement.specifier)
    return {"name": requirement.name, "installed": installed, "supported": supported,
            "state": state}  # fmt: skip


def _python() -> dict[str, str]:
    metadata = _metadata()
    return {
        "installed": platform.python_version(),
        "supported": (metadata["Requires-Python"] or "") if metadata else "",
        "mpprobe": metadata["Version"] if metadata else "not installed as a package",
    }


def _parts() -> list[dict[str, Any]]:
    """The optional parts, by the package that brings each."""
    return [
        {
            "package": name,
            "extra": line.partition("mpprobe[")[2].partition("]")[0],
            "installed": find_spec(name) is not None,
            "install": line,
        }
        for name, line in optional_packages().items()
    ]


def _seen(names: Sequence[str]) -> dict[str, Any]:
    """What a process of its own finds when it imports the packages."""
    done = subprocess.run([sys.executable, "-c", _CHILD, *names], capture_output=True, text=True)
    try:
        return json.loads(done.stdout)
    except ValueError:
        why = f"importing {', '.join(names)} ended Python with code {done.returncode}"
        return {"devices": [], "threads": {}, "failed": {"the packages together": why}}


def cores_allowed() -> int:
    """Cores that this process may use: by affinity, and by the quota of its control group."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows
        cores = os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError):  # no such group, or no limit ("max")
        return cores


def _cpu() -> dict[str, Any]:
    try:
        text = Path("/proc/cpuinfo").read_text()
        named = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    except OSError:
        named = None
    what = named.group(1) if named else platform.processor() or platform.machine()
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        memory = None
    return {"name": "cpu", "what": what, "memory": memory}


def _caches() -> list[dict[str, Any]]:
    """Folders in which something is kept for later, with what they hold and what is free."""
    from mpprobe.models.families import cache_folders

    return [
        {"what": what, "folder": str(folder), "bytes": _size(folder), "free": _free(folder)}
        for what, folder in cache_folders().items()
    ]


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _free(folder: Path) -> int:
    """Bytes free on the disk that the folder is on, or would be."""
    return shutil.disk_usage(next(p for p in (folder, *folder.parents) if p.exists())).free


def _models() -> list[dict[str, Any]]:
    """Named models, each ``here``, to be ``downloaded``, or without its package."""
    from mpprobe.models.registry import named_models

    found = []
    for family, spec in named_models().values():
        state = "here" if spec.available else "to be downloaded"
        lacks = find_spec(family.package) is None
        found.append({"name": spec.name, "state": f"needs {family.package}" if lacks else state})
    return found


def _problems(
    packages: Sequence[Mapping], parts: Sequence[Mapping], failed: Mapping[str, str]
) -> list[str]:
    """What stands in the way, each with what to do."""
    found = []
    if not packages:
        found.append("mpprobe isn't installed as a package: pip install mpprobe")
    for p in packages:
        line = f'pip install "{p["name"]}{p["supported"]}"'
        if p["state"] == "missing":
            found.append(f"{p['name']} is missing: {line}")
        elif p["state"] != "ok":
            found.append(f"{p['name']} {p['installed']} is not supported: {line}")
    found += [f"{name} can't be imported: {why}" for name, why in failed.items()]
    potentials = [p for p in parts if p["package"] in _family_packages()]
    if not any(p["installed"] for p in potentials):
        lines = " or ".join(p["install"] for p in potentials)
        found.append(f"no package of potentials is installed: {lines}")
    return found


def _family_packages() -> set[str]:
    from mpprobe.models.registry import all_families

    return {family.package for family in all_families()}


def _advice(threads: Mapping[str, Any]) -> list[str]:
    allowed = threads["allowed"]
    return [
        f"{name} takes {threads[name]} threads on {allowed} cores allowed: set {variable}={allowed}"
        for name, variable in (("torch", "OMP_NUM_THREADS"), ("numba", "NUMBA_NUM_THREADS"))
        if threads.get(name, 0) > allowed
    ]
