"""Erasures of what a linear map reads, on a model whose energy is known, and on real ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

import mpprobe
from interventions.toy import SCALARS, VECTORS, Toy, rattled
from mpprobe.activations.evaluate import Evaluator
from mpprobe.errors import InterventionError
from mpprobe.interventions import (
    Erasure,
    Whitening,
    block_columns,
    block_rows,
    fit_erasure,
    random_erasures,
)
from mpprobe.interventions.concepts import concept_of, species_columns
from mpprobe.interventions.erasing import linear_r2
from mpprobe.targets import get_target

A = np.array([1.0, -0.5, 0.3, 0.2, -0.8, 0.4])
B = np.array([0.7, -0.4, 0.2, 0.1])


@pytest.fixture(scope="module")
def frames():
    return rattled(12)


@pytest.fixture(scope="module")
def toy():
    return Toy(A, B)


@pytest.fixture(scope="module")
def features(toy, frames):
    return Evaluator(toy, frames).features([1])[1]


@pytest.fixture(scope="module")
def scalars(toy, features):
    columns = block_columns(toy.layer(1), 0)
    return columns, block_rows(features, columns)


@pytest.fixture(scope="module")
def vectors(toy, features):
    columns = block_columns(toy.layer(1), 1)
    return columns, block_rows(features, columns)


def unknown_to(x):
    """A target (n, 1) that no scalar feature is correlated with."""
    noise = np.random.default_rng(0).normal(size=(len(x), 1))
    full = np.column_stack([np.ones(len(x)), x[:, :, 0]])
    return noise - full @ np.linalg.lstsq(full, noise, rcond=None)[0]


def forces(potential, frames, edits=None):
    return Evaluator(potential, frames).run(edits).forces


class TestOnAKnownEnergy:
    def test_forces_without_a_direction_are_those_of_the_energy_without_it(
        self, toy, frames, scalars
    ):
        columns, x = scalars
        erasure = fit_erasure(1, columns, x, x[:, :, 0] @ A[:, None])
        assert erasure.rank == 1
        without = Toy(A - erasure.right.T @ (erasure.left.T @ A), B)
        np.testing.assert_allclose(
            forces(toy, frames, {1: erasure}), forces(without, frames), atol=1e-10
        )
        # Nothing of a·s is left: all that the energy has is its part of vectors.
        np.testing.assert_allclose(erasure.right.T @ (erasure.left.T @ A), A, atol=1e-8)
        assert np.abs(forces(toy, frames) - forces(without, frames)).max() > 0.05

    def test_what_the_energy_does_not_depend_on_can_go(self, toy, frames, scalars):
        columns, x = scalars
        covariance = np.cov(x[:, :, 0].T)
        other = np.random.default_rng(0).normal(size=(SCALARS, 3))
        other -= np.outer(A, A @ covariance @ other) / (A @ covariance @ A)
        erasure = fit_erasure(1, columns, x, x[:, :, 0] @ other)
        assert erasure.rank == 3
        np.testing.assert_allclose(
            forces(toy, frames, {1: erasure}), forces(toy, frames), atol=1e-8
        )

    def test_the_same_for_vectors(self, toy, frames, vectors):
        columns, x = vectors
        along = np.einsum("c,ncm->nm", B, x)[..., None]
        erasure = fit_erasure(1, columns, x, along)
        np.testing.assert_allclose(
            forces(toy, frames, {1: erasure}), forces(Toy(A, 0 * B), frames), atol=1e-8
        )
        moment = np.einsum("ncm,ndm->cd", x, x)
        other = np.random.default_rng(0).normal(size=(VECTORS, 2))
        other -= np.outer(B, B @ moment @ other) / (B @ moment @ B)
        erasure = fit_erasure(1, columns, x, np.einsum("ck,ncm->nmk", other, x))
        np.testing.assert_allclose(
            forces(toy, frames, {1: erasure}), forces(toy, frames), atol=1e-8
        )


class TestWhatIsLeft:
    @pytest.mark.parametrize("unit", [1e-6, 1e6])
    def test_the_unit_of_the_target_does_not_matter(self, scalars, unit):
        columns, x = scalars
        concept = x[:, :2, 0] * [1.0, 1e-3]
        own, other = (fit_erasure(1, columns, x, c) for c in (concept, concept * [1, unit]))
        assert own.rank == other.rank == 2
        np.testing.assert_allclose(other.left @ other.right, own.left @ own.right, atol=1e-8)
        scaled = fit_erasure(1, columns, x, unit * concept)
        np.testing.assert_allclose(scaled.left @ scaled.right, own.left @ own.right, atol=1e-8)

    def test_what_is_hardly_correlated_is_erased_too(self, scalars):
        columns, x = scalars
        noise = unknown_to(x)
        noise /= noise.std()
        some = (x[:, :1, 0] - x[:, :1, 0].mean()) / x[:, 0].std()
        assert fit_erasure(1, columns, x, noise + 5e-3 * some).rank == 1
        with pytest.raises(InterventionError, match="nothing to erase"):
            fit_erasure(1, columns, x, noise + 5e-4 * some)

    def test_nor_does_it_for_what_is_read(self, frames, scalars):
        _, x = scalars
        concept = concept_of(get_target("potential"), frames, 5.0)
        read = linear_r2(x, concept)
        assert linear_r2(x, 1e-6 * concept) == pytest.approx(read)
        assert linear_r2(1e3 * x, concept) == pytest.approx(read)

    def test_rows_of_scalars_keep_their_shape(self, scalars):
        columns, x = scalars
        erasure = fit_erasure(1, columns, x, x[:, :1, 0])
        np.testing.assert_array_equal(erasure.apply(x[:, :, 0]), erasure.apply(x)[:, :, 0])

    @pytest.mark.parametrize("order", [0, 1])
    def test_a_linear_map_read_it_before_and_reads_nothing_after(
        self, frames, scalars, vectors, order
    ):
        columns, x = (scalars, vectors)[order]
        target = get_target(("potential", "field")[order])
        concept = concept_of(target, frames, 5.0)
        erasure = fit_erasure(1, columns, x, concept)
        assert linear_r2(x, concept) > 0.3
        assert linear_r2(erasure.apply(x), concept) < 1e-12
        # The features keep their mean.
        if order == 0:
            np.testing.assert_allclose(erasure.apply(x).mean(axis=0), x.mean(axis=0))
            np.testing.assert_allclose(concept.mean(), 0, atol=1e-12)

    def test_no_smaller_change_would_do(self, frames, scalars):
        """LEACE changes the features least, here against an orthogonal projection."""
        columns, x = scalars
        concept = concept_of(get_target("potential"), frames, 5.0)
        erasure = fit_erasure(1, columns, x, concept)
        centred = x[:, :, 0] - x[:, :, 0].mean(axis=0)
        direction = centred.T @ concept
        direction /= np.linalg.norm(direction)
        projected = centred - (centred @ direction) @ direction.T
        change = ((erasure.apply(x) - x) ** 2).sum()
        assert change < ((projected - centred) ** 2).sum()

    def test_a_direction_for_each_species(self, frames, scalars):
        columns, x = scalars
        target = get_target("potential")
        erasure = fit_erasure(1, columns, x, concept_of(target, frames, 5.0, "species"))
        assert erasure.rank == 2
        for part in ("within", "species"):
            assert linear_r2(erasure.apply(x), concept_of(target, frames, 5.0, part)) < 1e-12
        means = fit_erasure(1, columns, x, species_columns(frames))
        assert means.rank == 1

    def test_rows_of_single_precision_are_worked_on_in_double(self, features, scalars):
        columns = scalars[0]
        single = features.astype(np.float32)
        rows = block_rows(single, columns)
        assert rows.dtype == np.float64
        np.testing.assert_array_equal(rows[:, :, 0], single[:, :SCALARS])

    def test_the_edit_is_the_same_on_tensors(self, toy, features, scalars):
        columns, x = scalars
        erasure = fit_erasure(1, columns, x, x[:, :1, 0])
        edited = erasure(torch.as_tensor(features)).numpy()
        np.testing.assert_allclose(edited[:, :SCALARS], erasure.apply(x)[:, :, 0], atol=1e-12)
        np.testing.assert_array_equal(edited[:, SCALARS:], features[:, SCALARS:])
        single = erasure(torch.as_tensor(features, dtype=torch.float32))
        assert single.dtype == torch.float32
        np.testing.assert_allclose(single.numpy(), edited, atol=1e-4)


def test_whitening_is_of_the_covariance_of_the_channels(scalars, vectors):
    for columns, x in (scalars, vectors):
        whitening = Whitening.of(x)
        rows = np.moveaxis(x - whitening.mean[:, None], 1, 2).reshape(-1, len(columns))
        np.testing.assert_allclose(whitening.covariance, rows.T @ rows / len(rows), atol=1e-9)
        np.testing.assert_allclose(whitening.mean, x.mean(axis=(0, 2)) * (x.shape[2] == 1))
        whole = whitening.forward @ whitening.covariance @ whitening.forward
        np.testing.assert_allclose(whole @ whole, whole, atol=1e-6)  # one, on what varies
        np.testing.assert_allclose(whitening.variances.sum(), np.trace(whitening.covariance),
                                   rtol=1e-6)  # fmt: skip


def test_whitening_has_no_unit(scalars):
    _, x = scalars
    own = Whitening.of(x)
    for unit in (1e-8, 1e8):
        np.testing.assert_allclose(Whitening.of(unit * x).variances, unit**2 * own.variances)


class TestRandomSubspaces:
    @pytest.mark.parametrize("order", [0, 1])
    def test_they_take_away_as_much(self, scalars, vectors, frames, order):
        columns, x = (scalars, vectors)[order]
        concept = concept_of(get_target(("potential", "field")[order]), frames, 5.0)
        erasure, whitening = fit_erasure(1, columns, x, concept), Whitening.of(x)
        drawn = random_erasures(erasure, whitening, 20, seed=0)
        before = ((x - whitening.mean[:, None]) ** 2).sum()
        for other in drawn:
            assert other.rank == erasure.rank
            assert whitening.removed(other) == pytest.approx(whitening.removed(erasure), rel=1e-4)
            # Counted on the rows themselves.
            left = ((other.apply(x) - whitening.mean[:, None]) ** 2).sum()
            assert 1 - left / before == pytest.approx(whitening.removed(other), rel=1e-6)
        assert len({tuple(o.right[0].round(6)) for o in drawn}) == 20

    def test_they_are_the_same_for_the_same_seed(self, scalars, frames):
        columns, x = scalars
        erasure = fit_erasure(1, columns, x, x[:, :1, 0])
        first, again, other = (
            random_erasures(erasure, Whitening.of(x), 1, seed=s)[0].left for s in (1, 1, 2)
        )
        np.testing.assert_array_equal(first, again)
        assert not np.allclose(first, other)

    def test_rank_and_variance_that_nothing_random_has(self, scalars):
        columns, x = scalars
        everything = Erasure(1, columns, x.mean(axis=0)[:, 0], np.eye(SCALARS), np.eye(SCALARS))
        little = Erasure(1, columns, x.mean(axis=0)[:, 0], np.eye(SCALARS)[:, :1] * 0,
                         np.eye(SCALARS)[:1])  # fmt: skip
        assert len(random_erasures(everything, Whitening.of(x), 1, seed=0)) == 1
        with pytest.raises(InterventionError, match="no random subspace of rank 1"):
            random_erasures(little, Whitening.of(x), 1, seed=0)


class TestRefusals:
    def test_a_target_that_does_not_vary(self, scalars):
        columns, x = scalars
        for value in (0.0, 1.0):
            with pytest.raises(InterventionError, match="doesn't vary"):
                fit_erasure(1, columns, x, np.full((len(x), 1), value))

    def test_a_target_no_feature_knows(self, scalars):
        columns, x = scalars
        with pytest.raises(InterventionError, match="nothing to erase"):
            fit_erasure(1, columns, x, unknown_to(x))

    def test_a_layer_without_vectors(self, toy):
        with pytest.raises(InterventionError, match="layer 0 has no l = 1 features"):
            block_columns(toy.layer(0), 1)

    def test_an_unknown_part(self, frames):
        with pytest.raises(InterventionError, match="choose one of within, species, whole"):
            concept_of(get_target("potential"), frames, 5.0, "half")


@pytest.fixture(scope="module", params=["sevenn-0", "mace"])
def real(request, mace_file):
    if request.param == "mace":
        file = mace_file("8x0e+8x1o")
        return mpprobe.load(file, dtype="float64", trust_checkpoint=True)
    return mpprobe.load("sevenn-0", dtype="float64")


class TestOnRealModels:
    @pytest.fixture(scope="class")
    @classmethod
    def edits(cls, real, frames):
        """A scalar and a vector erasure in one layer."""
        features = Evaluator(real, frames[:6]).features([1])[1]
        made = []
        for order, name in enumerate(("potential", "field")):
            columns = block_columns(real.layer(1), order)
            concept = concept_of(get_target(name), frames[:6], real.cutoff)
            made.append(fit_erasure(1, columns, block_rows(features, columns), concept))
        return {1: lambda x: made[1](made[0](x))}

    def test_an_edit_that_changes_nothing_changes_nothing(self, real, frames):
        plain = Evaluator(real, frames[:2])
        same = plain.run({1: lambda x: x * 1.0})
        np.testing.assert_allclose(same.forces, plain.run().forces, atol=1e-6)

    def test_forces_are_minus_the_gradient_of_the_edited_energy(self, real, frames, edits):
        atoms, h = frames[0].atoms, 1e-3
        own = real.run(real.batch(frames[0]), edits=edits, forces=True).forces[2, 1]
        energy = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[2, 1] += sign * h
            energy.append(float(real.run(real.batch(moved), edits=edits).energies[0]))
        assert float(own) == pytest.approx(-(energy[0] - energy[1]) / (2 * h), rel=1e-3, abs=1e-5)

    def test_edited_models_turn_with_the_structure(self, real, frames, edits):
        turn = Rotation.random(random_state=3).as_matrix()
        turned = frames[0].atoms.copy()
        turned.set_cell(turned.cell.array @ turn.T, scale_atoms=False)
        turned.positions = turned.positions @ turn.T
        plain, other = (
            real.run(real.batch(atoms), edits=edits, forces=True)
            for atoms in (frames[0].atoms, turned)
        )
        assert float(other.energies[0]) == pytest.approx(float(plain.energies[0]), abs=1e-6)
        np.testing.assert_allclose(other.forces.numpy(), plain.forces.numpy() @ turn.T, atol=1e-6)
        unedited = real.run(real.batch(frames[0]), forces=True).forces
        assert (unedited - plain.forces).abs().max() > 1e-6
