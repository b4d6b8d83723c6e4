"""``mpprobe run``: a study is checked whole, run step by step, and goes on where it was left."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest
import yaml

EXAMPLE = Path(__file__).parents[2] / "examples" / "study.yaml"


@pytest.fixture
def study(tmp_path, model, structures):
    """Write a study of the small model, and return its file."""

    def write(*steps, **more):
        shared = {"model": str(model), "trust-checkpoint": True, "structures": str(structures)}
        content = {
            "output": str(tmp_path / "study"),
            "shared": shared | {"resamples": 100} | more.pop("shared", {}),
            "steps": list(steps),
            "report": False,
        }
        file = tmp_path / "study.yaml"
        file.write_text(yaml.safe_dump(content | more))
        return file

    return write


def states(result):
    """What was done of each step, and why, from the JSON of a run."""
    assert result.code == 0, result.err
    return {row["step"]: row["to_do"] for row in json.loads(result.out)["steps"]}


ONCE = {"assignments": 1, "random_seeds": 1}
PROBE = {"probe": {"layer": 1, "split": "structure", **ONCE}}


def test_a_study_runs_is_left_out_when_done_and_redone_when_changed(mpprobe_run, study, tmp_path):
    extract = {"extract": {"layer": [1], "random_seeds": 0}}
    probe = {"store": "extract", "layer": 1, "target": "charge:eeq", "assignments": 1}
    charges = {"name": "charges", "probe": probe}
    file = study(extract, charges)
    planned = mpprobe_run("run", file, "--dry-run", "--json")
    assert states(planned) == {"extract": "new", "charges": "new"}
    assert not (tmp_path / "study").exists()

    assert states(mpprobe_run("run", file, "--json")) == {"extract": "new", "charges": "new"}
    results = json.loads((tmp_path / "study" / "charges" / "results.json").read_text())
    assert {row["target"] for row in results["scores"]} == {"charge:eeq"}
    config = yaml.safe_load((tmp_path / "study" / "charges" / "config.yaml").read_text())
    assert config["model"] is None  # shared, and out of force where there is a store
    assert config["store"] == str(tmp_path / "study" / "extract")

    again = mpprobe_run("run", file, "-q")
    assert (again.code, again.out, again.err) == (0, "", "")
    # How it is shown is no part of what is done.
    charges["probe"]["verbose"] = True
    assert states(mpprobe_run("run", study(extract, charges), "--json"))["charges"] == ""

    charges["probe"]["folds"] = 4
    changed = states(mpprobe_run("run", study(extract, charges), "--json"))
    assert changed == {"extract": "", "charges": "changed: folds"}
    # Another store takes the place of the first, and what was read from it is read again.
    extract["extract"]["layer"] = [1, 2]
    changed = states(mpprobe_run("run", study(extract, charges), "--json"))
    assert changed == {"extract": "changed: layer", "charges": "after extract"}
    assert set(states(mpprobe_run("run", file, "--json")).values()) == {""}


@pytest.mark.slow
def test_a_changed_input_file_and_a_folder_that_is_gone_are_redone(
    mpprobe_run, study, structures, tmp_path
):
    mine = tmp_path / "mine.extxyz"
    shutil.copy(structures, mine)
    file = study(PROBE, shared={"structures": f"{mine}@:"})
    assert states(mpprobe_run("run", file, "--json")) == {"probe": "new"}
    mine.write_text(structures.read_text().replace("pbc=", "note=1 pbc="))
    changed = states(mpprobe_run("run", file, "--dry-run", "--json"))
    assert changed == {"probe": f"changed: {mine}"}
    shutil.copy(structures, mine)
    assert states(mpprobe_run("run", file, "--dry-run", "--json")) == {"probe": ""}
    shutil.rmtree(tmp_path / "study" / "probe")
    assert states(mpprobe_run("run", file, "--json")) == {"probe": "its output is gone"}


def test_a_run_that_was_stopped_goes_on(mpprobe_run, study, tmp_path, monkeypatch):
    file = study({"name": "one", **PROBE}, {"name": "two", **PROBE})
    from mpprobe.probes import study as probing

    run, calls = probing.Plan.run, []

    def stop_the_second(self, **options):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return run(self, **options)

    monkeypatch.setattr(probing.Plan, "run", stop_the_second)
    stopped = mpprobe_run("run", file)
    assert stopped.code == 130
    assert not (tmp_path / "study" / "two").exists()
    assert states(mpprobe_run("run", file, "--json")) == {"one": "", "two": "was stopped"}
    assert len(calls) == 3


@pytest.mark.parametrize(
    ("steps", "more", "parts"),
    [
        ([{"prob": {}}], {}, ("step 1 (prob)", "did you mean probe?")),
        ([{"models": {}}], {}, ("step 1 (models)", "no step is called 'models'")),
        ([{"run": {}}], {}, ("no step is called 'run'",)),
        ([PROBE, {"ood": {"layr": 1}}], {}, ("step 2 (ood)", "no option 'layr'", "label")),
        ([{"probe": {"folds": 1}}], {}, ("step 1 (probe): folds: ", "2")),
        ([{"probe": {"seed": "x"}}], {}, ("step 1 (probe): seed:", "integer")),
        ([{"probe": {"seed": [1, 2]}}], {}, ("(probe): seed: takes one value",)),
        ([{"probe": {"target": True}}], {}, ("(probe): target: YAML reads it as true",)),
        ([{"probe": {"target": {"a": 1}}}], {}, ("(probe): target: takes values",)),
        ([{"probe": {"fast": "no"}}], {}, ("(probe): fast: is 'no', and takes true or false",)),
        ([{"probe": {"output": "x"}}], {}, ("(probe)", "output is set by `mpprobe run`")),
        ([{"patch": {"layer": 1, "source": "a", "into": "b"}}], {}, ("(patch): atom: is needed",)),
        ([PROBE, PROBE], {}, ("step 2 (probe)", "add `name: ...`")),
        ([{"probe": {}, "ood": {}}], {}, ("step 1: give one command a step", "ood, probe")),
        ([{"name": "a/b", "probe": {}}], {}, ("step 1: name: 'a/b' can't name a folder",)),
        ([7], {}, ("step 1: give a command",)),
        ([], {}, ("steps: give a list of commands",)),
        ([PROBE], {"step": 1}, ("step: no such key",)),
        ([PROBE], {"shared": {"compound": "NaCl"}}, ("shared: no step has an option 'compound'",)),
        ([PROBE], {"report": "x.html"}, ("report: takes true or false",)),
        # What only the commands know is found out before anything runs, too.
        ([PROBE, {"name": "b", "probe": {"target": "charge:eqe"}}], {},
         ("step 2 (b)", "did you mean 'charge:eeq'?")),
        ([PROBE, {"name": "b", "probe": {"layer": 9}}], {}, ("step 2 (b)", "layer 9")),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_and_nothing_runs(mpprobe_run, study, tmp_path, steps, more, parts):
    code, out, err = mpprobe_run("run", study(*steps, **more))
    assert (code, out) == (2, ""), err
    assert err.startswith(f"mpprobe: {tmp_path / 'study.yaml'}: ")
    assert err.count("\n") == 1
    for part in parts:
        assert part in err
    assert not (tmp_path / "study").exists()


def test_a_file_that_is_no_study(mpprobe_run, tmp_path):
    for text, part in (("- a\n", "a study has `steps:`"), ("a: [\n", "can't be read as YAML")):
        (tmp_path / "bad.yaml").write_text(text)
        code, _, err = mpprobe_run("run", tmp_path / "bad.yaml")
        assert code == 2
        assert part in err
    assert mpprobe_run("run", tmp_path / "none.yaml").code == 2


def test_folders_that_are_not_the_studys_own_are_left_alone(mpprobe_run, study, tmp_path):
    kept = tmp_path / "study" / "probe" / "mine.txt"
    kept.parent.mkdir(parents=True)
    kept.write_text("mine")
    for flags in ((), ("--overwrite",)):
        result = mpprobe_run("run", study(PROBE), *flags)
        assert result.code == 2
        assert "step 1 (probe)" in result.err
    assert kept.read_text() == "mine"


def test_a_command_that_takes_folders_is_given_those_of_the_steps_before(tmp_path):
    from mpprobe.cli.study import read_study

    file = tmp_path / "toys.yaml"
    file.write_text("report: false\nsteps: [{toy sweep: {world: [fixed]}}, toy report]\n")
    first, last = read_study(file).steps
    assert (first.name, last.name) == ("toy-sweep", "toy-report")
    assert last.arguments == (str(first.output),)
    assert last.after == ("toy-sweep",)
    assert not last.defaults


def test_an_option_of_its_own_goes_before_a_shared_one(study):
    from mpprobe.cli.study import read_study

    steps = ({"ood": {"model": ["a", "b"], "seed": 3}}, {"probe": {"model": None, "store": "s"}})
    ood, probe = read_study(study(*steps, shared={"seed": 1})).steps
    assert (ood.configuration["model"], ood.configuration["seed"]) == (["a", "b"], 3)
    assert (probe.configuration["model"], probe.configuration["seed"]) == (None, 1)


def test_the_example_is_a_study(tmp_path):
    from mpprobe.cli.study import read_study

    study = read_study(EXAMPLE, tmp_path)
    *steps, report = study.steps
    assert {"probe", "erase", "response", "ood"} <= {step.name for step in steps}
    assert all(step.output.parent == tmp_path for step in steps)
    assert report.words == ("report",)
    assert report.output == tmp_path / "report.html"
    assert report.arguments == tuple(str(step.output) for step in steps)


@pytest.mark.slow
def test_the_example_runs_within_ten_minutes(mpprobe_run, tmp_path):
    start = time.monotonic()
    result = mpprobe_run("run", EXAMPLE, "-o", tmp_path / "out", "-q")
    assert result.code == 0, result.err
    assert time.monotonic() - start < 600
    assert (tmp_path / "out" / "report.html").stat().st_size > 0


@pytest.mark.slow
def test_a_page_of_all_steps_is_made_at_the_end_and_again_after_a_change(
    mpprobe_run, study, tmp_path
):
    page = tmp_path / "study" / "report.html"
    first = mpprobe_run("run", study(PROBE, report=True), "--json")
    assert states(first) == {"probe": "new", "report": "new"}
    before = page.read_bytes()
    assert states(mpprobe_run("run", study(PROBE, report=True), "--json"))["report"] == ""
    other = {"probe": PROBE["probe"] | {"folds": 4}}
    again = states(mpprobe_run("run", study(other, report=True), "--json"))
    assert again == {"probe": "changed: folds", "report": "after probe"}
    assert page.read_bytes() != before
