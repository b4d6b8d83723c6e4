"""Input that is deleted, cut off or overwritten between the check and the use, and after it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from faults.commands import alone, content

HOW = ("delete", "cut", "overwrite")
SLOW_BUT_CUT = [pytest.param(how, marks=() if how == "cut" else pytest.mark.slow) for how in HOW]


def refused(ended, *says):
    assert ended.code == 2, ended.said
    assert ended.last.startswith("mpprobe: "), ended.said
    assert any(words in ended.last for words in says), ended.said
    assert "Traceback" not in "\n".join(ended.said)


@pytest.mark.slow
@pytest.mark.parametrize("how", HOW[:2])
def test_structures_spoilt_before_they_are_read_are_one_line(made, small_file, tmp_path, how):
    mine = tmp_path / "mine.extxyz"
    shutil.copy(small_file, mine)
    harm = {"spoil": ["ase.io.read", how, str(mine)]}
    ended = made.run("ood", tmp_path / "work", "-s", str(mine), before=harm)
    # The last -s stands beside the first, so it may be looked for when it has gone.
    refused(ended, "can't be read as structures", "no such file")
    assert content(tmp_path / "work") == {}


@pytest.mark.parametrize("how", SLOW_BUT_CUT)
def test_structures_spoilt_after_they_are_read_change_nothing(made, small_file, tmp_path, how):
    mine, files = tmp_path / "mine.extxyz", made.files["FILE"]
    shutil.copy(small_file, mine)
    made.files["FILE"] = [str(mine)]
    try:
        harm = {"spoil": ["mpprobe.activations.filling.fill", how, str(mine)]}
        assert made.run("extract", tmp_path / "work", before=harm).code == 0
        shutil.copy(small_file, mine)
        assert made.run("extract", tmp_path / "again").code == 0
    finally:
        made.files["FILE"] = files
    assert content(tmp_path / "work") == content(tmp_path / "again")


@pytest.mark.parametrize("how", SLOW_BUT_CUT)
def test_a_checkpoint_spoilt_before_it_is_read_is_one_line(made, tmp_path, how):
    from sevenn.util import pretrained_name_to_path

    mine = tmp_path / "mine.pth"
    shutil.copy(pretrained_name_to_path("7net-0"), mine)
    harm = {"spoil": ["mpprobe.models.registry.inspect", how, str(mine)]}
    ended = made.run("ood", tmp_path / "work", "-m", str(mine), before=harm)
    refused(ended, str(mine))
    assert content(tmp_path / "work") == {}


@pytest.mark.parametrize("how", SLOW_BUT_CUT)
def test_a_shard_spoilt_while_it_is_probed_is_named(made, tmp_path, how, record_property):
    store = tmp_path / "store"
    shutil.copytree(made.files["STORE"][0], store)
    shard = sorted(store.rglob("*.safetensors"))[-1]
    harm = {"spoil": ["mpprobe.probes.run.Run.probe_order", how, str(shard)]}
    ended = made.run("probe --store", tmp_path / "work", "--store", str(store), before=harm)
    refused(ended, f"{shard}: is damaged", f"{shard}: can't be read")
    assert content(tmp_path / "work") == {}
    record_property("tried", 1)


@pytest.mark.parametrize("how", SLOW_BUT_CUT)
def test_a_shard_spoilt_while_it_is_merged_is_no_part_of_a_store(made, tmp_path, how):
    parts = [tmp_path / "0", tmp_path / "1"]
    for part, own in zip(parts, made.files["PARTS"], strict=True):
        shutil.copytree(own, part)
    shard = sorted(parts[0].rglob("*.safetensors"))[0]
    whole = made.files["PARTS"]
    made.files["PARTS"] = [str(part) for part in parts]
    try:
        harm = {"spoil": ["mpprobe.activations.merging._build", how, str(shard)]}
        ended = made.run("merge", tmp_path / "work", before=harm)
    finally:
        made.files["PARTS"] = whole
    refused(ended, "while it was copied", "can't be written")
    assert content(tmp_path / "work") == {}
    assert made.run("merge", tmp_path / "work").code == 0
    assert content(tmp_path / "work") == alone(made, "merge", tmp_path / "alone")[1]


def test_a_figure_that_goes_while_a_page_is_written_is_one_line(made, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(made.files["RUN"][0], run)
    figure = str(sorted(run.glob("*.png"))[0])
    harm = {"spoil": ["mpprobe.report.page.build.page", "delete", figure]}
    ended = made.run("report", tmp_path / "work", str(run), before=harm)
    refused(ended, "was replaced while it was read")
    assert content(tmp_path / "work") == {}


@pytest.mark.slow
@pytest.mark.parametrize("how", SLOW_BUT_CUT[:2])
def test_input_of_a_study_that_goes_between_its_steps_is_one_line(made, small_file, tmp_path, how):
    mine, study = tmp_path / "mine.extxyz", tmp_path / "study.yaml"
    shutil.copy(small_file, mine)
    study.write_text(Path(made.files["STUDY"][0]).read_text().replace(str(small_file), str(mine)))
    own, made.files["STUDY"] = made.files["STUDY"], [str(study)]
    try:
        harm = {"spoil": ["mpprobe.cli.record.Record.finish", how, str(mine)]}
        refused(made.run("run", tmp_path / "work", before=harm), str(mine))
        shutil.copy(small_file, mine)
        assert made.run("run", tmp_path / "work").code == 0
        assert made.run("run", tmp_path / "again").code == 0
    finally:
        made.files["STUDY"] = own
    assert content(tmp_path / "work") == content(tmp_path / "again")
