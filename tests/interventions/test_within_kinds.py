"""Erasing and steering within kinds: what probes fitted within them read, and what stays."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

import mpprobe
from interventions.toy import Curved, salts
from mpprobe.activations.evaluate import Evaluator
from mpprobe.errors import InterventionError
from mpprobe.interventions import (
    Steering,
    Whitening,
    block_columns,
    block_rows,
    erase,
    fit_direction,
    fit_erasure,
    make_erasing,
    random_directions,
    random_erasures,
)
from mpprobe.interventions.concepts import concept_of, kinds_of_part
from mpprobe.probes import Scorer, make_split
from mpprobe.probes.baselines import label_means
from mpprobe.probes.chosen import kinds
from mpprobe.probes.crossfit import cross_predict
from mpprobe.probes.ridge import PENALTIES, RidgeProbe
from mpprobe.probes.scores import kind_means
from mpprobe.structures import Frame

A, B = np.array([1.0, -0.5, 0.3, 0.2, -0.8, 0.4]), np.array([0.7, -0.4, 0.2, 0.1])
POTENTIAL = mpprobe.get_target("potential")


@pytest.fixture(scope="module")
def frames():
    return salts(16)


@pytest.fixture(scope="module")
def kind(frames):
    found = kinds(frames)
    assert len(np.unique(found)) == 4
    return found


@pytest.fixture(scope="module")
def model():
    """Its energy isn't linear in the features: forces feel the means that they are moved from."""
    return Curved(A, B)


@pytest.fixture(scope="module")
def columns(model):
    return block_columns(model.layer(1), 0)


@pytest.fixture(scope="module")
def x(model, frames, columns):
    return block_rows(Evaluator(model, frames).features([1])[1], columns)


@pytest.fixture(scope="module")
def y(frames, model):
    return np.concatenate(POTENTIAL.values(frames, model.cutoff))


@pytest.fixture(scope="module")
def concept(frames, model):
    return concept_of(POTENTIAL, frames, model.cutoff)


@pytest.fixture(scope="module")
def erasure(columns, x, concept, kind):
    return fit_erasure(1, columns, x, concept, kind)


@pytest.fixture(scope="module")
def direction(frames, columns, x, concept, kind):
    group = np.repeat(np.arange(len(frames)), [len(f) for f in frames])
    return fit_direction(1, columns, x, concept, group, kind)


def share_read(x, y, kind):
    """Of the variance within kinds, by the ridge map within kinds with hardly a penalty."""
    probe = RidgeProbe().partial_fit(x, y[:, None], kind=kind)
    left = y - probe.solve(penalty=PENALTIES[0]).predict(x, kind)[:, 0]
    return 1 - (left**2).sum() / ((y - kind_means(y, kind)) ** 2).sum()


def held_out(x, y, frames):
    """R² within kinds of a probe within kinds, refitted on structures held out."""
    scorer, split = Scorer.from_frames(frames, n_resamples=2), make_split("structure", frames)
    fit = cross_predict(x, y[:, None], split, kinds=scorer.kind)
    levels = label_means(y[:, None], scorer.kind, split)[:, 0]
    return scorer.score(y, fit.predictions[:, 0], levels=levels).r2_within.value


def of_kinds(x, kind):
    return np.array([x[kind == k].mean(axis=0) for k in np.unique(kind)])


class TestErasure:
    def test_no_map_within_kinds_reads_it_and_one_did_before(self, x, y, kind, frames, erasure):
        after = erasure.apply(x)[:, :, 0]
        assert share_read(x[:, :, 0], y, kind) > 0.3
        assert abs(share_read(after, y, kind)) < 1e-10
        assert held_out(x[:, :, 0], y, frames) > 0.3
        assert held_out(after, y, frames) < 0.01

    def test_nor_what_each_species_has_of_it(self, x, y, kind, frames, model, columns):
        concept = concept_of(POTENTIAL, frames, model.cutoff, "species")
        erasure = fit_erasure(1, columns, x, concept, kind)
        after = erasure.apply(x)[:, :, 0]
        numbers = np.concatenate([f.numbers for f in frames])
        for species in np.unique(numbers):
            own = np.where(numbers == species, y, 0.0)
            assert share_read(x[:, :, 0], own, kind) > 0.1
            assert abs(share_read(after, own, kind)) < 1e-10

    def test_what_it_was_of_a_kind_has_no_say(self, columns, x, y, concept, kind, erasure):
        """Frisch, Waugh and Lovell: a constant for each kind, in features or target, drops out."""
        rng = np.random.default_rng(0)
        moved = x + 10 * rng.normal(size=(4, len(columns), 1))[kind]
        other = fit_erasure(1, columns, moved, concept, kind)
        np.testing.assert_allclose(other.apply(moved) - moved, erasure.apply(x) - x, atol=1e-8)
        whole = fit_erasure(1, columns, x, (y + 5 * rng.normal(size=4)[kind])[:, None], kind)
        for e in (other, whole):
            np.testing.assert_allclose(e.left @ e.right, erasure.left @ erasure.right, atol=1e-8)

    def test_kinds_keep_their_means_unless_the_whole_is_erased(self, columns, x, y, kind, erasure):
        before = of_kinds(x, kind)
        np.testing.assert_allclose(of_kinds(erasure.apply(x), kind), before, rtol=0, atol=1e-10)
        whole = fit_erasure(1, columns, x, y[:, None])
        np.testing.assert_allclose(whole.apply(x).mean(axis=0), x.mean(axis=0), rtol=0, atol=1e-10)
        assert np.abs(of_kinds(whole.apply(x), kind) - before).max() > 0.1

    def test_nothing_smaller_would_do(self, columns, x, concept, kind, erasure):
        """Of the maps with a constant for each kind; that of all atoms' mean is one of them."""
        own, pooled = (
            ((e.apply(x) - x) ** 2).sum() for e in (erasure, fit_erasure(1, columns, x, concept))
        )
        assert own < 0.99 * pooled
        centred = (x - kind_means(x, kind))[:, :, 0]
        along = centred.T @ concept
        along /= np.linalg.norm(along)
        assert own < ((centred @ along) ** 2).sum()

    def test_forces_do_not_depend_on_the_batches(self, model, frames, erasure):
        whole, *parts = (
            Evaluator(model, frames, n).run({1: erasure}, layers=[1]) for n in (1000, 8, 20, 56)
        )
        for part in parts:
            for name in ("energies", "site_energies", "forces"):
                np.testing.assert_allclose(getattr(part, name), getattr(whole, name), atol=1e-10)
            np.testing.assert_allclose(part.features[1], whole.features[1], atol=1e-12)
        # Other atoms' means would be felt.
        rolled = type(erasure)(
            1, erasure.columns, np.roll(erasure.mean, 16, axis=0), erasure.left, erasure.right
        )
        assert np.abs(Evaluator(model, frames).run({1: rolled}).forces - whole.forces).max() > 1e-3

    def test_some_atoms_are_given_their_own_means(self, x, erasure):
        features = torch.as_tensor(x[:, :, 0])
        whole = erasure(features)
        np.testing.assert_allclose(whole.numpy(), erasure.apply(x)[:, :, 0], atol=1e-12)
        for atoms in (slice(0, 5), slice(13, 40), slice(100, 128)):
            own = erasure.for_atoms(atoms)
            np.testing.assert_allclose(own(features[atoms]), whole[atoms], atol=1e-12)
            single = own(features[atoms].float())
            assert single.dtype == torch.float32
            np.testing.assert_allclose(single, whole[atoms], atol=1e-4)

    def test_random_subspaces_take_as_much_within_kinds(self, x, kind, erasure):
        whitening = Whitening.of(x, kind)
        rows = (x - kind_means(x, kind))[:, :, 0]
        np.testing.assert_allclose(whitening.covariance, rows.T @ rows / len(rows), atol=1e-12)

        def share(e):
            after = e.apply(x)
            np.testing.assert_allclose(of_kinds(after, kind), of_kinds(x, kind), atol=1e-10)
            return 1 - ((after - kind_means(after, kind)) ** 2).sum() / (rows**2).sum()

        assert 0.01 < share(erasure) < 0.99
        drawn = random_erasures(erasure, whitening, 20, seed=0)
        for other in drawn:
            assert other.rank == erasure.rank
            assert share(other) == pytest.approx(share(erasure), rel=1e-4)
        assert len({tuple(e.right[0].round(6)) for e in drawn}) == 20

    @pytest.mark.parametrize("layer", [1, 3])
    def test_a_real_model(self, sevenn_0, layer):
        """In single precision, as it comes."""
        frames = [f for f in mpprobe.read("ionic:strained") if set(f.numbers) <= {11, 12, 8, 17}]
        frames = frames[:8]
        kind = kinds(frames)
        columns = block_columns(sevenn_0.layer(layer), 0)
        x = block_rows(Evaluator(sevenn_0, frames).features([layer])[layer], columns)
        concept = concept_of(POTENTIAL, frames, sevenn_0.cutoff)
        erasure = fit_erasure(layer, columns, x, concept, kind)
        assert share_read(x[:, :, 0], concept[:, 0], kind) > 0.9
        assert abs(share_read(erasure.apply(x)[:, :, 0], concept[:, 0], kind)) < 1e-6
        runs = [Evaluator(sevenn_0, frames, n).run({layer: erasure}, [layer]) for n in (1000, 20)]
        np.testing.assert_allclose(runs[0].forces, runs[1].forces, atol=1e-4)
        edited = runs[0].features[layer][:, columns[:, 0]]
        np.testing.assert_allclose(of_kinds(edited, kind), of_kinds(x[:, :, 0], kind), atol=1e-4)


def test_forces_are_minus_the_gradient_with_the_means_held(model, frames, erasure):
    atoms, h = frames[2].atoms, 1e-4
    edits = {1: erasure.for_atoms(slice(16, 24))}
    own = model.run(model.batch(frames[2]), edits=edits, forces=True).forces[2, 1]
    energies = []
    for sign in (1, -1):
        moved = atoms.copy()
        moved.positions[2, 1] += sign * h
        energies.append(float(model.run(model.batch(moved), edits=edits).energies[0]))
    assert float(own) == pytest.approx(-(energies[0] - energies[1]) / (2 * h), rel=1e-5)


@pytest.mark.parametrize(
    ("target", "part", "within"),
    [
        ("potential", "within", True),
        ("potential", "species", True),
        ("potential", "whole", False),
        ("field", "within", False),  # vectors have no mean
    ],
)
def test_parts_that_are_read_within_kinds(model, frames, kind, target, part, within):
    found = kinds_of_part(frames, mpprobe.get_target(target), part)
    plan = make_erasing(model, frames, layers=1, target=target, part=part)
    for own in (found, plan.kind):
        if within:
            np.testing.assert_array_equal(own, kind)
        else:
            assert own is None


def test_what_only_the_kinds_tell_can_not_be_erased_within_them(model, frames):
    frames = [Frame.from_atoms(f.atoms.copy(), f.source) for f in frames]
    for frame in frames:
        frame.atoms.arrays["kind"] = frame.numbers + 0.1 * (35 in frame.numbers)
    options = {"layers": 1, "target": "array:kind", "random_weights": False}
    with pytest.raises(InterventionError, match="the target doesn't vary"):
        erase(model, frames, **options)
    found = erase(model, frames, part="whole", **options)
    assert found.erasures["r2_before"].iloc[0] > 0.5


def test_copies_are_kept_on_one_side(model, frames):
    copies = [Frame.from_atoms(f.atoms.copy(), f"{f.source}'") for f in frames]
    split = make_erasing(model, [*frames, *copies], layers=1).split
    own, other = split.test.reshape(2, -1)
    np.testing.assert_array_equal(own, other)
    assert len(np.unique(own)) == 5


class TestDirection:
    def test_its_weights_are_those_of_a_probe_within_kinds(
        self, frames, columns, x, y, concept, kind, direction
    ):
        cell = np.repeat(np.arange(len(frames)), [len(f) for f in frames]) % 5
        probe = RidgeProbe().partial_fit(x[:, :, 0], y[:, None], cell, kind)
        solved = probe.solve()
        np.testing.assert_allclose(direction.probe, solved.coef[:, 0], rtol=1e-6)
        # scikit-learn's, of what is left by the kinds.
        rows, off = (v - kind_means(v, kind) for v in (x[:, :, 0], y))
        size = rows.std(axis=0)
        ridge = Ridge(alpha=solved.penalty[0] * len(y), fit_intercept=False).fit(rows / size, off)
        np.testing.assert_allclose(direction.probe, ridge.coef_ / size, rtol=1e-6)
        plain = fit_direction(1, columns, x, y[:, None], cell)
        assert not np.allclose(plain.probe, direction.probe, rtol=0.05)

    def test_its_step_is_the_change_of_features_with_what_is_read_within_kinds(
        self, x, kind, direction
    ):
        rows = (x - kind_means(x, kind))[:, :, 0]
        read = rows @ direction.probe
        np.testing.assert_allclose(direction.step, rows.T @ read / (read @ read))
        np.testing.assert_allclose(direction.read(x)[:, 0], read, atol=1e-10)
        np.testing.assert_allclose(of_kinds(direction.read(x), kind), 0, atol=1e-10)

    def test_a_gain_of_minus_one_leaves_a_probe_along_it_nothing(
        self, model, frames, columns, x, y, kind, direction
    ):
        edits = {1: Steering(direction, gain=-1.0)}
        after = block_rows(Evaluator(model, frames).features([1], edits)[1], columns)
        along_before, along = (v[:, :, 0] @ direction.probe[:, None] for v in (x, after))
        np.testing.assert_allclose(along, kind_means(along_before, kind), atol=1e-10)
        assert share_read(along_before, y, kind) > 0.3
        assert held_out(along_before, y, frames) > 0.3
        assert abs(share_read(along, y, kind)) < 1e-10
        assert abs(held_out(along, y, frames)) < 1e-10

    @pytest.mark.parametrize("gain", [-1.0, -0.5, 2.0])
    def test_a_gain_keeps_the_means_of_kinds(
        self, model, frames, columns, x, kind, direction, gain
    ):
        edits = {1: Steering(direction, gain=gain)}
        after = block_rows(Evaluator(model, frames).features([1], edits)[1], columns)
        np.testing.assert_allclose(of_kinds(after, kind), of_kinds(x, kind), rtol=0, atol=1e-10)
        np.testing.assert_allclose(direction.read(after), (1 + gain) * direction.read(x), atol=1e-9)
        assert np.abs(after - x).max() > 0.01

    def test_batches_take_their_own_means_and_shifts(self, model, frames, x, direction):
        shift = np.random.default_rng(0).normal(size=(len(x), 1))
        for edit in (Steering(direction, gain=1.0), Steering(direction, shift, gain=-0.5)):
            whole, *parts = (
                Evaluator(model, frames, n).run({1: edit}).forces for n in (1000, 8, 20, 56)
            )
            for part in parts:
                np.testing.assert_allclose(part, whole, atol=1e-9)

    def test_random_ones_are_as_long_and_as_much_within_kinds(self, x, kind, direction):
        whitening = Whitening.of(x, kind)

        def about(d):
            read = d.read(x)[:, 0]
            moved = np.outer(read, d.step)  # what a gain of −1 takes away
            np.testing.assert_allclose(of_kinds(read, kind), 0, atol=1e-10)
            return (moved**2).sum(), np.linalg.norm(whitening.forward @ d.step)

        for other in random_directions(direction, whitening, 20, seed=0):
            assert other.probe @ other.step == pytest.approx(1)
            np.testing.assert_allclose(about(other), about(direction), rtol=1e-3)
