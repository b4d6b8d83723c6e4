"""Training with the families' own trainers: it learns, and goes on where it stopped."""

from __future__ import annotations

import logging
import os
import random
from dataclasses import replace

import numpy as np
import pytest
import torch

import mpprobe
from mpprobe.errors import ToyError
from mpprobe.explain import force_errors
from mpprobe.toys import TRAINING, Hyperparameters, make_structures, train, world

SMALL = Hyperparameters(cutoff=4.0, layers=2, channels=8)
EPOCHS = {"sevenn": 14, "mace": 5}


def _say(row):
    print(f"epoch {row['epoch']}")


@pytest.fixture(scope="module")
def sets():
    return tuple(make_structures(world("fixed"), TRAINING, n, seed=n) for n in (10, 4))


@pytest.fixture(scope="module", params=["sevenn", "mace"])
def trained(request, sets, tmp_path_factory):
    pytest.importorskip(request.param)
    hyper = replace(SMALL, family=request.param, epochs=EPOCHS[request.param])
    return hyper, train(*sets, tmp_path_factory.mktemp("whole"), hyper, device="cpu")


def test_it_learns(trained):
    hyper, found = trained
    first, last = found.history[0], found.history[-1]
    assert last["train_loss"] < first["train_loss"]
    assert found.best["relative"] < 0.9 * first["relative"]
    assert [row["epoch"] for row in found.history] == list(range(1, hyper.epochs + 1))
    assert found.reason == "epochs"


def test_the_model_loads_and_has_the_error_it_was_kept_for(trained, sets):
    hyper, found = trained
    potential = mpprobe.load(str(found.model), trust_checkpoint=hyper.family == "mace")
    assert len(potential.layers) == hyper.layers + 1
    assert potential.cutoff == hyper.cutoff
    errors = force_errors(potential, sets[1]).structures
    square = (errors["force_rmse"] ** 2 * errors["n_atoms"]).sum() / errors["n_atoms"].sum()
    # sevenn's own record is a mean over batches.
    assert np.sqrt(square) == pytest.approx(found.best["force_rmse"], rel=0.15)


def test_its_layers_can_be_probed(trained, sets):
    hyper, found = trained
    potential = mpprobe.load(str(found.model), trust_checkpoint=hyper.family == "mace")
    settings = mpprobe.Settings(n_resamples=100, n_folds=3, n_assignments=1, random_seeds=1)
    study = mpprobe.probe(potential, sets[0], targets="potential@toy_charge", settings=settings)
    assert set(study.scores["layer"].dropna()) >= {0, 1, 2}


def test_stopped_and_started_again_it_is_the_same(trained, sets, tmp_path, capsys):
    hyper, whole = trained
    seen = []
    stopped = train(*sets, tmp_path, hyper, device="cpu", max_seconds=0, on_epoch=_say)
    # What is said after an epoch is seen; what the libraries print isn't.
    assert capsys.readouterr() == ("epoch 1\n", "")
    assert (stopped.reason, len(stopped.history)) == ("time", 1)
    found = train(*sets, tmp_path, hyper, device="cpu", on_epoch=seen.append)
    assert [row["epoch"] for row in seen] == list(range(2, hyper.epochs + 1))
    for name in ("train_loss", "force_rmse"):
        np.testing.assert_allclose(
            [row[name] for row in found.history], [row[name] for row in whole.history], rtol=1e-3
        )
    done = train(*sets, tmp_path, hyper, device="cpu", on_epoch=seen.append)
    assert done.history == found.history
    assert len(seen) == hyper.epochs - 1


def test_another_run_is_not_mixed_in(trained, sets, tmp_path):
    hyper, _ = trained
    train(*sets, tmp_path, hyper, device="cpu", max_seconds=0)
    with pytest.raises(ToyError, match="another training run"):
        train(*sets, tmp_path, replace(hyper, channels=4), device="cpu")
    with pytest.raises(ToyError, match="another training run"):
        train(sets[1], sets[0], tmp_path, hyper, device="cpu")


def test_nothing_in_the_process_stays_changed(sets, tmp_path, capfd):
    np.random.seed(3)
    random.seed(3)
    torch.manual_seed(3)
    before = (torch.get_default_dtype(), logging.getLogger().handlers[:], dict(os.environ))
    states = np.random.get_state()[1].copy(), random.getstate(), torch.get_rng_state()
    train(*sets, tmp_path, replace(SMALL, family="mace"), device="cpu", max_seconds=0)
    after = (torch.get_default_dtype(), logging.getLogger().handlers[:], dict(os.environ))
    assert after == before
    np.testing.assert_array_equal(np.random.get_state()[1], states[0])
    assert random.getstate() == states[1]
    assert torch.equal(torch.get_rng_state(), states[2])
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"family": "nequip"}, "choose sevenn or mace"),
        ({"layers": 0}, "layers: give more than zero"),
        ({"cutoff": -1.0}, "cutoff: give more than zero, not -1"),
        ({"l_max": -1}, "l_max: give zero or more"),
    ],
)
def test_settings_that_can_not_be(changes, said):
    with pytest.raises(ToyError, match=said):
        replace(SMALL, **changes)


def test_no_structures(tmp_path):
    with pytest.raises(ToyError, match="nothing to train on"):
        train([], [], tmp_path)
