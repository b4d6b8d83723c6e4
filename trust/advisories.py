"""Whether what is pinned has known vulnerabilities, by pip-audit."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from trust.outcome import ROOT

#: Advisories that are known and harmless here, by their names, with the reason.
HARMLESS: dict[str, str] = {}

#: Where pip-audit can ask.
SERVICES = ("pypi", "osv")


@dataclass(frozen=True)
class Audit:
    """What a service said.

    Attributes:
        service: that was asked, empty if none answered.
        checked: packages that it knows.
        unknown: packages that it doesn't.
        found: advisories that aren't among :data:`HARMLESS`, a line each.
    """

    service: str = ""
    checked: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    found: tuple[str, ...] = ()


def audit() -> Audit:
    """What the first service that answers for any package says of all pins."""
    for service in SERVICES:
        said = read(service, _asked(service))
        if said.checked:
            return said
    return Audit()


def _asked(service: str) -> dict[str, Any]:
    """pip-audit's JSON; empty where the service can't be reached."""
    command = [
        sys.executable, "-m", "pip_audit", "--vulnerability-service", service, "--format", "json",
        "--requirement", str(ROOT / "constraints.txt"), "--no-deps", "--disable-pip",
        "--progress-spinner", "off", "--timeout", "15",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    try:
        return json.loads(done.stdout)
    except ValueError:
        return {}


def read(service: str, said: dict[str, Any]) -> Audit:
    """An audit from pip-audit's JSON.

    A package that the service doesn't know is skipped by pip-audit, which then ends well: it isn't
    counted as checked.
    """
    packages = said.get("dependencies", [])
    checked = [p for p in packages if "skip_reason" not in p]
    found = [
        f"{package['name']} {package['version']}: {advisory['id']}"
        f", mended in {', '.join(advisory['fix_versions']) or 'no version yet'}"
        for package in checked
        for advisory in package["vulns"]
        if not {advisory["id"], *advisory.get("aliases", ())} & set(HARMLESS)
    ]
    return Audit(
        service,
        tuple(p["name"] for p in checked),
        tuple(p["name"] for p in packages if "skip_reason" in p),
        tuple(found),
    )
