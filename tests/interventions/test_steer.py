"""Steering: what it moves, and a model that uses what is read, as point charges would."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from ase import Atoms

import mpprobe
from interventions.toy import CUTOFF, SCALARS, PointCharges, Toy, rattled
from mpprobe.activations.evaluate import Evaluator
from mpprobe.errors import InterventionError
from mpprobe.interventions import (
    Direction,
    Steering,
    Whitening,
    block_columns,
    block_rows,
    fit_direction,
    random_directions,
    steer,
)
from mpprobe.interventions.steering import PROBE, RANDOM
from mpprobe.probes.ridge import RidgeProbe

A, B = np.array([1.0, -0.5, 0.3, 0.2, -0.8, 0.4]), np.array([0.7, -0.4, 0.2, 0.1])
SETTINGS = mpprobe.Settings(n_resamples=200, in_domain=("bulk",))


@pytest.fixture(scope="module")
def clusters():
    rng = np.random.default_rng(0)
    frames = []
    for k in range(12):
        n = int(rng.integers(4, 7))
        grid = 2.8 * np.array([(i % 2, i // 2 % 3, i // 6) for i in range(2 * n)], dtype=float)
        atoms = Atoms("NaCl" * n, grid + rng.normal(scale=0.25, size=grid.shape))
        atoms.arrays["charge_formal"] = np.where(atoms.numbers == 11, 1.0, -1.0)
        atoms.info["domain"] = "cluster" if k % 2 else "bulk"
        frames.append(mpprobe.Frame.from_atoms(atoms, f"cluster@{k}"))
    return frames


@pytest.fixture(scope="module")
def found(clusters):
    return steer(PointCharges(), clusters, layer=1, settings=SETTINGS)


class TestAModelOfPointCharges:
    @pytest.mark.parametrize("measure", ["energy", "force"])
    def test_it_does_what_point_charges_do(self, found, measure):
        own = found.summary[found.summary["model"] == "trained"].set_index("measure")
        row = own.loc[f"{measure}_slope"]
        # Within kinds the potential is the feature itself.
        assert row["value"] == pytest.approx(1, abs=1e-3)
        assert own.loc[f"{measure}_correlation", "value"] > 0.999
        assert row["low"] > 0.99
        assert abs(row["median"]) < 0.8

    def test_one_that_has_no_charges_does_nothing(self, found):
        own = found.summary[found.summary["model"] == "random weights"].set_index("measure")
        assert abs(own.loc["energy_slope", "value"]) < 0.1

    def test_what_is_read_is_moved_by_what_was_asked(self, found):
        own = found.doses[(found.doses["model"] == "trained") & (found.doses["domain"] == "all")]
        probe = own[own["direction"] == PROBE].set_index("dose")
        assert list(probe.index) == [-1, -0.5, 0.5, 1]
        np.testing.assert_allclose(probe["shift"], probe["shift"][1.0] * np.abs(probe.index))
        np.testing.assert_allclose(
            probe["coulomb_slope"], probe.index * probe["coulomb_slope"][1.0], rtol=1e-6
        )
        assert (own["direction"] == RANDOM).sum() == 20

    def test_a_shift_leaves_forces_alone_where_the_energy_is_linear(self, found):
        assert found.distances["change"].max() < 1e-9

    def test_every_atom_has_its_slope(self, found, clusters):
        own = found.atoms[found.atoms["model"] == "trained"]
        assert len(own) == sum(map(len, clusters))
        assert set(own["analytic"]) == {-0.5, 0.5}


@pytest.fixture(scope="module")
def toy():
    return Toy(A, B)


@pytest.fixture(scope="module")
def frames():
    return rattled(8)


@pytest.fixture(scope="module", params=[0, 1])
def block(request, toy, frames):
    columns = block_columns(toy.layer(1), request.param)
    x = block_rows(Evaluator(toy, frames).features([1])[1], columns)
    concept = x[:, :2].sum(axis=1)[..., None] if request.param else x[:, :2, 0].sum(axis=1)[:, None]
    return columns, x, fit_direction(1, columns, x, concept)


class TestDirections:
    def test_the_penalty_is_chosen_by_groups_held_out(self, frames, block):
        columns, x, _ = block
        scalar = x.shape[2] == 1
        rng = np.random.default_rng(0)
        concept = x[:, 0] + 0.3 * rng.normal(size=x[:, 0].shape)
        concept = concept if scalar else concept[..., None]
        group = np.arange(8).repeat([len(f) for f in frames])
        found = {}
        for name, given, cells in (
            ("groups", group, group % 5),
            ("no groups", None, np.arange(len(x)) % 5),
            ("one group", 0 * group + 3, np.arange(len(x)) % 5),
        ):
            probe = RidgeProbe(intercept=scalar)
            probe.partial_fit(x[:, :, 0] if scalar else x, concept, cells)
            found[name] = fit_direction(1, columns, x, concept, given).probe
            np.testing.assert_allclose(found[name], probe.solve().coef[:, 0])
        assert not np.allclose(found["groups"], found["no groups"])

    def test_features_keep_their_precision(self, frames, toy, block):
        _, _, direction = block
        features = torch.as_tensor(Evaluator(toy, frames).features([1])[1])
        edit = Steering(direction, gain=0.5)
        single = edit(features.float())
        assert single.dtype == torch.float32
        np.testing.assert_allclose(single.numpy(), edit(features).numpy(), atol=1e-4)

    def test_a_step_moves_what_is_read_by_one(self, block):
        columns, _, direction = block
        assert direction.probe @ direction.step == pytest.approx(1)
        assert direction.step.shape == (len(columns),)

    def test_a_shift_moves_what_is_read_and_nothing_else_uncorrelated(self, toy, frames, block):
        columns, x, direction = block
        shift = np.zeros((len(x), columns.shape[1]))
        shift[5, 0] = 0.3
        edits = {1: Steering(direction, shift)}
        after = block_rows(Evaluator(toy, frames).features([1], edits)[1], columns)
        moved = direction.read(after) - direction.read(x)
        np.testing.assert_allclose(moved, shift, atol=1e-10)
        # What has no correlation with what is read stays, in the mean over atoms.
        whitening = Whitening.of(x)
        other = np.random.default_rng(0).normal(size=len(columns))
        other -= (
            direction.probe
            * (other @ whitening.covariance @ direction.probe)
            / (direction.probe @ whitening.covariance @ direction.probe)
        )
        np.testing.assert_allclose(np.einsum("c,ncm->nm", other, after - x), 0, atol=1e-10)

    def test_a_gain_of_minus_one_takes_it_away(self, toy, frames, block):
        columns, _, direction = block
        edits = {1: Steering(direction, gain=-1.0)}
        after = block_rows(Evaluator(toy, frames).features([1], edits)[1], columns)
        np.testing.assert_allclose(direction.read(after), 0, atol=1e-10)

    def test_batches_take_their_own_shifts(self, toy, frames, block):
        columns, x, direction = block
        shift = np.random.default_rng(0).normal(size=(len(x), columns.shape[1]))
        edits = {1: Steering(direction, shift)}
        whole, parts = (Evaluator(toy, frames, n).run(edits).forces for n in (1000, 10))
        np.testing.assert_allclose(whole, parts, atol=1e-10)

    def test_slopes_are_finite_differences(self, toy, frames, block):
        columns, _, direction = block
        evaluator = Evaluator(toy, frames[:2])
        slopes = evaluator.slopes(1, columns, direction.step)
        n, h = sum(map(len, frames[:2])), 1e-4
        for atom in (0, n - 1):
            energies = []
            for sign in (1, -1):
                shift = np.zeros((n, columns.shape[1]))
                shift[atom, -1] = sign * h
                energies.append(evaluator.run({1: Steering(direction, shift)}).energies.sum())
            assert slopes[atom, -1] == pytest.approx(
                (energies[0] - energies[1]) / (2 * h), rel=1e-5
            )

    def test_random_ones_are_as_long_and_as_much(self, block):
        _, x, direction = block
        whitening = Whitening.of(x)
        drawn = random_directions(direction, whitening, 20, seed=0)

        def size(d: Direction) -> float:
            return np.linalg.norm(whitening.forward @ d.step)

        for other in drawn:
            assert other.probe @ other.step == pytest.approx(1)
            assert size(other) == pytest.approx(size(direction))
            share = other.step @ other.step * (other.probe @ whitening.covariance @ other.probe)
            own = (
                direction.step
                @ direction.step
                * (direction.probe @ whitening.covariance @ direction.probe)
            )
            assert share == pytest.approx(own, rel=1e-3)


def test_steering_along_a_known_energy(toy, frames):
    """E depends on a·s: every atom's slope is a·d, and doubling a·s doubles its forces."""
    columns = block_columns(toy.layer(1), 0)
    x = block_rows(Evaluator(toy, frames).features([1])[1], columns)
    direction = fit_direction(1, columns, x, x[:, :, 0] @ A[:, None])
    linear = Evaluator(Toy(A, 0 * B), frames)
    np.testing.assert_allclose(linear.slopes(1, columns, direction.step), A @ direction.step)
    assert A @ direction.step == pytest.approx(1, rel=1e-3)
    doubled = linear.run({1: Steering(direction, gain=1.0)}).forces
    np.testing.assert_allclose(doubled, 2 * linear.run().forces, atol=2e-2)


def test_the_same_seed_gives_the_same_table(clusters, found):
    again = steer(PointCharges(), clusters, layer=1, settings=SETTINGS)
    for name in ("doses", "atoms", "distances", "summary"):
        pd.testing.assert_frame_equal(getattr(found, name), getattr(again, name))


def test_a_shift_of_one_atom_is_as_large_as_asked_for(toy, frames):
    """The energy is a square in the vectors, so that the forces follow in proportion."""
    for frame in frames:
        x = toy.run(toy.batch(frame), [1]).features[1].numpy()[:, SCALARS:]
        frame.atoms.arrays["known"] = x.reshape(len(frame), -1, 3)[:, 0]
    changes = {}
    for delta in (0.1, 0.2):
        found = steer(toy, frames, layer=1, target="array:known", delta=delta, settings=SETTINGS,
                      random_weights=False)  # fmt: skip
        assert (found.distances["shift"] == delta).all()
        assert found.provenance["delta"] == delta
        changes[delta] = found.distances["change"].to_numpy()
    np.testing.assert_allclose(changes[0.2], 2 * changes[0.1], rtol=1e-6)


def test_a_vector_turns_with_the_structure(toy, frames):
    columns = block_columns(toy.layer(1), 1)
    features = Evaluator(toy, frames).features([1])[1]
    x = block_rows(features, columns)
    direction = fit_direction(1, columns, x, x[:, :2].sum(axis=1)[..., None])
    edit = Steering(direction, gain=0.7)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    turned = features.copy()
    turned[:, columns] = x @ turn.T
    plain, other = (edit(torch.as_tensor(f)).numpy() for f in (features, turned))
    np.testing.assert_allclose(other[:, columns], plain[:, columns] @ turn.T, atol=1e-12)
    np.testing.assert_array_equal(other[:, :SCALARS], plain[:, :SCALARS])
    assert toy.cutoff == CUTOFF


class TestRefusals:
    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"draws": 3}, "at least 20"),
            ({"part": "species"}, "within or whole"),
            ({"doses": [0.0]}, "doses: give finite numbers other than zero"),
            ({"delta": 0.0}, "delta: give a finite number other than zero"),
            ({"target": "field"}, "no l = 1 features"),
        ],
    )
    def test_one_line(self, clusters, options, said):
        with pytest.raises(InterventionError, match=said):
            steer(PointCharges(), clusters, layer=1, **options)

    def test_what_does_not_vary_gives_no_direction(self, block):
        columns, x, _ = block
        nothing = np.zeros((len(x), 1) if x.shape[2] == 1 else (len(x), 3, 1))
        with pytest.raises(InterventionError, match=r"^layer 1: a probe reads nothing there"):
            fit_direction(1, columns, x, nothing)

    def test_shifts_for_other_atoms(self, toy, frames, block):
        columns, _, direction = block
        with pytest.raises(InterventionError, match="give one for each"):
            Steering(direction, np.zeros((3, columns.shape[1])))(torch.zeros(4, 18))
