"""Forces against references whose relation to the model's own is known."""

from __future__ import annotations

import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator

import mpprobe
from mpprobe.errors import ModelError, StructureError
from mpprobe.explain import by_domain, domains, force_errors, reference_of
from mpprobe.explain.forces import composition_references
from mpprobe.models.options import quiet_library

CONSTANTS = {8: -1.5, 11: 0.7, 12: 2.0, 17: -0.3}  # eV an atom


@pytest.fixture(scope="module")
def mace(mace_file):
    return mpprobe.load(mace_file("8x0e+8x1o"), dtype="float64", trust_checkpoint=True)


@pytest.fixture(scope="module")
def frames():
    """Twelve structures of what the small MACE models know, in two domains."""
    frames = mpprobe.read("ionic:strained,cluster")
    return [f for f in frames if set(f.numbers) <= CONSTANTS.keys()]


@pytest.fixture(scope="module")
def own(mace, frames):
    """The model's energies and forces of each frame."""
    outputs = [mace.run(mace.batch(frame), forces=True) for frame in frames]
    return [(float(o.energies[0]), o.forces.numpy()) for o in outputs]


def with_reference(frames, own, change):
    """Copies that carry ``change(frame, energy, forces)`` as results of a calculation."""
    made = []
    for frame, (energy, forces) in zip(frames, own, strict=True):
        atoms = frame.atoms.copy()
        energy, forces = change(frame, energy, forces)
        results = {"forces": forces} | ({} if energy is None else {"energy": energy})
        atoms.calc = SinglePointCalculator(atoms, **results)
        made.append(mpprobe.Frame.from_atoms(atoms, frame.source))
    return made


def summary(mace, frames, own, change):
    errors = force_errors(mace, with_reference(frames, own, change))
    return by_domain(errors, n_resamples=200).set_index("domain")


@pytest.fixture
def small_forces_count(monkeypatch):
    """The small models' forces are weak."""
    monkeypatch.setattr(domains, "LEAST_FORCE", 1e-6)


@pytest.mark.usefixtures("small_forces_count")
def test_a_softened_potential_has_that_slope_and_no_angle(mace, frames, own):
    table = summary(mace, frames, own, lambda frame, e, f: (None, f / 0.8))
    assert list(table.index) == ["strained", "cluster", "all"]
    np.testing.assert_allclose(table["slope"], 0.8)
    np.testing.assert_allclose(table[["slope_low", "slope_high"]], 0.8)
    assert table["angle"].max() < 1e-4
    assert np.isfinite(table["angle"]).all()
    expected = np.concatenate([np.abs(f / 0.8 - f).ravel() for _, f in own]).mean()
    assert table.loc["all", "force_mae"] == pytest.approx(expected)
    assert np.isnan(table["energy_mae"]).all()  # no energies, so no error of them


@pytest.mark.usefixtures("small_forces_count")
def test_forces_turned_by_a_right_angle(mace, frames, own):
    def turned(frame, energy, forces):
        axis = np.cross(forces, [0.3, 0.5, 0.8])
        axis /= np.linalg.norm(axis, axis=1, keepdims=True)
        return None, axis * np.linalg.norm(forces, axis=1, keepdims=True)

    table = summary(mace, frames, own, turned)
    np.testing.assert_allclose(table["angle"], 90.0)
    np.testing.assert_allclose(table["slope"], 0.0, atol=1e-10)


def test_random_errors_are_found_with_an_interval_around_them(mace, frames, own):
    rng = np.random.default_rng(0)
    table = summary(
        mace, frames, own, lambda frame, e, f: (None, f + rng.normal(scale=0.1, size=f.shape))
    )
    assert table.loc["all", "force_rmse"] == pytest.approx(0.1, rel=0.1)
    assert table.loc["all", "force_mae"] == pytest.approx(0.1 * np.sqrt(2 / np.pi), rel=0.1)
    assert (table["force_mae_low"] < table["force_mae"]).all()
    assert (table["force_mae"] < table["force_mae_high"]).all()


def test_constants_of_the_species_are_no_energy_error(mace, frames, own):
    def shifted(frame, energy, forces):
        return energy - sum(CONSTANTS[z] for z in frame.numbers.tolist()), forces

    errors = force_errors(mace, with_reference(frames, own, shifted))
    np.testing.assert_allclose(errors.structures["energy_error"], 0, atol=1e-9)
    apart = errors.structures["energy"] - errors.structures["energy_reference"]
    assert apart.abs().min() > 0.4
    assert errors.structures["force_mae"].max() < 1e-9

    def one_wrong(frame, energy, forces):
        return shifted(frame, energy, forces)[0] + (frame is frames[3]) * len(frame), forces

    wrong = force_errors(mace, with_reference(frames, own, one_wrong)).structures
    assert wrong["energy_error"].abs().idxmax() == 3


def test_species_that_structures_leave_undetermined_get_the_smallest_constants():
    counts = np.array([[4.0, 4.0], [8.0, 8.0]])
    np.testing.assert_allclose(composition_references(counts, np.array([8.0, 16.0])), [1.0, 1.0])
    known = composition_references(counts, np.array([8.0, np.nan]))
    np.testing.assert_allclose(counts[0] @ known, 8.0)


def test_the_tables_hold_every_atom_once(mace, frames, own):
    errors = force_errors(mace, with_reference(frames, own, lambda frame, e, f: (e, f + 0.1)))
    atoms, structures = errors.atoms, errors.structures
    assert len(structures) == len(frames)
    assert len(atoms) == sum(map(len, frames)) == structures["n_atoms"].sum()
    np.testing.assert_allclose(atoms["force_error"], 0.1 * np.sqrt(3))
    np.testing.assert_allclose(structures["net_force"], 0, atol=1e-9)
    for frame, (_, rows) in zip(frames, atoms.groupby("structure", sort=False), strict=True):
        assert rows["species"].tolist() == frame.atoms.get_chemical_symbols()
        assert set(rows["structure"]) == {frame.source}
    assert errors.provenance["models"][mace.name]["sha256"]


def test_few_structures_get_no_interval(mace, frames, own):
    table = summary(mace, frames[:4], own[:4], lambda frame, e, f: (e, f + 0.1))
    assert np.isnan(table["force_mae_low"]).all()
    np.testing.assert_allclose(table["force_mae"], 0.1)


def test_numbers_are_those_of_the_models_own_calculator(sevenn_0, frames):
    from sevenn.calculator import SevenNetCalculator

    with quiet_library():
        calculator = SevenNetCalculator("7net-0", device="cpu")
    chosen = frames[:2] + [f for f in frames if f.domain == "cluster"][:2]
    own = []
    for frame in chosen:
        atoms = frame.atoms.copy()
        atoms.calc = calculator
        own.append((atoms.get_potential_energy(), atoms.get_forces()))
    errors = force_errors(sevenn_0, with_reference(chosen, own, lambda frame, e, f: (e, f)))
    assert errors.atoms["force_error"].max() < 1e-4
    apart = errors.structures["energy"] - errors.structures["energy_reference"]
    np.testing.assert_allclose(apart / errors.structures["n_atoms"], 0, atol=1e-5)


class TestRefused:
    def test_no_forces(self, mace, frames):
        with pytest.raises(StructureError, match=r"no reference forces.*--forces") as error:
            force_errors(mace, frames)
        assert frames[0].source in str(error.value)
        assert "\n" not in str(error.value)

    def test_an_array_of_another_shape_or_with_nan(self, frames):
        atoms = frames[0].atoms.copy()
        atoms.arrays["mine"] = np.zeros(len(atoms))
        with pytest.raises(StructureError, match="three finite numbers"):
            reference_of(mpprobe.Frame.from_atoms(atoms, "x"), "mine")
        atoms.arrays["other"] = np.full((len(atoms), 3), np.nan)
        with pytest.raises(StructureError, match="three finite numbers"):
            reference_of(mpprobe.Frame.from_atoms(atoms, "x"), "other")

    def test_a_model_given_twice(self, mace, frames, own):
        given = with_reference(frames, own, lambda frame, e, f: (e, f))
        with pytest.raises(ModelError, match="give every model once"):
            force_errors([mace, mace], given)


def test_references_by_name(frames):
    atoms = frames[0].atoms.copy()
    atoms.arrays["dft_forces"] = np.ones((len(atoms), 3))
    atoms.info["dft_energy"] = -3.0
    frame = mpprobe.Frame.from_atoms(atoms, "x")
    found = reference_of(frame, "dft_forces", "dft_energy")
    assert found.energy == -3.0
    assert found.forces.sum() == 3 * len(atoms)
    assert reference_of(frame, "dft_forces").energy is None
