"""``mpprobe probe`` from its flags to its files."""

from __future__ import annotations

import contextlib
import io
import json
import re

import ase.io
import pandas as pd
import pytest
import yaml

import mpprobe
from mpprobe.cli import run
from mpprobe.errors import MPProbeError


def strict(text):
    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.fixture(scope="module")
def whole(basic, tmp_path_factory):
    """One run with every repeatable flag repeated: its folder, stdout and stderr."""
    output = tmp_path_factory.mktemp("whole") / "out"
    flags = ("-l", 2, "-l", 1, "-t", "potential", "--target", "charge:eeq", "--split", "structure",
             "--split", "compound", "-o", output)  # fmt: skip
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(["probe", *map(str, basic), *map(str, flags)])
    assert code == 0, err.getvalue()
    return output, out.getvalue(), err.getvalue()


# What it prints and writes


def test_every_file_is_written(whole):
    names = {file.name for file in whole[0].iterdir()}
    parity = {f"parity_{t}_{s}.{e}" for t in ("potential", "charge-eeq")
              for s in ("structure", "compound") for e in ("png", "pdf")}  # fmt: skip
    assert names == parity | {
        "results.json", "scores.csv", "differences.csv", "conditional.csv", "layer_profile.png",
        "layer_profile.pdf", "structures.extxyz", "config.yaml",
    }  # fmt: skip
    assert [p.name for p in whole[0].parent.iterdir()] == ["out"]


def test_repeated_flags_all_count(whole):
    record = strict((whole[0] / "results.json").read_text(encoding="utf-8"))
    scores = pd.DataFrame(record["scores"])
    assert set(scores["target"]) == {"potential", "charge:eeq"}
    assert set(scores["split"]) == {"structure", "compound"}
    assert {row["layer"] for row in record["differences"]} == {1, 2}
    assert len(record["readings"]) == 4


def test_results_go_to_stdout_and_progress_to_stderr(whole):
    output, out, err = whole
    assert "potential (V), held out by structure" in out
    assert "charge:eeq (e), held out by compound" in out
    readings = strict((output / "results.json").read_text(encoding="utf-8"))["readings"]
    assert [line[2:] for line in out.splitlines() if line.startswith("• ")] == readings
    for progress in ("node features of", "probing potential", "written to", "12 structures of"):
        assert progress in err
        assert progress not in out
    assert "held out by structure\n┏" not in err
    assert "\x1b" not in out + err  # no colours or bars where there is no terminal


def test_the_table_shows_the_numbers_of_the_files(whole):
    scores = pd.read_csv(whole[0] / "scores.csv")
    rows = scores[(scores["features"] == "model") & (scores["subset"] == "all")]
    first = rows[(rows["target"] == "potential") & (rows["layer"] == 2)].iloc[0]
    line = next(line for line in whole[1].splitlines() if "layer 2" in line)
    assert f"{first['mae']:.3g}" in line
    assert f"{first['r2']:.2f}".replace("-", "−") in line


def test_structures_can_be_read_again(whole):
    images = ase.io.read(whole[0] / "structures.extxyz", index=":")
    assert len(images) == 12
    assert {"mpprobe_potential", "mpprobe_charge_eeq_compound_layer_2"} <= set(images[0].arrays)
    assert images[0].info["mpprobe_source"].endswith("mine.extxyz@0")


def test_json_is_the_whole_study_on_stdout(mpprobe_run, basic, tmp_path):
    code, out, err = mpprobe_run("probe", *basic, "-l", 1, "--json", "-q", "-o", tmp_path / "out")
    assert (code, err) == (0, "")
    assert strict(out) == strict((tmp_path / "out/results.json").read_text(encoding="utf-8"))


def test_quiet_prints_results_only_and_verbose_adds_domains(mpprobe_run, basic, tmp_path):
    quiet = mpprobe_run("probe", *basic, "-l", 1, "-q", "-o", tmp_path / "quiet")
    assert (quiet.code, quiet.err) == (0, "")
    assert "held out by structure" in quiet.out
    verbose = mpprobe_run("probe", *basic, "-l", 1, "-v", "--progress", "-o", tmp_path / "verbose")
    assert verbose.out.startswith(quiet.out.split("R² within kinds: of maps")[0])
    assert "by domain" in verbose.out
    assert "by domain" not in quiet.out
    assert "━" in verbose.err  # the bars that --progress asks for
    assert "/s" in verbose.err


# Configuration files


def test_the_configuration_written_gives_the_same_results(whole, mpprobe_run, tmp_path):
    output = whole[0]
    again = mpprobe_run("probe", "-c", output / "config.yaml", "-o", tmp_path / "again")
    assert again.code == 0
    assert again.out == whole[1]
    for name in ("scores.csv", "differences.csv", "conditional.csv"):
        assert (tmp_path / "again" / name).read_bytes() == (output / name).read_bytes()
    before, after = (
        yaml.safe_load((folder / "config.yaml").read_text())
        for folder in (output, tmp_path / "again")
    )
    assert after == before | {"output": str(tmp_path / "again")}


def test_the_command_line_wins_over_the_configuration(whole, mpprobe_run):
    config = whole[0] / "config.yaml"
    code, _, err = mpprobe_run(
        "probe", "-c", config, "-l", 0, "-t", "charge:formal", "--limit", 6, "--dry-run"
    )
    assert code == 0
    first = err.splitlines()[0]
    assert "layer 0; 6 structures" in first
    assert "target charge:formal; held out by structure, compound" in first


def test_configuration_keys_are_the_flags(mpprobe_run, basic, tmp_path):
    config = tmp_path / "mine.yaml"
    config.write_text(
        f"model: {basic[1]}\ntrust-checkpoint: true\nstructures: {basic[4]}\nlayer: 2\n"
        "target: [potential, charge:eeq]\nmax_atoms: 50\nmodal: null\ndry-run: true\njson: true\n"
    )
    code, out, err = mpprobe_run("probe", "-c", config)
    assert (code, out) == (0, "")
    assert "layer 2; 12 structures" in err
    assert "target potential, charge:eeq;" in err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("layers: 2\n", "no option is called layers; there are assignments, atoms,"),
        ("layer: [1\n", "can't be read as YAML"),
        ("- layer\n", "give one option a line"),
        ("just text\n", "give one option a line"),
        ("config: other.yaml\n", "no option is called config"),
        ("\0", "can't be read as YAML"),
    ],
)
def test_a_configuration_that_is_wrong_is_one_line(mpprobe_run, tmp_path, text, message):
    config = tmp_path / "mine.yaml"
    config.write_text(text)
    code, out, err = mpprobe_run("probe", "-c", config, "-m", "sevenn-0")
    assert (code, out) == (2, "")
    assert err.startswith(f"mpprobe: {config}: {message}")
    assert err.count("\n") == 1


def test_a_configuration_of_the_wrong_kind_or_missing_is_refused(mpprobe_run, tmp_path):
    config = tmp_path / "mine.yaml"
    assert mpprobe_run("probe", "-c", config, "-m", "sevenn-0").code == 2
    config.write_text("seed: soon\n")
    code, _, err = mpprobe_run("probe", "-c", config, "-m", "sevenn-0")
    assert code == 2
    assert "--seed" in err


def test_every_flag_reaches_the_work(mpprobe_run, basic, structures, tmp_path, monkeypatch):
    asked = {}
    real_read = mpprobe.read

    def read(*args, **options):
        asked["read"] = options | {"first": args[0]}
        return real_read(*args, **options)

    def stop(plan, **options):
        asked["plan"], asked["run"] = plan, options
        raise MPProbeError("far enough")

    monkeypatch.setattr("mpprobe.cli.given.read", read)
    monkeypatch.setattr(mpprobe.Plan, "run", stop)
    flags = ("-l", 1, "-t", "charge:eeq", "--split", "compound", "--limit", 9, "--folds", 3,
             "--resamples", 123, "--in-domain", "cluster", "--seed", 4, "--dtype", "float64",
             "--max-atoms", 77, "--label", "domain=rattle", "--assignments", 2,
             "--random-seeds", 4, "--near-duplicates", "apart", "--within", "group",
             "--atoms", "0,1", "--control-cutoffs", 2, "-o", tmp_path / "out")  # fmt: skip
    assert mpprobe_run("probe", *basic[:5], *flags).err.endswith("mpprobe: far enough\n")
    plan = asked["plan"]
    assert asked["read"]["first"] == [str(structures)]
    assert asked["read"]["labels"] == {"domain": "rattle"}
    assert (asked["read"]["limit"], asked["read"]["seed"]) == (9, 4)
    assert plan.settings == mpprobe.Settings(
        3, 123, 4, ("cluster",), 2, 4, "apart", "group", "0,1", 2
    )
    assert [len(split.folds) for split in plan.splits[0]] == [3, 3]
    assert plan.layers == (1,)
    assert [t.name for t in plan.targets] == ["charge:eeq"]
    assert [s.name for s in plan.splits[0]] == ["compound", "compound"]
    assert asked["run"]["max_atoms"] == 77
    assert str(plan.model.dtype) == "torch.float64"


def test_without_flags_the_settings_are_those_of_the_library(mpprobe_run, basic, monkeypatch):
    def stop(plan, **options):
        raise MPProbeError(str(plan.settings))

    monkeypatch.setattr(mpprobe.Plan, "run", stop)
    assert str(mpprobe.Settings(within="kind", atoms="all")) in mpprobe_run("probe", *basic[:5]).err


def test_copies_of_structures_are_told_of_and_kept_together_unless_asked(
    mpprobe_run, basic, structures, tmp_path
):
    file = tmp_path / "copies.extxyz"
    images = ase.io.read(structures, index=":")
    ase.io.write(file, [*images, *images[:4]])
    flags = ("probe", *basic[:3], "-s", file, "--dry-run")
    line = "4 structures are copies or neighbouring frames of earlier ones; such structures "
    kept, apart = mpprobe_run(*flags), mpprobe_run(*flags, "--near-duplicates", "apart")
    assert (kept.code, apart.code) == (0, 0), kept.err + apart.err
    assert f"{line}are kept on one side of every split\n" in kept.err
    assert f"{line}may fall on both sides of a split, as asked: scores can be" in apart.err
    assert "copies" not in mpprobe_run("probe", *basic, "--dry-run").err
    wrong = mpprobe_run(*flags, "--near-duplicates", "away")
    assert (wrong.code, wrong.err) == (
        2, "mpprobe: near duplicates 'away': choose together or apart\n",
    )  # fmt: skip


# Choosing structures


def test_dry_run_checks_everything_and_writes_nothing(mpprobe_run, basic, tmp_path):
    code, out, err = mpprobe_run("probe", *basic, "--dry-run", "-o", tmp_path / "a" / "out")
    assert (code, out) == (0, "")
    assert "nothing was computed or written" in err
    assert list(tmp_path.iterdir()) == []
    wrong = mpprobe_run("probe", *basic, "--dry-run", "-l", 0, "-t", "field")
    assert wrong.code == 2
    assert "layers that do: 1" in wrong.err


@pytest.mark.parametrize(("limit", "shown"), [(5, "5 structures"), (500, "12 structures")])
def test_limit_takes_so_many_structures(mpprobe_run, basic, limit, shown):
    assert shown in mpprobe_run("probe", *basic, "--limit", limit, "--dry-run").err


def test_several_structure_flags_add_up(mpprobe_run, basic, structures):
    first = mpprobe_run("probe", *basic[:3], "-s", f"{structures}@:3", "-s", f"{structures}@-2:",
                        "--dry-run")  # fmt: skip
    assert "5 structures" in first.err


def test_labels_can_come_from_other_keys(mpprobe_run, basic, structures, tmp_path):
    images = ase.io.read(structures, index=":")
    for i, atoms in enumerate(images):
        atoms.info = {"config_type": "hot" if i % 2 else "cold"}
    ase.io.write(tmp_path / "mine.extxyz", images)
    flags = (*basic[:3], "-s", tmp_path / "mine.extxyz", "--split", "domain", "--in-domain", "cold")
    refused = mpprobe_run("probe", *flags, "--dry-run")
    assert refused.code == 2
    assert "no structure is in domain (cold)" in refused.err
    assert mpprobe_run("probe", *flags, "--label", "domain=config_type", "--dry-run").code == 0
    wrong = mpprobe_run("probe", *flags, "--label", "domain", "--dry-run")
    assert wrong.code == 2
    assert "write LABEL=KEY" in wrong.err


def test_a_split_by_domain_shows_the_domains(mpprobe_run, basic, tmp_path):
    output = tmp_path / "out"
    code, out, _ = mpprobe_run(
        "probe", *basic, "-l", 1, "--split", "domain", "--in-domain", "strained", "-o", output
    )
    assert code == 0
    assert "by domain, held out by domain, trained on strained" in out
    scores = pd.read_csv(output / "scores.csv")
    assert set(scores["subset"]) == {"all", "strained", "cluster"}


# Files that are there already


def test_results_that_are_there_stay_unless_overwrite_is_given(mpprobe_run, basic, tmp_path):
    output = tmp_path / "out"
    flags = ("probe", *basic, "-l", 1, "-q", "-o", output)
    assert mpprobe_run(*flags).code == 0
    before = (output / "results.json").read_text()
    kept = mpprobe_run(*flags, "--seed", 1)
    assert kept.code == 2
    assert "--overwrite" in kept.err
    assert (output / "results.json").read_text() == before
    assert mpprobe_run(*flags, "--seed", 1, "--overwrite").code == 0
    assert json.loads((output / "results.json").read_text())["provenance"]["settings"]["seed"] == 1
    # Overwriting is no setting: a configuration that is read back doesn't ask for it.
    assert not re.search("overwrite|dry-run", (output / "config.yaml").read_text())


def test_the_trained_tutorial_model_is_probed_by_its_path(mpprobe_run, shared_data, tmp_path):
    folder, output = shared_data / "mace-tutorial", tmp_path / "out"
    code, out, _ = mpprobe_run(
        "probe", "-m", folder / "mace01_swa.model", "--trust-checkpoint", "--resamples", 100,
        "-s", f"{folder}/solvent_xtb_test.extxyz.gz@:40", "-t", "charge:eeq", "-o", output,
        "--assignments", 1, "--random-seeds", 1,
    )  # fmt: skip
    assert code == 0
    assert "layer 2  32x0e" in out
    record = json.loads((output / "results.json").read_text(encoding="utf-8"))
    assert record["provenance"]["model"]["name"] == "mace01_swa.model"
    assert record["provenance"]["structures"]["n_structures"] == 40
