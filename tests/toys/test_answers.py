"""What rows of models say together, on rows made up so that the answer is known."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest

from mpprobe.activations.journal import Journal
from mpprobe.probes.executor import Serial
from mpprobe.report.sweep import sweep_figure, sweep_readings, sweep_tables
from mpprobe.toys import Hyperparameters, answers, grid, sweep
from mpprobe.toys.questions import BAND, ENCODING, ORDER, REACH, SHELL, partial_rank, rank


def rows_of(worlds=("fixed", "band"), seed=0):
    """Error outside = reach^(-2) among charges, halved by l_max; bands are ten times off."""
    rng = np.random.default_rng(seed)
    rows = []
    jobs = grid(worlds, cutoffs=(3.5, 4.5, 6.0), layers=(1, 2, 3), l_max=(0, 1))
    for job in jobs:
        h = job.hyper
        reach = h.cutoff * h.layers
        error = 10 * reach**-2.0 * 0.5**h.l_max
        error *= 10 if job.world == "band" else 1
        read = 1 - error / 10 if job.world == "fixed" else rng.uniform()
        row = {
            "name": job.name, "world": job.world, "family": h.family, "cutoff": h.cutoff,
            "layers": h.layers, "l_max": h.l_max, "channels": h.channels, "n_train": job.n_train,
            "seed": h.seed, "reach": reach, "relative:crystal": 0.05, "relative:outside": error,
            "r2:potential": read, "layer:potential": 1, "random:potential": rng.uniform(),
            "exponent": 3.0, "residual": 0.5, "strength": 0.4,
        }  # fmt: skip
        for k in (1, 2, 3):
            row[f"random:potential:shell-{k}"] = 0.2
            for layer in range(1, h.layers + 1):
                row[f"r2:potential:shell-{k}:{layer}"] = 0.9 if layer >= k else 0.0
        rows.append(row)
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def found():
    return answers(rows_of(), n_resamples=300)


def value(found, question, world, what):
    own = found[(found["question"] == question) & (found["world"] == world)]
    # The statement itself where another one adds something to it.
    return own[own["what"].str.startswith(what)].iloc[0].to_dict()


def test_encoding_goes_with_the_error_where_it_was_made_to(found):
    row = value(found, ENCODING, "fixed", "rank correlation of R²")
    assert row["value"] == pytest.approx(-1)
    assert row["high"] < 0
    assert row["n"] == 18
    control = value(found, ENCODING, "fixed", "control")
    assert control["low"] < 0 < control["high"] or abs(control["value"]) < 0.6


def test_reach_alone_decides(found):
    assert value(found, REACH, "fixed", "exponent of layers")["value"] == pytest.approx(-2)
    assert value(found, REACH, "fixed", "exponent of cutoff less")["value"] == pytest.approx(
        0, abs=1e-6
    )


def test_pairs_of_models_that_differ_in_one_thing(found):
    assert value(found, ORDER, "fixed", "error outside with l_max 1")["value"] == pytest.approx(0.5)
    assert value(found, ORDER, "fixed", "error outside with l_max 1")["n"] == 9
    assert value(found, BAND, "fixed", "error outside of bands")["value"] == pytest.approx(10)


def test_shells_by_layer(found):
    assert value(found, SHELL, "fixed", "R² of shell 2 in layer 1")["value"] == 0
    assert value(found, SHELL, "fixed", "R² of shell 2 in layer 2")["value"] == pytest.approx(0.9)
    above = value(found, SHELL, "fixed", "R² of shell 2 in layer 2, above random weights")
    assert above["value"] == pytest.approx(0.7)


def test_few_models_give_no_interval():
    found = answers(rows_of().iloc[[0, 1, 2, 3]])
    assert found["low"].isna().all()
    assert all("without a clear sign" in line for line in sweep_readings(found))


def test_what_is_held_fixed_explains_it():
    rng = np.random.default_rng(0)
    given = rng.normal(size=2000)
    x, y = (given + 0.3 * rng.normal(size=2000) for _ in range(2))
    assert rank(x, y) > 0.8
    assert abs(partial_rank(x, y, given)) < 0.1
    assert np.isnan(rank(x, np.ones(2000)))


def test_tables_readings_and_figure(found):
    rows = rows_of()
    assert len(list(sweep_tables(rows, found))) == 2
    lines = sweep_readings(found)
    assert len(lines) == found["question"].nunique()
    assert any("error outside of bands over that here 10.00" in line for line in lines)
    assert len(sweep_figure(rows).axes) == 3


def test_a_grid_has_every_combination_once():
    jobs = grid(["fixed", "screened:3"], ["sevenn", "mace"], layers=(1, 2), base=Hyperparameters())
    assert len({job.name for job in jobs}) == len(jobs) == 8


class TestSweep:
    @pytest.fixture
    def trained(self, monkeypatch):
        """Names of the jobs that were run, instead of running them."""
        seen = []

        def row(job, folder, device, settings, one_thread):
            if job.hyper.layers == 3 and len(seen) < 5:
                raise KeyboardInterrupt
            seen.append(job.name)
            return {"name": job.name, "folder": str(folder), "one_thread": one_thread}

        monkeypatch.setattr(sys.modules[sweep.__module__], "_row", row)
        return seen

    def test_it_goes_on_where_it_was_stopped(self, trained, tmp_path):
        jobs = grid(["fixed", "band"], layers=(1, 2, 3))
        journal = Journal(tmp_path / "rows.jsonl", "a sweep")
        with pytest.raises(KeyboardInterrupt):
            sweep(jobs, tmp_path, journal=journal)
        assert trained == [job.name for job in jobs[:2]]
        trained.extend(["more"] * 3)
        again = Journal(tmp_path / "rows.jsonl", "a sweep")
        table = sweep(jobs, tmp_path, journal=again)
        assert list(table["name"]) == [job.name for job in jobs]
        assert set(table["folder"]) == {str(tmp_path)}
        assert trained[5:] == [job.name for job in jobs[2:]]

    def test_workers_of_an_executor_train_with_one_thread_in_a_folder_they_see(
        self, trained, tmp_path
    ):
        class Workers(Serial):
            in_process = False

        jobs = grid(["fixed"], layers=(1, 2))
        table = sweep(jobs, tmp_path / "models", executor=Workers())
        assert list(table["name"]) == [job.name for job in jobs]
        assert table["one_thread"].all()
        assert (tmp_path / "models").is_dir()
