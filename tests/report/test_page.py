"""The report page: everything of the runs is on it, nothing else is asked for, nothing is run."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from mpprobe.errors import ReportError
from mpprobe.probes.sources import CHOSEN
from mpprobe.report import files
from mpprobe.report.files import write_study
from mpprobe.report.page import build, read_run, viewer, write_report
from mpprobe.report.page.compare import comparison, heading
from mpprobe.report.page.tables import MOST_ROWS, page_table

HOSTILE = '</script><script>canary()</script><img src=x onerror="canary()">'


@pytest.fixture(scope="module")
def folder(study, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page") / "probe"
    write_study(study, folder, configuration="model: mine\n")
    return folder


@pytest.fixture(scope="module")
def page(folder, tmp_path_factory):
    file = tmp_path_factory.mktemp("page") / "report.html"
    return write_report([folder], file).read_text(encoding="utf-8")


@pytest.fixture
def other(tmp_path):
    """A run of another command, whose every text is hostile."""
    folder = tmp_path / "hostile"
    folder.mkdir()
    about = {"command": HOSTILE, "readings": [HOSTILE], "provenance": {HOSTILE: HOSTILE}}
    (folder / "results.json").write_text(json.dumps(about))
    (folder / "config.yaml").write_text(HOSTILE)
    pd.DataFrame({HOSTILE: [HOSTILE], "x": 1.0}).to_csv(folder / "table.csv", index=False)
    return folder


class Elements(HTMLParser):
    """Tags with their attributes, and the text of the scripts that run."""

    def __init__(self, text):
        super().__init__()
        self.found, self.scripts, self._script = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        self._script = tag == "script" and dict(attrs).get("type") is None

    def handle_endtag(self, tag):
        self._script = False

    def handle_data(self, data):
        if self._script:
            self.scripts.append(data)


def test_it_holds_readings_figures_tables_and_provenance(page, folder):
    run = read_run(folder)
    text = Elements(page)
    for line in run.readings:
        assert line.replace("'", "&#39;") in page
    images = [attrs for tag, attrs in text.found if tag == "img"]
    assert len(images) == len(run.figures)
    assert all(image["src"].startswith("data:image/png") and image["alt"] for image in images)
    assert set(run.tables) == {"scores", "differences", "conditional"}
    assert all(re.search(f"<summary>[^<]*: {name} <small>", page) for name in run.tables)
    assert run.results["provenance"]["structures"]["sha256"] in page
    assert "mpprobe probe --config probe.yaml" in page
    assert "model: mine" in page


def test_it_asks_no_network_for_anything(page):
    links = [attrs.get(key) for _, attrs in Elements(page).found for key in ("src", "href")]
    outside = [link for link in links if link and not link.startswith(("#", "data:"))]
    assert outside == ["https://chemiscope.org"]  # a link to be clicked
    assert "default-src 'none'" in page


def test_only_its_own_scripts_may_run(page):
    policy = next(attrs["content"] for tag, attrs in Elements(page).found
                  if attrs.get("http-equiv") == "Content-Security-Policy")  # fmt: skip
    allowed = re.search(r"script-src ([^;]*)", policy)[1].split()
    scripts = Elements(page).scripts
    digests = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    assert allowed == [*(f"'sha256-{d}'" for d in digests), "'unsafe-eval'"]


def test_hostile_texts_are_texts(other, folder, tmp_path):
    text = write_report([other, folder], tmp_path / "r.html").read_text(encoding="utf-8")
    found = Elements(text)
    assert len(found.scripts) == 2
    assert not any("canary" in script for script in found.scripts)
    assert not any("onerror" in attrs for _, attrs in found.found)
    assert text.count("&lt;/script&gt;&lt;script&gt;canary()") >= 5


def test_json_of_structures_cannot_end_its_element():
    embedded = build._embedded({"domain": HOSTILE})
    assert "<" not in embedded
    assert json.loads(embedded) == {"domain": HOSTILE}


def test_every_decoded_value_is_in_the_viewer(folder, study):
    shown = viewer.viewer(read_run(folder))
    values = shown.dataset["properties"]
    assert shown.shown == shown.n_frames == len(study.frames)
    for (target, split, layer), predicted in study.predictions.items():
        if layer not in study.layers:
            continue
        own = [c for c in shown.columns if (c.target, c.split, c.layer) == (target, split, layer)]
        assert {c.kind for c in own} == {"decoded", "residual"}
        name = next(c.name for c in own if c.kind == "decoded")
        size = predicted if predicted.ndim == 1 else np.linalg.norm(predicted, axis=1)
        held = [np.nan if v is None else v for v in values[name]["values"]]
        np.testing.assert_allclose(held, size, rtol=1e-3, atol=1e-3)
    assert set(shown.maps) == set(study.layers)
    assert shown.start == study.best_layer("potential", "structure")
    assert shown.start in study.layers
    json.dumps(shown.as_json(), allow_nan=False)
    assert {arrow.target for arrow in shown.arrows} == {"field"}
    assert values["potential true"]["units"] == "V"


def values_of(shown, name):
    return np.array([np.nan if v is None else v
                     for v in shown.dataset["properties"][name]["values"]])  # fmt: skip


def test_numbers_are_in_the_viewer_within_kinds_too_and_their_residuals_only_so(folder, study):
    shown = viewer.viewer(read_run(folder))
    true = study.centred(study.true["potential"])
    np.testing.assert_allclose(values_of(shown, "potential within kinds true"), true, atol=1e-3)
    for split, layer in (("structure", 1), ("compound", 2)):
        where = f"layer {layer}, by {split}"
        own = [c for c in shown.columns
               if (c.target, c.split, c.layer) == ("potential", split, layer)]  # fmt: skip
        assert [(c.kind, c.name) for c in own] == [
            ("decoded", f"potential decoded, {where}"),
            ("decoded", f"potential within kinds decoded, {where}"),
            ("residual", f"potential within kinds decoded less true, {where}"),
        ]
        decoded = study.centred(study.within["potential", split, layer])
        for column, expected in zip(own[1:], (decoded, decoded - true), strict=True):
            np.testing.assert_allclose(values_of(shown, column.name), expected, atol=1e-3)
            assert shown.dataset["properties"][column.name]["units"] == "V"


def test_vectors_are_in_the_viewer_as_they_are_and_so_are_their_residuals(folder, study):
    shown = viewer.viewer(read_run(folder))
    own = [c for c in shown.columns if c.target == "field" and c.split != "compound"]
    assert [(c.kind, c.name) for c in own] == [
        ("true", "field true"),
        ("decoded", "field decoded, layer 1, by structure"),
        ("residual", "field decoded less true, layer 1, by structure"),
    ]
    left = study.predictions["field", "structure", 1] - study.true["field"]
    sizes = np.linalg.norm(left, axis=1)
    np.testing.assert_allclose(values_of(shown, own[2].name), sizes, rtol=1e-3, atol=1e-3)


def test_of_each_target_split_and_layer_there_is_one_residual(folder, study):
    """The page takes the first of a kind that it finds."""
    columns = viewer.viewer(read_run(folder)).columns
    residuals = [(c.target, c.split, c.layer) for c in columns if c.kind == "residual"]
    expected = [key for key in study.predictions if key[2] in study.layers]
    assert sorted(residuals) == sorted(expected)
    names = [c.name for c in columns]
    assert len(names) == len(set(names))
    for target in ("potential", "charge:formal"):
        first = next(c for c in columns if (c.target, c.kind) == (target, "true"))
        assert first.name == f"{target} true"


def test_a_page_too_large_shows_a_sample_and_says_so(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(viewer, "MOST_ATOMS", 60)
    run = read_run(folder)
    shown = viewer.viewer(run)
    assert len(shown.dataset["environments"]) <= 60
    assert 0 < shown.shown < shown.n_frames
    text = write_report([folder], tmp_path / "r.html").read_text(encoding="utf-8")
    assert f"{shown.shown} of {shown.n_frames} structures, spread over domains" in text


class TestTables:
    def test_intervals_stand_with_their_values_which_sort(self):
        table = pd.DataFrame({"r2": [0.5, -1.0], "r2_low": [0.4, np.nan], "r2_high": [0.6, np.nan],
                              "none": [np.nan] * 2, "of": ["a", None]})  # fmt: skip
        made = page_table("t", table)
        assert made.headings == ["r2", "of"]
        assert made.numeric == [True, False]
        assert [[c.text for c in row] for row in made.rows] == [["0.5 [0.4, 0.6]", "a"], ["−1", ""]]
        assert [row[0].order for row in made.rows] == [0.5, -1.0]

    def test_long_ones_are_cut_and_say_so(self, other, tmp_path):
        pd.DataFrame({"k": range(MOST_ROWS + 5)}).to_csv(other / "long.csv", index=False)
        text = write_report([other], tmp_path / "r.html").read_text(encoding="utf-8")
        assert f"The first {MOST_ROWS} of {MOST_ROWS + 5} rows; all are in hostile/long.csv" in text


def test_runs_are_compared(folder, study, tmp_path):
    second = tmp_path / "again"
    write_study(study, second)
    runs = [read_run(f) for f in (folder, second)]
    table = comparison(runs)
    assert [heading(run, runs) for run in runs] == list(table)[2:]
    assert "(again)" in list(table)[3]
    scores = study.scores
    assert len(table) == len(scores[["target", "split"]].drop_duplicates())
    assert table.iloc[0, 2].startswith("layer ")
    assert comparison(runs[:1]).empty


@pytest.fixture(scope="module")
def choosing(study, tmp_path_factory):
    """Runs whose training folds choose layer 1 and layer 2, without figures."""
    runs = []
    for layer, ends in ((1, (0.5, 0.4, 0.6)), (2, (0.25, np.nan, np.nan))):
        scores = study.scores.copy()
        rows = (scores["features"] == CHOSEN) & (scores["target"] == "potential")
        scores.loc[rows, ["r2_within", "r2_within_low", "r2_within_high"]] = ends
        shares = {t: 0.7 if t == layer else 0.3 for t in (1, 2)}
        choices = {key: shares if len(own) == 2 else own for key, own in study.choices.items()}
        folder = tmp_path_factory.mktemp("choosing") / f"layer {layer}"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(files, "save", lambda figure, path: [])
            write_study(replace(study, scores=scores, choices=choices), folder)
        runs.append(read_run(folder))
    return runs


def test_runs_are_compared_by_the_layer_that_their_training_folds_choose(choosing):
    assert [run.best_layer("potential", "structure") for run in choosing] == [1, 2]
    table = comparison(choosing).set_index(["target", "split"])
    for split in ("structure", "compound"):
        assert table.loc[("potential", split)].tolist() == [
            "layer 1: 0.50 [0.40, 0.60]", "layer 2: 0.25"
        ]  # fmt: skip
    # The only layer with vectors, and the same score in both.
    field = table.loc[("field", "structure")].tolist()
    assert field[0] == field[1]
    assert field[0].startswith("layer 1: ")
    # Nothing to score within kinds.
    assert table.loc[("charge:formal", "structure")].tolist() == ["layer 1: –", "layer 2: –"]


def test_the_page_begins_with_the_layer_that_the_training_folds_choose(choosing):
    assert [viewer.viewer(run).start for run in choosing] == [1, 2]


@pytest.mark.parametrize(("shares", "best"), [([0.2, 0.8], 2), ([0.8, 0.2], 1), ([0.5, 0.5], 1)])
def test_of_layers_chosen_as_often_a_run_has_the_first(folder, shares, best):
    run = read_run(folder)
    choices = [{"target": "t", "split": "s", "layer": k + 1, "share": share}
               for k, share in enumerate(shares)]  # fmt: skip
    others = [{"target": "t", "split": "x", "layer": 9, "share": 1.0},
              {"target": "x", "split": "s", "layer": 9, "share": 1.0}]  # fmt: skip
    for order in (choices + others, others + choices[::-1]):
        held = replace(run, results={**run.results, "choices": order})
        assert held.best_layer("t", "s") == best


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda f: None, "has no results.json"),
        (lambda f: (f / "results.json").write_text("{"), "has no results.json"),
        (lambda f: (f / "results.json").write_text("[]"), "isn't one that this version"),
    ],
)
def test_a_folder_that_is_no_run_is_one_line(tmp_path, make, said):
    run = tmp_path / "run"
    run.mkdir()
    make(run)
    with pytest.raises(ReportError, match=said):
        write_report([run], tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


def test_what_is_there_is_kept(folder, tmp_path):
    file = tmp_path / "r.html"
    file.write_text("mine")
    for folders, target, said in (([folder], file, "--overwrite"), ([folder], tmp_path, "folder"),
                                  ([folder, folder], tmp_path / "x", "twice"),
                                  ([], tmp_path / "x", "nothing")):  # fmt: skip
        with pytest.raises(ReportError, match=said):
            write_report(folders, target)
    assert file.read_text() == "mine"
    write_report([folder], file, overwrite=True)
    assert file.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
