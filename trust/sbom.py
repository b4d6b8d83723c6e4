"""The software bill of materials: what mpprobe is built of, as CycloneDX JSON (``make sbom``).

It lists the packages that ``mpprobe[all]`` and mace-torch need when they run, at the versions of
constraints.txt, with licences and dependencies; not those that build, test or check it. It bears no
date and no serial number: the same environment gives the same file.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from packaging.utils import canonicalize_name

from trust.dependencies import declared, pins, runtime, version_of
from trust.outcome import ROOT

FILE = ROOT / "trust/sbom.cdx.json"


def make() -> dict[str, Any]:
    """The bill of this environment's runtime packages.

    Raises:
        CalledProcessError: cyclonedx-py, of the extra ``trust``, isn't there or failed.
    """
    needs = runtime()
    bill = _of_environment()
    kept = {}
    for component in bill["components"]:
        name = str(canonicalize_name(component["name"]))
        if name in needs:
            kept[name] = _without_build(component)
    bill["components"] = [kept[name] for name in sorted(kept)]
    root = bill["metadata"]["component"]
    root["bom-ref"] = "mpprobe"
    first = {str(canonicalize_name(r.name)) for r in declared("all")} & set(kept)
    needed = {"mpprobe": first | {"mace-torch"}, **needs}
    bill["dependencies"] = [
        {"ref": kept[name]["bom-ref"] if name in kept else name,
         "dependsOn": sorted(kept[n]["bom-ref"] for n in names if n in kept)}
        for name, names in needed.items()
    ]  # fmt: skip
    # The tool's own description of itself is no part of what mpprobe is built of.
    bill["metadata"]["tools"] = {"components": [
        {key: tool[key] for key in ("type", "name", "version")}
        for tool in bill["metadata"]["tools"]["components"]
    ]}  # fmt: skip
    return bill


def read() -> dict[str, Any]:
    """The bill that is kept in the repository."""
    return json.loads(FILE.read_text(encoding="utf-8"))


def as_text(bill: dict[str, Any]) -> str:
    return json.dumps(bill, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def versions(bill: dict[str, Any]) -> dict[str, str]:
    """Of the packages in a bill, by name."""
    return {str(canonicalize_name(c["name"])): c["version"] for c in bill["components"]}


def disagreements(bill: dict[str, Any]) -> list[str]:
    """Where a bill is at odds with pyproject.toml or constraints.txt, a line each."""
    listed, pinned = versions(bill), pins()
    lines = [
        f"{name} {version} in the bill, {pinned.get(name, 'nothing')} in constraints.txt"
        for name, version in listed.items()
        if pinned.get(name) != version
    ]
    for requirement in declared("all"):
        name = str(canonicalize_name(requirement.name))
        if name not in listed:
            lines.append(f"{name} is asked for in pyproject.toml and not in the bill")
        elif not requirement.specifier.contains(listed[name]):
            lines.append(f"{name} {listed[name]} in the bill, {requirement} in pyproject.toml")
    return lines


def _of_environment() -> dict[str, Any]:
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible",
               "--mc-type", "library", "--pyproject", str(ROOT / "pyproject.toml"),
               sys.executable]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def _without_build(component: dict[str, Any]) -> dict[str, Any]:
    """A component without what is this machine's: which build it has, and where it came from."""
    name, version = component["name"], version_of(component["name"])
    about = ("type", "name", "description", "licenses", "externalReferences")
    kept = {key: component[key] for key in about if key in component}
    return {
        **kept,
        "version": version,
        "bom-ref": f"{canonicalize_name(name)}=={version}",
        "purl": f"pkg:pypi/{canonicalize_name(name)}@{version}",
    }


if __name__ == "__main__":
    FILE.write_text(as_text(make()), encoding="utf-8")
    print(f"written to {FILE}")
