"""Which of the packages installed here mpprobe needs when it runs."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from importlib.metadata import Distribution, distribution, distributions

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from trust.outcome import ROOT

#: Installed alone, without what it asks for: pyproject.toml names what it needs; see the README.
ALONE = ("mace-torch",)


def declared(*extras: str) -> list[Requirement]:
    """What pyproject.toml asks for, with these of its extras and those that they name in turn."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = list(map(Requirement, project["dependencies"]))
    waiting = list(extras)
    while waiting:
        for requirement in map(Requirement, project["optional-dependencies"][waiting.pop()]):
            if requirement.name == project["name"]:
                waiting += requirement.extras
            else:
                found.append(requirement)
    return found


def runtime() -> dict[str, frozenset[str]]:
    """Every package that ``mpprobe[all]`` needs here, with those that it needs itself.

    Raises:
        PackageNotFoundError: one of them isn't installed.
    """
    first = [*declared("all"), *map(Requirement, ALONE)]
    found: dict[str, set[str]] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [r for r in first if _applies(r)]
    while waiting:
        requirement = waiting.pop()
        name, extras = str(canonicalize_name(requirement.name)), frozenset(requirement.extras)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        lines = map(Requirement, [] if name in ALONE else distribution(name).requires or [])
        needed = [line for line in lines if _applies(line, extras)]
        found.setdefault(name, set()).update(str(canonicalize_name(r.name)) for r in needed)
        waiting += needed
    return {name: frozenset(needed) for name, needed in sorted(found.items())}


def _applies(requirement: Requirement, extras: Iterable[str] = ()) -> bool:
    """Whether this Python on this system needs it, with these extras of who asks."""
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras))


def installed() -> dict[str, Distribution]:
    """Every package of this environment but mpprobe and pip, by name."""
    found = {str(canonicalize_name(d.metadata["Name"])): d for d in distributions()}
    return {name: d for name, d in sorted(found.items()) if name not in ("mpprobe", "pip")}


def version_of(name: str) -> str:
    """The installed version, without what tells builds of it apart (``+cpu``)."""
    return distribution(name).version.partition("+")[0]


def pins(text: str | None = None) -> dict[str, str]:
    """Versions by package, from the text of constraints.txt."""
    if text is None:
        text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    found = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            pin = Requirement(line)
            found[str(canonicalize_name(pin.name))] = str(pin.specifier).removeprefix("==")
    return found
