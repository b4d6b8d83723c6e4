"""``--on-error``: what can't be used stops a command, or is left out, listed and told."""

from __future__ import annotations

import csv
import json

import ase.io
import numpy as np
import pandas as pd
import pytest
import yaml
from ase import Atoms
from ase.build import bulk

import mpprobe
from mpprobe.activations import Store
from mpprobe.models.potential import Potential

#: Positions (Å) by which the model is made to fail, see :func:`failing`.
NAN, MEMORY = 5000.0, 6000.0


def bad_frames():
    """One structure for each thing that can be wrong, by the stage at which it shows."""
    cell = bulk("NaCl", "rocksalt", 5.64, cubic=True)
    unknown = bulk("KCl", "rocksalt", 6.3, cubic=True)
    overlap, nan, flat = cell.copy(), cell.copy(), cell.copy()
    overlap.positions[1] = overlap.positions[0]
    nan.positions[2, 1] = np.nan
    flat.cell[2] = 0
    lonely = Atoms("NaCl", positions=[[0, 0, 0], [50, 0, 0]])
    return [unknown, overlap, nan, flat, lonely]


def model_frames():
    """Two that only a forward pass finds: no finite numbers, and no memory."""
    pair = Atoms("NaCl", positions=[[0, 0, 0], [2.5, 0, 0]])
    pair.set_array("charge_formal", np.array([1.0, -1.0]))
    nan, memory = pair.copy(), pair.copy()
    nan.positions[:, 0] += NAN
    memory.positions[:, 0] += MEMORY
    return [nan, memory]


def with_forces(images):
    for atoms in images:
        atoms.arrays["forces"] = np.full((len(atoms), 3), 0.1)
        atoms.info.setdefault("domain", "strained")
    return images


@pytest.fixture
def failing(monkeypatch):
    """A model that gives NaN, or finds no memory, where an atom is far out along x."""
    run, batch = Potential.run, Potential.batch

    def patched_run(self, given, *args, **options):
        output = run(self, given, *args, **options)
        bad = (given.positions[:, 0] > NAN - 1) & (given.positions[:, 0] < MEMORY - 1)
        for values in output.features.values():
            values[bad.to(values.device)] = float("nan")
        if output.forces is not None:
            output.forces[bad] = float("nan")
        return output

    def patched_batch(self, structures):
        made = batch(self, structures)
        if bool((made.positions[:, 0] > MEMORY - 1).any()):
            raise RuntimeError("CUDA out of memory. Tried to allocate 80 GiB")
        return made

    monkeypatch.setattr(Potential, "run", patched_run)
    monkeypatch.setattr(Potential, "batch", patched_batch)


@pytest.fixture
def mixed(tmp_path, structures, failing):
    """The good structures with the bad ones among them, and a file that is none."""
    good = ase.io.read(structures, ":")
    images = [*bad_frames(), *good[:6], *model_frames(), *good[6:]]
    folder = tmp_path / "mixed"
    folder.mkdir()
    ase.io.write(folder / "all.extxyz", with_forces(images))
    (folder / "=none.xyz").write_text("this is\nno structure\n")
    return folder, len(good)


ONCE = ("--assignments", 1, "--random-seeds", 1)
FLAGS = {
    "probe": ("-l", 1, "--resamples", 100, "--in-domain", "strained", *ONCE),
    "erase": ("-l", 1, "--resamples", 100, "--no-random-weights", "--in-domain", "strained"),
    "steer": ("-l", 1, "--resamples", 100, "--no-random-weights", "--in-domain", "strained"),
    "ood": ("--resamples", 100),
}


@pytest.mark.parametrize("command", FLAGS)
def test_what_can_not_be_used_is_left_out_listed_and_told(
    mpprobe_run, model, mixed, tmp_path, command
):
    folder, n_good = mixed
    arguments = (command, "-m", model, "--trust-checkpoint", "-s", f"{folder}/*.*", *FLAGS[command],
                 "-o", tmp_path / "out")  # fmt: skip
    stopped = mpprobe_run(*arguments)
    assert stopped.code == 2
    assert "=none.xyz" in stopped.err
    assert not (tmp_path / "out").exists()

    result = mpprobe_run(*arguments, "--on-error", "skip")
    assert result.code == 4, result.err
    n = n_good + 8
    assert f"8 of {n} structures left out, listed in failures.csv" in result.err.splitlines()
    assert f"8 of {n} structures were left out: see failures.csv" in result.out
    assert "Traceback" not in result.err
    table = pd.read_csv(tmp_path / "out" / "failures.csv", keep_default_na=False)
    assert list(table.columns) == ["source", "stage", "error", "advice"]
    assert dict(zip(table["source"].str.rpartition("/")[2], table["stage"], strict=True)) == {
        "=none.xyz": "read", **{f"all.extxyz@{i}": "check" for i in range(5)},
        "all.extxyz@11": "model", "all.extxyz@12": "model",
    }  # fmt: skip
    assert not table["error"].str.contains("\n").any()
    assert table["error"].str.len().min() > 10
    held = json.loads((tmp_path / "out" / "results.json").read_text())
    about = held["provenance"]["left_out"]
    assert (about["given"], about["left_out"], len(about["failures"])) == (n, 8, 8)
    config = yaml.safe_load((tmp_path / "out" / "config.yaml").read_text())
    assert config["on-error"] == "skip"
    used = {row.get("n_structures") for rows in held.values() if isinstance(rows, list)
            for row in rows if isinstance(row, dict)} - {None}  # fmt: skip
    assert max(used) == n_good


def test_the_results_are_those_of_the_good_ones_alone(mpprobe_run, model, mixed, tmp_path):
    folder, n_good = mixed
    kept = [*range(5, 11), *range(13, 7 + n_good)]
    alone = [x for i in kept for x in ("-s", f"{folder}/all.extxyz@{i}")]
    flags = ("-m", model, "--trust-checkpoint", *FLAGS["ood"], "-q")
    assert mpprobe_run("ood", *flags, *alone, "-o", tmp_path / "alone").code == 0
    skip = ("-s", f"{folder}/all.extxyz", "--on-error", "skip")
    assert mpprobe_run("ood", *flags, *skip, "-o", tmp_path / "skip").code == 4
    scores = [json.loads((tmp_path / name / "results.json").read_text())["scores"]
              for name in ("alone", "skip")]  # fmt: skip
    assert scores[0] == scores[1]


def test_targets_and_references_that_a_structure_lacks(mpprobe_run, model, structures, tmp_path):
    good = with_forces(ase.io.read(structures, ":"))
    images = [atoms.copy() for atoms in good]
    rod = images[0].copy()
    rod.pbc, rod.cell = (True, False, False), [20, 20, 20]
    del images[1].arrays["forces"]
    images[2].info["charge"] = "much"
    ase.io.write(tmp_path / "some.extxyz", [rod, *images[1:]])
    flags = ("-m", model, "--trust-checkpoint", "-s", tmp_path / "some.extxyz", "--on-error",
             "skip", "--resamples", 100, "-q")  # fmt: skip
    asked = ("-l", 1, "-t", "potential@eeq", *ONCE, "-o", tmp_path / "probe")
    result = mpprobe_run("probe", *flags, *asked)
    assert result.code == 4, result.err
    table = pd.read_csv(tmp_path / "probe" / "failures.csv")
    assert [s.rpartition("@")[2] for s in table["source"]] == ["0", "2"]
    assert set(table["stage"]) == {"target potential@eeq"}
    images[3].arrays["forces"][0, 0] = np.nan
    images[4].info["energy"] = "often"
    ase.io.write(tmp_path / "some.extxyz", [rod, *images[1:]])
    eeq = "target charge:eeq"
    for command, stages in (
        ("ood", {"1": "reference", "3": "reference", "4": "reference"}),
        ("erase", {"0": eeq, "2": eeq, "3": "reference", "4": "reference"}),
    ):
        more = ("-l", 1, "--no-random-weights", "-t", "charge:eeq") * (command == "erase")
        result = mpprobe_run(command, *flags, *more, "-o", tmp_path / command)
        assert result.code == 4, result.err
        table = pd.read_csv(tmp_path / command / "failures.csv")
        found = dict(zip(table["source"].str.rpartition("@")[2], table["stage"], strict=True))
        assert found == stages


def test_nothing_left_is_bad_input_and_nothing_bad_is_done(
    mpprobe_run, model, structures, tmp_path
):
    ase.io.write(tmp_path / "bad.extxyz", bad_frames())
    flags = ("-m", model, "--trust-checkpoint", "--on-error", "skip", "-l", 1, "--resamples", 100,
             *ONCE)  # fmt: skip
    result = mpprobe_run("probe", *flags, "-s", tmp_path / "bad.extxyz", "-o", tmp_path / "out")
    assert result.code == 2
    (line,) = result.err.splitlines()
    assert "none of the 5 structures can be used; the first: " in line
    assert "bad.extxyz@0: the model does not know K" in line
    assert not (tmp_path / "out").exists()
    result = mpprobe_run("probe", *flags, "-s", structures, "-o", tmp_path / "out", "-q")
    assert (result.code, result.err) == (0, "")
    assert not (tmp_path / "out" / "failures.csv").exists()
    held = json.loads((tmp_path / "out" / "results.json").read_text())
    assert held["provenance"]["left_out"]["left_out"] == 0


def test_a_typing_mistake_is_no_failure_of_every_structure(
    mpprobe_run, model, structures, tmp_path
):
    flags = ("-m", model, "--trust-checkpoint", "-s", structures, "-o", tmp_path / "out")
    for more, said in ((("-t", "potentail"), "no target 'potentail'"), (("-l", 9), "layer 9"),
                       (("--on-error", "ignore"), "choose one of stop, skip")):  # fmt: skip
        result = mpprobe_run("probe", *flags, "--on-error", "skip", *more)
        assert result.code == 2
        assert said in result.err.splitlines()[-1]
        assert "none of the" not in result.err


def test_a_dry_run_names_the_first_and_ends_with_the_same_code(mpprobe_run, model, mixed, tmp_path):
    folder, n_good = mixed
    result = mpprobe_run("probe", "-m", model, "--trust-checkpoint", "-s", f"{folder}/all.extxyz",
                         "--on-error", "skip", "--dry-run", "-o", tmp_path / "out")  # fmt: skip
    assert result.code == 4
    assert f"5 of {n_good + 7} structures left out, the first: {folder}/all.extxyz@0" in result.err
    assert not (tmp_path / "out").exists()


# The store


@pytest.fixture
def extract(mpprobe_run, model, tmp_path, structures):
    """Extract from a file with bad structures among twelve good ones."""
    file = tmp_path / "mixed.extxyz"
    ase.io.write(file, [*bad_frames(), *ase.io.read(structures, ":")])

    def call(*arguments):
        return mpprobe_run("extract", "-m", model, "--trust-checkpoint", "-s", file, "--max-atoms",
                           4, "--random-seeds", 0, "--device", "cpu", "--on-error", "skip",
                           *arguments)  # fmt: skip

    return call


def test_tasks_that_share_the_work_leave_out_the_same(
    extract, mpprobe_run, model, structures, tmp_path
):
    for i in range(2):
        part = extract("-o", tmp_path / f"part{i}", "--n-shards", 2, "--shard-index", i)
        assert part.code == 4, part.err
        assert "5 of 17 structures left out, listed in failures.csv" in part.err
    whole = mpprobe_run("merge", tmp_path / "part0", tmp_path / "part1", "-o", tmp_path / "whole")
    assert whole.code == 0, whole.err
    store = Store.open(tmp_path / "whole")
    with (store.folder / "failures.csv").open(newline="") as file:
        assert [row["stage"] for row in csv.DictReader(file)] == ["check"] * 5
    assert store.n_left_out == 5
    assert [f.source.rpartition("@")[2] for f in store.frames] == [str(i) for i in range(5, 17)]
    # Again, it resumes, and says so again.
    stamps = {p: p.stat().st_mtime_ns for p in (tmp_path / "part0").rglob("*.safetensors")}
    assert extract("-o", tmp_path / "part0", "--n-shards", 2, "--shard-index", 0).code == 4
    assert stamps == {p: p.stat().st_mtime_ns for p in stamps}
    # A probe of the store knows.
    probed = mpprobe_run("probe", "--store", tmp_path / "whole", "-l", 1, "--resamples", 100,
                         "-o", tmp_path / "probe")  # fmt: skip
    assert probed.code == 0, probed.err
    assert "5 structures were left out when the store was made" in probed.err
    held = json.loads((tmp_path / "probe" / "results.json").read_text())
    assert held["provenance"]["store"]["n_left_out"] == 5


def test_what_only_shows_while_features_are_made_is_refused_by_name(
    extract, mpprobe_run, model, mixed, tmp_path
):
    folder, _ = mixed
    result = mpprobe_run("extract", "-m", model, "--trust-checkpoint", "-s",
                         f"{folder}/all.extxyz@:12", "--on-error", "skip", "-o", tmp_path / "out",
                         "--random-seeds", 0, "-q")  # fmt: skip
    assert result.code == 2
    assert "all.extxyz@11: layer 0 has node features that aren't finite" in result.err


# Studies


def test_a_study_goes_on_and_says_what_is_lacking(mpprobe_run, model, structures, tmp_path):
    file = tmp_path / "mixed.extxyz"
    ase.io.write(file, with_forces([*bad_frames(), *ase.io.read(structures, ":")]))
    study = tmp_path / "study.yaml"
    study.write_text(yaml.safe_dump({
        "output": str(tmp_path / "study"), "report": False,
        "shared": {"model": str(model), "trust-checkpoint": True, "resamples": 100},
        "steps": [{"ood": {"structures": str(file), "on-error": "skip"}},
                  {"name": "good", "ood": {"structures": f"{file}@5:"}}],
    }))  # fmt: skip
    first = mpprobe_run("run", study)
    assert first.code == 4, first.err
    assert "structures were left out of ood, listed in failures.csv" in first.err.splitlines()[-1]
    assert (tmp_path / "study" / "good" / "results.json").exists()
    again = mpprobe_run("run", study, "--json")
    assert again.code == 4
    rows = json.loads(again.out)["steps"]
    assert [(row["to_do"], row["left_out"]) for row in rows] == [("", True), ("", False)]


# The library


def test_the_library_parts_frames_the_same_way():
    good = bulk("NaCl", "rocksalt", 5.64, cubic=True)
    frames, failures = mpprobe.usable([good, *bad_frames()], species=["Na", "Cl"], cutoff=5.0)
    assert [f.source for f in frames] == ["structure@0"]
    assert [f.source for f in failures] == [f"structure@{i}" for i in range(1, 6)]
    assert {f.stage for f in failures} == {"check"}
    assert failures[1].advice.startswith("remove the double atom")
    assert str(failures[1]) == f"structure@2: {failures[1].error}; {failures[1].advice}"
