"""Out-of-fold predictions: planted signals, noise, controls, and row-by-row agreement."""

from __future__ import annotations

import pickle
import tracemalloc

import numpy as np
import pytest
from ase import Atoms
from scipy.spatial.transform import Rotation
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mpprobe.errors import ProbeError
from mpprobe.probes.controls import shuffle_within_species
from mpprobe.probes.crossfit import accumulate, apply_maps, cross_predict, random_direction_maps
from mpprobe.probes.ridge import leave_one_out
from mpprobe.probes.rows import RowFiles, write_rows
from mpprobe.probes.scores import Estimate, Scorer
from mpprobe.probes.splits import Fold, Split, make_split
from mpprobe.structures.frame import Frame

GRID = np.logspace(-6, 3, 10)


@pytest.fixture(scope="module")
def frames():
    formulas = ["Na4Cl4", "Mg3O3", "K5Br5", "Ca2F4", "Zn4S4", "Na6F6"]
    return [
        Frame(Atoms(f), f"made@{i}", f, "bulk" if i % 4 else "surface", f"g{i}")
        for i, f in enumerate(formulas * 12)
    ]


@pytest.fixture(scope="module")
def species(frames):
    return np.concatenate([f.numbers for f in frames])


@pytest.fixture(scope="module")
def scorer(frames):
    return Scorer.from_frames(frames)


@pytest.fixture(scope="module")
def planted(species):
    """Features that tell the species by large offsets, and a target linear in their ripple."""
    rng = np.random.default_rng(0)
    offsets = rng.normal(size=(100, 16))[species]
    X = (10 * offsets + rng.normal(size=(len(species), 16))).astype(np.float32)
    Y = X @ rng.normal(size=(16, 2)) + [0.0, 30.0] + 0.1 * rng.normal(size=(len(species), 2))
    return X, Y


@pytest.mark.parametrize("name", ["structure", "compound", "element", "domain"])
def test_agrees_with_scikit_learn_on_the_same_folds(frames, planted, name):
    X, Y = planted
    split = make_split(name, frames)
    fit = cross_predict(X, Y, split, penalties=GRID)
    for k in range(len(split.folds)):
        train, test = split.training_rows(k), split.test == k
        for t in range(2):
            model = make_pipeline(StandardScaler(), Ridge(fit.penalties[k, t] * train.sum()))
            expected = model.fit(X[train].astype(float), Y[train, t]).predict(X[test].astype(float))
            np.testing.assert_allclose(fit.predictions[test, t], expected, rtol=1e-8, atol=1e-8)


def test_penalties_are_chosen_by_the_inner_folds_of_the_split(frames, planted):
    """Where elements are held out, those are other than each cell in turn."""
    X, Y = planted
    split = make_split("element", frames)
    fit = cross_predict(X, Y + 3 * np.random.default_rng(0).normal(size=Y.shape), split)
    own = [fit.probe.solve(fold.train, None, fold.inner).penalty for fold in split.folds]
    other = [fit.probe.solve(fold.train).penalty for fold in split.folds]
    np.testing.assert_array_equal(fit.penalties, own)
    assert not np.array_equal(own, other)


@pytest.mark.parametrize("name", ["structure", "compound", "domain"])
def test_a_planted_signal_is_recovered(frames, planted, scorer, name):
    X, Y = planted
    split = make_split(name, frames)
    fit = cross_predict(X, Y, split)
    for t in range(2):
        scores = scorer.score(Y[:, t], fit.predictions[:, t], fit.scored)
        assert scores.r2_within.value > 0.99
        assert scores.r2.value > 0.99


def test_noise_scores_nothing(frames, planted, scorer):
    X, _ = planted
    noise = np.random.default_rng(1).normal(size=(len(X), 5))
    fit = cross_predict(X, noise, make_split("structure", frames))
    values = [scorer.score(noise[:, t], fit.predictions[:, t]).r2.value for t in range(5)]
    assert max(values) < 0.02
    assert min(values) > -0.1  # and costs nothing: the penalty is chosen large
    assert (fit.penalties > 0.1).all()


def test_a_target_shuffled_within_species_scores_only_what_the_species_tells(
    frames, planted, species, scorer
):
    X, Y = planted
    control = shuffle_within_species(Y[:, 0], species, seed=3)
    both = np.column_stack([Y[:, 0], control])
    fit = cross_predict(X, both, make_split("structure", frames))
    real, shuffled = (scorer.score(both[:, t], fit.predictions[:, t]) for t in range(2))
    assert shuffled.r2.value > 0.8
    assert shuffled.r2_within.value < 0.02
    low, high = (real.r2_within - shuffled.r2_within).interval()
    assert 0.9 < low < high


def test_chunks_and_storage_change_nothing(frames, planted, tmp_path):
    X, Y = planted
    path = tmp_path / "features.f32"
    X.tofile(path)
    stored = np.memmap(path, dtype=np.float32, mode="r", shape=X.shape)
    split = make_split("compound", frames)
    whole = cross_predict(X, Y, split, penalties=GRID)
    pieces = cross_predict(stored, Y, split, penalties=GRID, chunk=37)
    np.testing.assert_array_equal(pieces.penalties, whole.penalties)
    np.testing.assert_allclose(pieces.predictions, whole.predictions, atol=1e-9)


class Elsewhere:
    """An executor whose functions, items and results are pickled, as for another process."""

    in_process = False

    def map(self, function, items):
        for item in items:
            there, its_own = pickle.loads(pickle.dumps((function, item)))
            yield pickle.loads(pickle.dumps(there(its_own)))


def test_who_does_the_work_changes_no_bit(frames, planted, tmp_path):
    X, Y = planted
    cuts = [0, 50, 51, 300, len(X)]
    paths = [tmp_path / f"{i}.npy" for i in range(4)]
    for path, start, stop in zip(paths, cuts, cuts[1:], strict=False):
        write_rows(path, X[start:stop])
    split = make_split("structure", frames)
    here = cross_predict(X, Y, split, chunk=20)
    there = cross_predict(RowFiles.of(paths), Y, split, chunk=20, executor=Elsewhere())
    np.testing.assert_array_equal(there.predictions, here.predictions)
    np.testing.assert_array_equal(there.penalties, here.penalties)
    assert there.probe.n_seen == here.probe.n_seen == len(X)


def test_memory_does_not_grow_with_the_number_of_atoms(tmp_path):
    """Sixteen times the rows, all in files: the largest allocation together stays the same."""
    peaks = []
    for n in (40_000, 640_000):
        rng, path = np.random.default_rng(0), tmp_path / f"{n}.npy"
        np.save(path, rng.normal(size=(n, 24)).astype(np.float32))
        Y, cells = rng.normal(size=(n, 1)), np.arange(n) % 5
        fold = Fold((0, 1, 2, 3), leave_one_out((0, 1, 2, 3)), ())
        split = Split("made", cells, np.where(cells == 4, 0, -1), (fold,))
        tracemalloc.start()
        probe = accumulate(RowFiles.of([path]), Y, split)
        probe.solve(fold.train, inner=fold.inner)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]  # names of files and the like; the rows are 60 times that
    assert peaks[1] < 640_000 * 24 * 4 / 4  # which is a quarter of the features


def test_targets_sharing_a_pass_do_not_touch_each_other(frames, planted):
    X, Y = planted
    split = make_split("structure", frames)
    both = cross_predict(X, Y, split)
    alone = cross_predict(X, Y[:, 1:], split)
    np.testing.assert_array_equal(both.penalties[:, 1:], alone.penalties)
    np.testing.assert_allclose(both.predictions[:, 1:], alone.predictions, atol=1e-9)


def test_atoms_not_tested_have_no_prediction(frames, species):
    oxides = [Frame(Atoms(f"{m}O"), m, m, "bulk", m) for m in ("Mg", "Ca", "Sr", "Ba", "Zn", "Be")]
    split = make_split("element", oxides)
    rng = np.random.default_rng(0)
    fit = cross_predict(rng.normal(size=(12, 3)), rng.normal(size=(12, 1)), split)
    np.testing.assert_array_equal(np.isfinite(fit.predictions[:, 0]), fit.scored)
    assert not fit.scored.all()


@pytest.fixture(scope="module")
def vector_field(species):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(len(species), 8, 3)) * np.logspace(-1, 1, 8)[:, None]
    Y = np.einsum("ncm,ct->nmt", X, rng.normal(size=(8, 1)))
    return X, Y + 0.1 * rng.normal(size=Y.shape)


def test_rotating_every_structure_turns_the_vectors_and_changes_no_score(
    frames, vector_field, scorer
):
    X, Y = vector_field
    atoms = [len(f) for f in frames]
    turns = np.repeat(Rotation.random(len(frames), random_state=0).as_matrix(), atoms, axis=0)
    X_turned, Y_turned = np.einsum("nab,ncb->nca", turns, X), np.einsum("nab,nbt->nat", turns, Y)
    split = make_split("structure", frames)
    still, turned = cross_predict(X, Y, split), cross_predict(X_turned, Y_turned, split)
    expected = np.einsum("nab,nbt->nat", turns, still.predictions)
    np.testing.assert_allclose(turned.predictions, expected, atol=1e-8)
    scores = [
        scorer.score(y[..., 0], fit.predictions[..., 0])
        for y, fit in ((Y, still), (Y_turned, turned))
    ]
    assert scores[0].r2.value == pytest.approx(scores[1].r2.value, abs=1e-9)
    assert scores[0].r2.value > 0.99


@pytest.mark.parametrize("kind", ["scalar", "vector"])
def test_a_random_direction_is_a_least_squares_line_on_one_feature(
    frames, planted, vector_field, kind
):
    X, Y = planted if kind == "scalar" else vector_field
    X = X.astype(float)
    split = make_split("structure", frames)
    probe = accumulate(X, Y, split)
    maps = random_direction_maps(probe, split, draws=3, seed=5)
    drawn = apply_maps(X, maps, split).reshape(*Y.shape, 3)
    directions = np.random.default_rng(5).normal(size=(X.shape[1], 3))
    train, test = split.training_rows(0), split.test == 0
    spread = X[train].std(axis=0) if kind == "scalar" else np.sqrt((X[train] ** 2).mean((0, 2)))
    feature = np.tensordot(X, directions / spread[:, None], axes=(1, 0))  # (n, draws) or (n, 3, 3)
    for draw in range(3):
        x, y = feature[..., draw], Y[..., 0]
        degree = 1 if kind == "scalar" else 0
        columns = np.stack([x, *[np.ones_like(x)] * degree], axis=-1)
        flat = columns[train].reshape(-1, 1 + degree)
        line = np.linalg.lstsq(flat, y[train].ravel(), rcond=None)[0]
        np.testing.assert_allclose(drawn[test][..., 0, draw], columns[test] @ line, atol=1e-8)


def test_features_that_are_the_same_everywhere_have_no_line(frames, planted):
    X, Y = planted
    split = make_split("structure", frames)
    maps = random_direction_maps(accumulate(np.ones_like(X), Y, split), split, draws=3)
    drawn = apply_maps(np.ones_like(X), maps, split).reshape(*Y.shape, 3)
    mean = Y[split.training_rows(0)].mean(axis=0)
    test = split.test == 0
    np.testing.assert_allclose(drawn[test], np.broadcast_to(mean[:, None], drawn[test].shape))


def test_random_directions_score_far_less_than_the_probe(frames, vector_field, scorer):
    X, Y = vector_field
    split = make_split("structure", frames)
    maps = random_direction_maps(accumulate(X, Y, split), split)
    drawn = apply_maps(X, maps, split)
    draws = [scorer.score(Y[..., 0], drawn[..., k]).r2 for k in range(drawn.shape[-1])]
    mean = Estimate.mean(draws)
    assert len(draws) == 20
    assert mean.value == pytest.approx(np.mean([d.value for d in draws]))
    assert mean.value < 0.5


def test_mistakes_are_named(frames, planted):
    X, Y = planted
    split = make_split("structure", frames)
    with pytest.raises(ProbeError, match=r"rows of features .* same structures"):
        cross_predict(X[:-1], Y, split)
    spoilt = X.copy()
    spoilt[123, 4] = np.inf
    with pytest.raises(ProbeError, match="feature of row 123"):
        cross_predict(spoilt, Y, split, chunk=50)
    with pytest.raises(ProbeError, match="feature of row 123"):
        cross_predict(spoilt, Y, split, chunk=5)  # in a later span
    missing = Y.copy()
    missing[77] = np.nan
    with pytest.raises(ProbeError, match="target of row 77"):
        cross_predict(X, missing, split)
