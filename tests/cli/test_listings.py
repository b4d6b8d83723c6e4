"""``mpprobe models`` and ``mpprobe targets``: what there is, as a table and as JSON."""

from __future__ import annotations

import json

import mpprobe


def test_models_as_json_hold_every_model(mpprobe_run):
    code, out, err = mpprobe_run("models", "--json")
    assert (code, err) == (0, "")
    records = {record["name"]: record for record in json.loads(out)}
    assert set(records) == set(mpprobe.named_models())
    first = records["sevenn-0"]
    assert first["layers"] == 5
    assert first["cutoff"] == 5.0
    assert first["reach"] == 25.0
    assert first["irreps"][0] == first["irreps"][-1] == "128x0e"
    assert first["licence"] == "MIT"
    assert first["training_set"] == "MPtrj"
    assert first["available"] is True
    assert "7net-0" in first["aliases"]
    assert records["sevenn-mf-0"]["modals"] == ["PBE", "R2SCAN"]


def test_the_facts_listed_are_those_of_the_models(sevenn_0, mpprobe_run):
    records = {r["name"]: r for r in json.loads(mpprobe_run("models", "--json").out)}
    listed = records["sevenn-0"]
    assert listed["irreps"] == [layer.irreps for layer in sevenn_0.layers]
    assert listed["cutoff"] == sevenn_0.cutoff
    assert listed["reach"] == sevenn_0.layers[-1].reach


def test_the_table_of_models_names_them_all(mpprobe_run):
    code, out, _ = mpprobe_run("models")
    assert code == 0
    for name in mpprobe.named_models():
        assert name in out
    assert "--modal PBE|R2SCAN" in out
    assert "random:MODEL[:SEED]" in out


def test_available_leaves_out_what_would_be_downloaded(mpprobe_run):
    names = {r["name"] for r in json.loads(mpprobe_run("models", "--available", "--json").out)}
    assert {"sevenn-0", "sevenn-0-22may2024", "sevenn-l3i5", "sevenn-mf-0"} <= names
    everything = json.loads(mpprobe_run("models", "--json").out)
    assert names == {r["name"] for r in everything if r["available"]}


def test_targets_as_json_hold_every_target(mpprobe_run):
    code, out, err = mpprobe_run("targets", "--json")
    assert (code, err) == (0, "")
    records = {record["name"]: record for record in json.loads(out)}
    assert set(records) == {info.name for info in mpprobe.target_names()}
    potential, field = records["potential[@CHARGES]"], records["field[@CHARGES]"]
    assert (potential["unit"], potential["l"]) == ("V", 0)
    assert (field["unit"], field["l"]) == ("V/Å", 1)
    assert all(record["description"] for record in records.values())


def test_the_table_of_targets_names_them_all(mpprobe_run):
    code, out, _ = mpprobe_run("targets")
    assert code == 0
    for info in mpprobe.target_names():
        assert info.name in out
    assert "potential:shell-2@eeq" in out
