"""What a study leaves on disk: whole or not at all, readable, and nothing else touched."""

from __future__ import annotations

import json
from dataclasses import replace

import ase.io
import numpy as np
import pandas as pd
import pytest

from mpprobe import files as storing
from mpprobe.errors import MPProbeError, StoreError
from mpprobe.report import files
from mpprobe.report.files import check_output, results, write_study, write_table
from mpprobe.report.page import read_run
from mpprobe.report.readings import readings

TARGETS, SPLITS = ("potential", "charge:formal", "field"), ("structure", "compound")
TABLES = ("scores", "differences", "conditional")


def snapshot(folder):
    """Every file below a folder with its bytes."""
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def strict(text):
    """JSON as the standard has it: without NaN and infinities."""

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.fixture(scope="module")
def written(study, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out") / "results"
    return folder, write_study(study, folder, configuration="model: x\n")


@pytest.fixture(scope="module")
def small(study):
    """The same study, of one target, split and layer."""
    return renamed(study, "potential")


def renamed(study, name):
    tables = {}
    for table in ("scores", "differences", "conditional"):
        rows = getattr(study, table)
        rows = rows[(rows["target"] == "potential") & (rows["split"] == "structure")]
        tables[table] = rows.assign(target=name)
    key = "potential", "structure", 1
    return replace(
        study,
        **tables,
        true={name: study.true["potential"]},
        targets={name: study.targets["potential"]},
        choices={(name, "structure"): {1: 1.0}},
        predictions={(name, "structure", 1): study.predictions[key]},
        within={(name, "structure", 1): study.within[key]},
        layers=(1,),
    )


@pytest.fixture
def plain_figures(monkeypatch):
    """Write no figures where they don't matter: they take longest."""

    def save(figure, path):
        path.with_suffix(".png").write_text("a figure")

    monkeypatch.setattr(files, "save", save)


@pytest.fixture
def results_folder(tmp_path):
    """A folder that looks like an earlier study's."""
    folder = tmp_path / "results"
    folder.mkdir()
    text = json.dumps({"readings": [], "scores": [], "provenance": {}})
    (folder / "results.json").write_text(text)
    (folder / "scores.csv").write_text("earlier")
    return folder


# What is written


def test_every_file_is_there_and_nothing_else(written):
    folder, returned = written
    stems = [f"parity_{t}_{s}".replace(":", "-") for t in TARGETS for s in SPLITS]
    figures = {stem + end for stem in stems for end in (".png", ".pdf")}
    expected = {"results.json", "scores.csv", "differences.csv", "conditional.csv", "config.yaml",
                "layer_profile.png", "layer_profile.pdf", "structures.extxyz"}  # fmt: skip
    assert {file.name for file in returned} == expected | figures
    assert sorted(folder.iterdir()) == returned
    assert all(file.stat().st_size > 0 for file in returned)
    assert list(folder.parent.iterdir()) == [folder]


def test_results_json_is_strict_and_holds_the_whole_study(study, written):
    record = strict((written[0] / "results.json").read_text(encoding="utf-8"))
    assert record["readings"] == readings(study)
    for name in TABLES:
        table = getattr(study, name)
        assert len(record[name]) == len(table) > 0
        for row, (_, expected) in zip(record[name], table.iterrows(), strict=True):
            for column, value in expected.items():
                if pd.isna(value):
                    assert row[column] is None
                else:
                    assert row[column] == value
    assert record["provenance"]["structures"] == study.provenance["structures"]
    assert record["provenance"]["settings"]["in_domain"] == ["bulk", "strained"]
    assert strict(json.dumps(results(study), allow_nan=False)) == record


def test_tables_read_back_as_they_were(study, written):
    for name in TABLES:
        table = pd.read_csv(written[0] / f"{name}.csv")
        expected = getattr(study, name)
        assert table.columns.tolist() == expected.columns.tolist()
        for column in table.select_dtypes("number"):
            np.testing.assert_allclose(table[column], expected[column].astype(float), rtol=1e-14)


def test_results_json_says_how_often_each_layer_was_chosen(study, written):
    record = strict((written[0] / "results.json").read_text(encoding="utf-8"))
    found = {(c["target"], c["split"], c["layer"]): c["share"] for c in record["choices"]}
    assert len(found) == len(record["choices"])
    expected = {(*key, layer): share for key, shares in study.choices.items()
                for layer, share in shares.items()}  # fmt: skip
    assert found == expected


def test_results_json_says_what_the_columns_of_scores_are(study, written):
    record = strict((written[0] / "results.json").read_text(encoding="utf-8"))
    named = {name for names in record["columns"] for name in names.split(", ")}
    assert {"r2_within", "r2", "mae", "spread_low", "spread_high", "code_length"} <= named
    assert named - set(study.scores.columns) == {"_low", "_high"}
    assert all(record["columns"].values())


def test_a_table_without_rows_is_written_and_read_back(small, tmp_path):
    """As the one of what layers add, where only layer 0 was asked for."""
    bare = replace(small, conditional=pd.DataFrame(), trivial=("potential",))
    write_study(bare, tmp_path / "out")
    assert read_run(tmp_path / "out").tables["conditional"].empty
    assert strict((tmp_path / "out" / "results.json").read_text("utf-8"))["conditional"] == []


def test_structures_carry_true_and_decoded_values(study, written):
    images = ase.io.read(written[0] / "structures.extxyz", index=":")
    assert len(images) == len(study.frames)
    for frame, image in zip(study.frames, images, strict=True):
        np.testing.assert_allclose(image.positions, frame.atoms.positions, atol=1e-7)
        assert image.info["mpprobe_source"] == frame.source
    for name, expected in {
        "mpprobe_potential": study.true["potential"],
        "mpprobe_charge_formal": study.true["charge:formal"],
        "mpprobe_field": study.true["field"],
        "mpprobe_potential_structure_layer_2": study.predictions["potential", "structure", 2],
        "mpprobe_field_compound_layer_1": study.predictions["field", "compound", 1],
    }.items():
        found = np.concatenate([image.arrays[name] for image in images])
        np.testing.assert_allclose(found, expected, atol=2e-8)


def test_structures_carry_the_same_within_kinds(study, written):
    images = ase.io.read(written[0] / "structures.extxyz", index=":")
    for name, expected in {
        "mpprobe_potential_within": study.true["potential"],
        "mpprobe_potential_structure_layer_2_within": study.within["potential", "structure", 2],
        "mpprobe_potential_compound_layer_1_within": study.within["potential", "compound", 1],
    }.items():
        found = np.concatenate([image.arrays[name] for image in images])
        np.testing.assert_allclose(found, study.centred(expected), atol=2e-8)
        # Neither what the map fitted to the whole target says, nor all zero.
        assert np.ptp(found) > 0.01
    whole = study.centred(study.predictions["potential", "structure", 2])
    found = [i.arrays["mpprobe_potential_structure_layer_2_within"] for i in images]
    assert not np.allclose(np.concatenate(found), whole, atol=1e-3)
    trivial = np.concatenate([image.arrays["mpprobe_charge_formal_within"] for image in images])
    np.testing.assert_allclose(trivial, 0, atol=1e-9)


def test_what_is_within_kinds_has_no_mean_in_any(study, written):
    frames = read_run(written[0]).frames
    compounds = np.repeat([f.compound for f in frames], [len(f) for f in frames])
    species = np.concatenate([f.numbers for f in frames])
    names = [n for n in frames[0].atoms.arrays if n.endswith("_within")]
    assert len(names) == 2 * (1 + len(SPLITS) * len(study.layers))
    for name in names:
        values = np.concatenate([f.atoms.arrays[name] for f in frames])
        for compound, number in set(zip(compounds, species, strict=True)):
            kind = (compounds == compound) & (species == number)
            np.testing.assert_allclose(values[kind].mean(), 0, atol=1e-7)


def test_vectors_have_no_arrays_within_kinds(study):
    arrays = files.atom_arrays(study)
    assert "field_structure_layer_1" in arrays
    assert not any(n.startswith("field") and n.endswith("_within") for n in arrays)


def test_results_json_says_what_every_array_is(study, written):
    record = strict((written[0] / "results.json").read_text(encoding="utf-8"))
    about = {a.pop("array"): a for a in record["arrays"]}
    (image, *_) = ase.io.read(written[0] / "structures.extxyz", index=":")
    assert set(about) == {n for n in image.arrays if n.startswith("mpprobe_")}
    place = {"target": "potential", "split": "structure", "layer": 2}
    assert about["mpprobe_potential"] == {"kind": "true", "target": "potential", "unit": "V"}
    assert about["mpprobe_potential_within"] == {
        "kind": "true within kinds", "target": "potential", "unit": "V"
    }  # fmt: skip
    assert about["mpprobe_potential_structure_layer_2"] == {"kind": "decoded", **place}
    assert about["mpprobe_potential_structure_layer_2_within"] == {
        "kind": "decoded within kinds", **place
    }  # fmt: skip
    assert about["mpprobe_map_layer_2"] == {"kind": "map", "layer": 2}
    kinds = {a["kind"] for a in about.values() if a.get("target") == "field"}
    assert kinds == {"true", "decoded"}


def test_only_layers_asked_for_are_written(study):
    arrays = files.atom_arrays(replace(study, layers=(2,)))
    assert "potential_structure_layer_2" in arrays
    assert "potential_structure_layer_2_within" in arrays
    assert not any(name.removesuffix("_within").endswith(("layer_0", "layer_1")) for name in arrays)


def test_the_configuration_is_written_as_given_or_not_at_all(small, written, tmp_path):
    assert (written[0] / "config.yaml").read_text() == "model: x\n"
    write_study(small, tmp_path / "bare")
    assert not (tmp_path / "bare" / "config.yaml").exists()


def test_one_study_gives_the_same_files(small, tmp_path):
    for name in ("once", "again"):
        write_study(small, tmp_path / name)
    assert snapshot(tmp_path / "again") == snapshot(tmp_path / "once")


def test_names_that_files_cannot_have_are_made_harmless(study, tmp_path):
    written = write_study(renamed(study, "array:a/b.5 [x]@eeq"), tmp_path / "out")
    assert tmp_path / "out" / "parity_array-a-b-5-x-eeq_structure.png" in written
    assert all(file.is_file() for file in written)


# Whole or not at all


@pytest.mark.usefixtures("plain_figures")
@pytest.mark.parametrize("step", ["layer_profile", "parity", "write_extxyz", "readings"])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failure_midway_leaves_nothing(small, tmp_path, monkeypatch, step, error):
    def fail(*args, **kwargs):
        raise error("no")

    monkeypatch.setattr(files, step, fail)
    with pytest.raises(error):
        write_study(small, tmp_path / "results")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("plain_figures")
@pytest.mark.parametrize("step", ["layer_profile", "write_extxyz"])
def test_a_failure_midway_leaves_earlier_results_as_they_were(
    small, results_folder, monkeypatch, step
):
    before = snapshot(results_folder.parent)

    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, step, fail)
    with pytest.raises(StoreError, match=r"can't be written \(No space"):
        write_study(small, results_folder, overwrite=True)
    assert snapshot(results_folder.parent) == before


@pytest.mark.usefixtures("plain_figures")
def test_a_failure_of_the_last_rename_brings_earlier_results_back(
    small, results_folder, monkeypatch
):
    """Where two folders can't be swapped."""
    monkeypatch.setattr(storing, "_swap", lambda one, other: False)
    before, replace_ = snapshot(results_folder.parent), files.os.replace

    def fail(source, target):
        if source.name == "new":
            raise OSError(5, "Input/output error")
        replace_(source, target)

    monkeypatch.setattr(files.os, "replace", fail)
    with pytest.raises(StoreError, match="Input/output"):
        write_study(small, results_folder, overwrite=True)
    assert snapshot(results_folder.parent) == before


@pytest.mark.usefixtures("plain_figures")
@pytest.mark.parametrize("swaps", [True, False])
def test_earlier_results_are_replaced_as_a_whole(small, results_folder, monkeypatch, swaps):
    if not swaps:
        monkeypatch.setattr(storing, "_swap", lambda one, other: False)
    (results_folder / "parity_old_structure.png").write_text("stale")
    write_study(small, results_folder, overwrite=True)
    assert not (results_folder / "parity_old_structure.png").exists()
    assert len(pd.read_csv(results_folder / "scores.csv")) == len(small.scores)
    assert list(results_folder.parent.iterdir()) == [results_folder]


# What is refused


def refused(folder, overwrite, *parts):
    with pytest.raises(MPProbeError) as error:
        check_output(folder, overwrite)
    message = str(error.value)
    assert message.startswith(f"{folder}: ")
    assert "\n" not in message
    assert all(part in message for part in parts), message


def test_earlier_results_are_kept_unless_overwrite_is_given(results_folder):
    refused(results_folder, False, "--overwrite", "--output")
    assert check_output(results_folder, True) == results_folder.resolve()


@pytest.mark.parametrize("content", [None, "not json", "[]", '{"scores": []}'])
def test_a_folder_of_other_things_is_never_overwritten(small, tmp_path, content):
    (tmp_path / "thesis.tex").write_text("years of work")
    if content is not None:
        (tmp_path / "results.json").write_text(content)
    before = snapshot(tmp_path)
    refused(tmp_path, True, "no results.json of mpprobe's", "--output")
    with pytest.raises(MPProbeError):
        write_study(small, tmp_path, overwrite=True)
    assert snapshot(tmp_path) == before


def test_a_file_is_no_folder(tmp_path):
    file = tmp_path / "results"
    file.write_text("mine")
    for overwrite in (False, True):
        refused(file, overwrite, "is a file", "--output")
    assert file.read_text() == "mine"


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    # Permission bits don't stop root; that a file is no folder stops everyone.
    (tmp_path / "file").write_text("")
    refused(tmp_path / "file" / "below" / "results", False, "can't be written", "--output")
    refused(tmp_path / ("x" * 300) / "results", False, "can't be written", "--output")


def test_the_current_folder_is_not_replaced(results_folder, monkeypatch):
    monkeypatch.chdir(results_folder)
    before = snapshot(results_folder)
    for folder in (".", results_folder, ".."):
        refused(folder, True, "the folder you are in")
    assert snapshot(results_folder) == before


def test_an_empty_folder_a_new_one_and_one_behind_a_link_are_fine(results_folder, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(results_folder)
    for name, target in (("empty", "empty"), ("new/deep", "new/deep"), ("link", "results")):
        assert check_output(tmp_path / name, True) == tmp_path.resolve() / target
    # Asking leaves nothing behind.
    assert {p.name for p in tmp_path.iterdir()} == {"results", "empty", "link"}


@pytest.mark.usefixtures("plain_figures")
def test_missing_folders_above_are_made(small, tmp_path):
    write_study(small, tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b" / "results.json").is_file()


@pytest.mark.usefixtures("plain_figures")
def test_results_behind_a_link_are_replaced_and_the_link_stays(small, results_folder, tmp_path):
    (tmp_path / "link").symlink_to(results_folder)
    write_study(small, tmp_path / "link", overwrite=True)
    assert (tmp_path / "link").is_symlink()
    assert (results_folder / "structures.extxyz").is_file()


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_a_label_is_no_formula_of_a_spreadsheet(tmp_path, start):
    label = start + 'HYPERLINK("http://x";"y")'
    shown = f"'{label}".replace("\t", " ").replace("\r", " ")
    table = pd.DataFrame({"domain": [label, "bulk", None], "r2": [-1.5, 0.5, np.nan], label: 1})
    write_table(tmp_path / "t.csv", table)
    text = (tmp_path / "t.csv").read_bytes().decode()
    assert "-1.5" in text
    read = pd.read_csv(tmp_path / "t.csv")
    assert list(read["domain"][:2]) == [shown, "bulk"]
    assert list(read) == ["domain", "r2", shown]
    assert list(table["domain"][:2]) == [label, "bulk"]
