"""Pins, bill of materials, licences, advisories: what is kept agrees, and the checks can fail."""

from __future__ import annotations

import copy
import re

import pytest
from packaging.requirements import Requirement
from trust.outcome import ROOT

from trust import advisories, constraints, dependencies, licences, sbom

# The bill


def test_the_bill_agrees_with_pins_and_pyproject():
    bill = sbom.read()
    assert sbom.disagreements(bill) == []
    listed = sbom.versions(bill)
    assert {"torch", "sevenn", "mace-torch", "e3nn", "featomic", "dask", "numpy"} <= set(listed)
    assert not {"pytest", "mypy", "ruff", "mkdocs", "mutmut", "python-hostlist"} & set(listed)


def test_the_bill_bears_no_date_and_nothing_of_this_machine():
    text = sbom.FILE.read_text(encoding="utf-8")
    assert text == sbom.as_text(sbom.read())
    for word in ("serialNumber", "timestamp", "file://", "+cpu", str(ROOT)):
        assert word not in text


def test_every_edge_of_the_bill_leads_to_a_component():
    bill = sbom.read()
    known = {c["bom-ref"] for c in bill["components"]}
    assert {d["ref"] for d in bill["dependencies"]} == known | {"mpprobe"}
    assert {ref for d in bill["dependencies"] for ref in d["dependsOn"]} <= known
    assert len(known) == len(bill["components"])


def test_a_bill_at_odds_is_found():
    bill = copy.deepcopy(sbom.read())
    numpy = next(c for c in bill["components"] if c["name"] == "numpy")
    numpy["version"] = "1.0"
    bill["components"] = [c for c in bill["components"] if c["name"] != "ase"]
    lines = sbom.disagreements(bill)
    assert any(line.startswith("numpy 1.0 in the bill, 2") for line in lines)
    assert any("numpy>=1.26" in line for line in lines)
    assert "ase is asked for in pyproject.toml and not in the bill" in lines
    assert len(lines) == 3


def test_the_runtime_has_what_each_extra_names_and_no_tool():
    needs = dependencies.runtime()
    for requirement in dependencies.declared("all"):
        assert requirement.name.lower().replace("_", "-") in needs
    assert needs["mace-torch"] == frozenset()  # installed without what it asks for
    assert "numpy" in needs["scipy"]
    assert {r.name for r in dependencies.declared()} < {
        r.name for r in dependencies.declared("all")
    }
    assert "hypothesis" not in needs


# The pins


def test_the_pins_are_as_a_refresh_writes_them():
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert text == constraints.as_text(lines)


def test_versions_that_stay_are_pinned_and_named_where_people_read():
    pinned = dependencies.pins()
    for name, (version, why) in constraints.KEPT.items():
        assert pinned[name] == version
        assert len(why) > 10
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"mace-torch=={constraints.KEPT['mace-torch'][0]}" in readme
    assert f"e3nn {constraints.KEPT['e3nn'][0]}" in readme


def test_a_frozen_environment_becomes_pins():
    frozen = ["torch==2.13.0+cpu", "ASE==3.29.0", "mpprobe @ file:///somewhere", "pip==1.0",
              "nvidia-cublas==13.1", "boolean.py==5.0"]  # fmt: skip
    text = constraints.as_text(frozen)
    assert dependencies.pins(text) == {"ase": "3.29.0", "boolean-py": "5.0", "torch": "2.13.0"}
    for line in text.splitlines():
        assert line.startswith("#") or Requirement(line)


def test_changes_of_pins_are_said():
    assert constraints.changes({"a": "1", "b": "1", "c": "1"}, {"a": "1", "b": "2", "d": "1"}) == [
        "b: 1 → 2", "c: 1 → gone", "d: new → 1",
    ]  # fmt: skip


# Licences


@pytest.mark.parametrize(
    "stated",
    [
        "MIT", "MIT License", "BSD License; MIT License", "Apache-2.0 AND MIT",
        "GPL-3.0-only OR MIT", "MPL-2.0 AND (Apache-2.0 OR MIT)",
        "(GPL-2.0-only OR (MIT AND ISC)) AND BSD-3-Clause",
        "Apache-2.0 AND Apache-2.0 WITH LLVM-exception AND BSL-1.0",
    ],
)  # fmt: skip
def test_allowed(stated):
    assert licences.allowed(stated)


@pytest.mark.parametrize(
    "stated",
    [
        "", "UNKNOWN", "GPL-3.0-only", "MIT AND GPL-3.0-only", "MIT; GPL-3.0-only",
        "(MIT OR ISC) AND AGPL-3.0-only", "LGPL-2.1-or-later", "GNU General Public License (GPL)",
        "yes", "Apache-2.0 WITH Something-else",
    ],
)  # fmt: skip
def test_not_allowed(stated):
    assert not licences.allowed(stated)


def test_a_package_of_no_allowed_licence_is_named():
    stated = {"good": "MIT", "bad": "AGPL-3.0-only", "ase": "LGPL-2.1-or-later"}
    names = ["good", "bad", "ase", "unheard-of", "nvidia-cublas"]
    assert licences.unexplained(names, stated) == [
        "bad: AGPL-3.0-only: neither allowed nor explained",
        "unheard-of: UNKNOWN: neither allowed nor explained",
    ]


def test_every_explained_licence_is_on_the_page():
    page = (ROOT / "docs/supply.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| ([\w.-]+) \| ([\w.-]+) \|", page, flags=re.MULTILINE))
    explained = {name: licence for name, (licence, _) in licences.EXPLAINED.items()}
    assert explained.items() <= rows.items()


# Advisories


def said(*packages):
    return {"dependencies": list(packages)}


SOUND = {"name": "sound", "version": "1", "vulns": []}
SKIPPED = {"name": "skipped", "skip_reason": "not found"}
ILL = {"name": "ill", "version": "2",
       "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["3"]}]}  # fmt: skip


def test_a_vulnerable_package_is_found_and_a_skipped_one_is_not_checked():
    audit = advisories.read("pypi", said(SOUND, SKIPPED, ILL))
    assert audit.found == ("ill 2: PYSEC-1, mended in 3",)
    assert (audit.checked, audit.unknown) == (("sound", "ill"), ("skipped",))


@pytest.mark.parametrize("name", ["PYSEC-1", "CVE-1"])
def test_a_harmless_advisory_is_left_out_by_either_name(monkeypatch, name):
    monkeypatch.setitem(advisories.HARMLESS, name, "not used here")
    assert advisories.read("pypi", said(ILL)).found == ()


def test_a_service_that_knows_no_package_has_checked_nothing(monkeypatch):
    answers = {"pypi": said(SKIPPED), "osv": {}}
    monkeypatch.setattr(advisories, "_asked", answers.get)
    assert advisories.audit() == advisories.Audit()
    answers["osv"] = said(SOUND)
    assert advisories.audit().service == "osv"
