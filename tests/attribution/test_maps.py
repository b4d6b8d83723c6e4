"""Attribution maps: complete, where the number comes from, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase.build import bulk

import mpprobe
from interventions.toy import SCALARS, PointCharges, Toy
from mpprobe.attribution import (
    BASELINES,
    METHODS,
    Decoded,
    ForceComponent,
    SiteEnergy,
    TotalEnergy,
    attribute,
)
from mpprobe.attribution.maps import BY_ATOM, BY_CHANNEL, SIZE
from mpprobe.errors import AttributionError, ModelError

A, B = np.array([1.0, -0.5, 0.3, 0.2, -0.8, 0.4]), np.array([0.7, -0.4, 0.2, 0.1])


@pytest.fixture(scope="module")
def cell():
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    atoms.positions += np.random.default_rng(0).normal(scale=0.1, size=atoms.positions.shape)
    return atoms


class TestRealModels:
    @pytest.mark.parametrize("scalar", [TotalEnergy(), SiteEnergy(3), ForceComponent(2, 0)])
    @pytest.mark.parametrize("baseline", BASELINES)
    def test_integrated_gradients_are_complete(self, potential, cell, scalar, baseline):
        found = attribute(potential, cell, scalar, 1, baseline=baseline)
        assert found.values.shape == (len(cell), potential.layer(1).dim)
        assert abs(found.gap) < 1e-4 * abs(found.value - found.baseline_value)
        assert found.infidelity >= 0

    def test_the_number_is_the_models_own(self, potential, cell):
        output = potential.run(potential.batch(cell), forces=True)
        for scalar, value in (
            (TotalEnergy(), output.energies[0]),
            (SiteEnergy(3), output.site_energies[3]),
            (ForceComponent(2, 1), output.forces[2, 1]),
        ):
            found = attribute(potential, cell, scalar, 1, method="gradient × input")
            assert found.value == pytest.approx(value.item(), abs=1e-5)

    def test_what_is_read_in_a_layer_comes_from_that_atom_there(self, potential, cell):
        weights = np.random.default_rng(0).normal(size=potential.layer(1).dim)
        number = Decoded(2, 1, weights, intercept=0.5)
        found = attribute(potential, cell, number, 1, baseline="zero")
        features = potential.run(potential.batch(cell), [1], energies=False).features[1]
        np.testing.assert_allclose(found.values[2], weights * features[2].numpy(), atol=1e-5)
        np.testing.assert_array_equal(np.delete(found.values, 2, axis=0), 0)
        assert found.baseline_value == pytest.approx(0.5, abs=1e-6)

    def test_tables_add_up(self, potential, cell):
        found = attribute(potential, cell, SiteEnergy(0), 1)
        atoms, channels = found.by_atom(), found.by_channel()
        assert list(atoms["species"]) == cell.get_chemical_symbols()
        irreps = [c for c in atoms.columns if c[0].isdigit()]
        np.testing.assert_allclose(atoms[irreps].sum(axis=1), atoms["total"], atol=1e-6)
        assert channels["total"].sum() == pytest.approx(found.values.sum(), abs=1e-6)
        assert len(channels) == sum(block.mul for block in potential.layer(1).blocks)


class TestKnownModel:
    """E_i = a·s_i + |Σ b v_i|² of the features of the atom itself."""

    @pytest.fixture
    def toy(self):
        return Toy(A, B)

    def features(self, toy, cell):
        return toy.run(toy.batch(cell), [1]).features[1].numpy()

    @pytest.mark.parametrize("method", [m for m in METHODS if m not in BY_CHANNEL])
    def test_every_method_finds_the_atom(self, toy, cell, method):
        found = attribute(toy, cell, SiteEnergy(4), 1, method=method, baseline="zero")
        total = found.by_atom()["total"].to_numpy()
        assert np.abs(np.delete(total, 4)).max() < 1e-9
        if method not in ("gradient × input", "gradient SHAP"):  # the square isn't linear
            assert total[4] == pytest.approx(found.value, rel=1e-6)

    def test_a_channel_taken_away_is_missed_by_what_it_adds(self, toy, cell):
        found = attribute(toy, cell, SiteEnergy(4), 1, method="channel ablation", baseline="zero")
        x = self.features(toy, cell)[4]
        table = found.by_channel()
        np.testing.assert_allclose(table["total"][:SCALARS], A * x[:SCALARS], atol=1e-9)
        vectors = x[SCALARS:].reshape(-1, 3)
        whole = ((B @ vectors) ** 2).sum()
        without = [((np.delete(B, k) @ np.delete(vectors, k, axis=0)) ** 2).sum()
                   for k in range(len(B))]  # fmt: skip
        np.testing.assert_allclose(table["total"][SCALARS:], whole - without, atol=1e-9)
        assert np.isnan(found.infidelity)

    def test_integrated_gradients_of_a_sum_of_squares(self, toy, cell):
        found = attribute(toy, cell, SiteEnergy(4), 1, baseline="zero")
        x = self.features(toy, cell)[4]
        np.testing.assert_allclose(found.values[4, :SCALARS], A * x[:SCALARS], atol=1e-9)
        vectors = x[SCALARS:].reshape(-1, 3)
        along = B @ vectors
        expected = (B[:, None] * vectors * along).ravel()
        np.testing.assert_allclose(found.values[4, SCALARS:], expected, atol=1e-9)

    def test_scalars_of_the_baseline_are_means_of_a_species(self, toy, cell):
        found = attribute(toy, cell, TotalEnergy(), 1)
        x = self.features(toy, cell)
        mean = np.zeros_like(x)
        for z in (11, 17):
            own = cell.numbers == z
            mean[own, :SCALARS] = x[own, :SCALARS].mean(axis=0)
        assert found.baseline_value == pytest.approx((mean[:, :SCALARS] @ A).sum())

    def test_a_linear_model_has_no_infidelity_and_one_with_a_square_has(self, cell):
        linear = attribute(Toy(A, 0 * B), cell, TotalEnergy(), 1, baseline="zero")
        assert linear.infidelity < 1e-9
        square = attribute(Toy(0 * A, B), cell, TotalEnergy(), 1, baseline="zero")
        assert square.infidelity > 0.05

    @pytest.mark.parametrize("method", METHODS)
    def test_sensitivity_is_measured_if_asked_for(self, toy, cell, method):
        assert np.isnan(attribute(toy, cell, TotalEnergy(), 1, method=method).sensitivity)
        linear = Toy(A, 0 * B)
        found = attribute(linear, cell, TotalEnergy(), 1, method=method, baseline="zero",
                          sensitivity=True)  # fmt: skip
        # The map is a·x, or its mean over an atom's features: it can't change by more than a·δ.
        x = self.features(linear, cell)
        largest = SIZE * np.std(x, ddof=1) * np.abs(A)
        change = np.sqrt(len(cell)) * np.linalg.norm(largest)
        if method in BY_ATOM:
            change = np.sqrt(x.size) * largest.sum() / x.shape[1]
        bound = change / np.linalg.norm(found.values)
        assert 0.1 * bound < found.sensitivity <= bound * (1 + 1e-6)

    @pytest.mark.parametrize("method", ["gradient SHAP", "Shapley sampling"])
    def test_the_same_seed_gives_the_same_map(self, toy, cell, method):
        states = torch.random.get_rng_state(), np.random.get_state()[1]
        one, two, other = (
            attribute(toy, cell, TotalEnergy(), 1, method=method, seed=seed).values
            for seed in (0, 0, 1)
        )
        np.testing.assert_array_equal(one, two)
        if method == "gradient SHAP":
            assert np.abs(one - other).max() > 0
        assert torch.equal(states[0], torch.random.get_rng_state())
        np.testing.assert_array_equal(states[1], np.random.get_state()[1])

    def test_copies_are_split_without_a_trace(self, toy, cell):
        whole = attribute(toy, cell, TotalEnergy(), 1)
        split = attribute(toy, cell, TotalEnergy(), 1, max_atoms=1)
        np.testing.assert_allclose(whole.values, split.values, atol=1e-12)


def test_an_earlier_layer_is_felt_through_message_passing(cell):
    potential = mpprobe.load("sevenn-0")
    found = attribute(potential, cell, SiteEnergy(0), 2)
    total = found.by_atom()["total"].abs()
    assert (total.drop(0) > 1e-4).all()
    last = attribute(potential, cell, SiteEnergy(0), 5)
    np.testing.assert_array_equal(last.values[1:], 0)


class TestRefusals:
    @pytest.mark.parametrize(
        ("scalar", "options", "said"),
        [
            (TotalEnergy(), {"method": "magic"}, "choose one of integrated gradients"),
            (TotalEnergy(), {"baseline": "noise"}, "choose one of species mean, zero"),
            (SiteEnergy(8), {}, "there is no atom 8; it has atoms 0 to 7"),
            (ForceComponent(0, 3), {}, "give 0, 1 or 2"),
            (Decoded(0, 1, np.ones(3)), {}, "layer 1 has 18 features"),
            (Decoded(0, 0, np.ones(1)), {}, "doesn't depend on later ones"),
        ],
    )
    def test_one_line(self, cell, scalar, options, said):
        with pytest.raises(AttributionError, match=said):
            attribute(Toy(A, B), cell, scalar, 1, **options)

    def test_no_such_layer(self, cell):
        with pytest.raises(ModelError, match="layer 9"):
            attribute(PointCharges(), cell, TotalEnergy(), 9)
