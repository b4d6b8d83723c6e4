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
from mpprobe.probes.baselines import label_means
from mpprobe.probes.chosen import kinds
from mpprobe.probes.controls import shuffle_within_kinds
from mpprobe.probes.crossfit import accumulate, apply_maps, cross_predict, solve_folds
from mpprobe.probes.ridge import RidgeProbe, leave_one_out
from mpprobe.probes.rows import RowFiles, write_rows
from mpprobe.probes.scores import Scorer, kind_means
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
def kind(frames):
    return kinds(frames)


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
    own = [fit.probe.solve(fold.train, None, fold.inner, within=False).penalty
           for fold in split.folds]  # fmt: skip
    other = [fit.probe.solve(fold.train, within=False).penalty for fold in split.folds]
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


@pytest.mark.parametrize("name", ["structure", "compound", "element", "domain"])
def test_a_planted_signal_is_recovered_within_kinds(frames, planted, scorer, kind, name):
    X, Y = planted
    split = make_split(name, frames)
    fit = cross_predict(X, Y, split, kinds=kind)
    levels = label_means(Y, kind, split)
    np.testing.assert_array_equal(np.isfinite(fit.predictions[:, 0]), split.scored)
    for t in range(2):
        scores = scorer.score(Y[:, t], fit.predictions[:, t], fit.scored, levels=levels[:, t])
        assert scores.r2_within.value > 0.99
        if name in ("structure", "domain"):  # whose kinds are all trained on
            assert scores.r2.value > 0.99


@pytest.mark.parametrize("name", ["structure", "compound"])
def test_noise_scores_nothing_within_kinds(frames, planted, scorer, kind, name):
    X, _ = planted
    noise = np.random.default_rng(1).normal(size=(len(X), 5))
    split = make_split(name, frames)
    fit = cross_predict(X, noise, split, kinds=kind)
    levels = label_means(noise, kind, split)
    values = [
        scorer.score(noise[:, t], fit.predictions[:, t], levels=levels[:, t]).r2_within.value
        for t in range(5)
    ]
    assert max(values) < 0.02
    assert min(values) > -0.1


def test_noise_scores_nothing(frames, planted, scorer):
    X, _ = planted
    noise = np.random.default_rng(1).normal(size=(len(X), 5))
    fit = cross_predict(X, noise, make_split("structure", frames))
    values = [scorer.score(noise[:, t], fit.predictions[:, t]).r2.value for t in range(5)]
    assert max(values) < 0.02
    assert min(values) > -0.1  # and costs nothing: the penalty is chosen large
    assert (fit.penalties > 0.1).all()


@pytest.mark.parametrize("within", [False, True])
def test_a_target_shuffled_within_kinds_scores_only_what_the_kind_tells(
    frames, planted, kind, scorer, within
):
    X, Y = planted
    control = shuffle_within_kinds(Y[:, 0], kind, seed=3)
    both = np.column_stack([Y[:, 0], control])
    split = make_split("structure", frames)
    fit = cross_predict(X, both, split, kinds=kind if within else None)
    levels = label_means(both, kind, split)
    real, shuffled = (
        scorer.score(both[:, t], fit.predictions[:, t], levels=levels[:, t]) for t in range(2)
    )
    assert shuffled.r2.value > 0.8
    assert shuffled.r2_within.value < 0.02
    low, high = (real.r2_within - shuffled.r2_within).interval()
    assert 0.9 < low < high


@pytest.mark.parametrize("within", [False, True])
def test_chunks_and_storage_change_nothing(frames, planted, kind, tmp_path, within):
    X, Y = planted
    kind = kind if within else None
    path = tmp_path / "features.f32"
    X.tofile(path)
    stored = np.memmap(path, dtype=np.float32, mode="r", shape=X.shape)
    split = make_split("compound", frames)
    whole = cross_predict(X, Y, split, kinds=kind, penalties=GRID)
    pieces = cross_predict(stored, Y, split, kinds=kind, penalties=GRID, chunk=37)
    np.testing.assert_array_equal(pieces.penalties, whole.penalties)
    np.testing.assert_allclose(pieces.predictions, whole.predictions, atol=1e-9)


class Elsewhere:
    """An executor whose functions, items and results are pickled, as for another process."""

    in_process = False

    def map(self, function, items):
        for item in items:
            there, its_own = pickle.loads(pickle.dumps((function, item)))
            yield pickle.loads(pickle.dumps(there(its_own)))


@pytest.mark.parametrize("within", [False, True])
def test_who_does_the_work_changes_no_bit(frames, planted, kind, tmp_path, within):
    X, Y = planted
    kind = kind if within else None
    cuts = [0, 50, 51, 300, len(X)]
    paths = [tmp_path / f"{i}.npy" for i in range(4)]
    for path, start, stop in zip(paths, cuts, cuts[1:], strict=False):
        write_rows(path, X[start:stop])
    split = make_split("structure", frames)
    here = cross_predict(X, Y, split, kinds=kind, chunk=20)
    files, elsewhere = RowFiles.of(paths), Elsewhere()
    there = cross_predict(files, Y, split, kinds=kind, chunk=20, executor=elsewhere)
    np.testing.assert_array_equal(there.predictions, here.predictions)
    np.testing.assert_array_equal(there.penalties, here.penalties)
    assert there.probe.n_seen == here.probe.n_seen == len(X)


def test_memory_does_not_grow_with_the_number_of_atoms(tmp_path):
    """Sixteen times the rows, all in files: the largest allocation together stays the same."""
    peaks = []
    for n in (40_000, 640_000):
        rng, path = np.random.default_rng(0), tmp_path / f"{n}.npy"
        np.save(path, rng.normal(size=(n, 24)).astype(np.float32))
        Y, cells, kind = rng.normal(size=(n, 1)), np.arange(n) % 5, np.arange(n) // 10 % 50
        fold = Fold((0, 1, 2, 3), leave_one_out((0, 1, 2, 3)), ())
        split = Split("made", cells, np.where(cells == 4, 0, -1), (fold,), cells)
        tracemalloc.start()
        probe = accumulate(RowFiles.of([path]), Y, split, kinds=kind)
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


def test_covariates_are_the_first_features_in_every_fold(frames, planted, kind):
    X, Y = planted
    split = make_split("structure", frames)
    probe = accumulate(X, Y, split, kinds=kind, covariates=3, chunk=37)
    again = RidgeProbe(covariates=3).partial_fit(X, Y, split.cells, kind)
    maps = solve_folds(probe, split, within=True, penalties=GRID)
    for found, fold in zip(maps, split.folds, strict=True):
        expected = again.solve(fold.train, GRID, fold.inner)
        np.testing.assert_allclose(found.coef, expected.coef, rtol=1e-7)
    # What bears no penalty is not correlated with what is left; what bears one is.
    rows = split.training_rows(0)
    maps = solve_folds(probe, split, within=True, penalties=[1e-2])
    left = (Y - maps[0].predict(X, kind))[rows]
    products = np.abs(X[rows].T @ (left - kind_means(left, kind[rows]))) / rows.sum()
    assert products[:3].max() < 1e-7
    assert np.median(products[3:]) > 1e-4
    predictions = apply_maps(X, maps, split, kinds=kind)
    test = split.test == 2
    np.testing.assert_allclose(predictions[test], maps[2].predict(X[test], kind[test]))


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
