"""The built-in set `dft` keeps what its datasheet promises, and its recipe makes its inputs."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mpprobe.explain import check_groups
from mpprobe.structures import builtin_sets, check, read
from mpprobe.targets import get_target

RECIPE = Path(__file__).parents[2] / "data" / "dft"
DFT = builtin_sets()["dft"]


@pytest.fixture(scope="module")
def frames():
    return read("dft:all")


@pytest.fixture(scope="module")
def ionic(frames):
    return [f for f in frames if f.domain != "metal"]


def test_every_structure_can_be_used_and_is_named_once(frames):
    check(frames, cutoff=5.0, needs_ewald=True)
    names = [f.atoms.info["name"] for f in frames]
    assert len(set(names)) == len(names)
    assert {f.domain for f in frames} <= set(DFT.domains)
    for frame in frames:
        assert frame.atoms.info["name"].startswith(f"{frame.domain}-{frame.compound}")


def test_the_default_part_is_all_but_the_metals(frames, ionic):
    assert [f.source for f in read("dft")] == [f.source for f in ionic]
    assert {f.compound for f in frames} - {f.compound for f in ionic} <= {"Al", "Cu"}


def test_every_calculation_is_whole_and_its_forces_sum_to_nothing(frames):
    for frame in frames:
        info, results = frame.atoms.info, frame.atoms.calc.results
        assert info["converged"]
        assert info["xc"] == "PBE"
        assert info["code"].startswith("GPAW")
        forces = results["forces"]
        assert forces.shape == (len(frame), 3)
        assert np.linalg.norm(forces.sum(axis=0)) <= 0.02
        assert info["net_force"] == pytest.approx(np.linalg.norm(forces.sum(axis=0)), abs=1e-5)
        assert ("stress" in results) == frame.atoms.pbc.all()  # absent, not zero, elsewhere


def test_the_parts_of_the_energy_are_the_whole(frames):
    parts = ("e_kinetic", "e_coulomb", "e_zero", "e_xc", "e_entropy")
    for frame in frames:
        info, free_energy = frame.atoms.info, frame.atoms.calc.results["free_energy"]
        assert sum(info[p] for p in parts) == pytest.approx(free_energy, abs=1e-4)
        # The energy is that without smearing, which takes half of the entropy's part away.
        energy = free_energy - info["e_entropy"] / 2
        assert frame.atoms.get_potential_energy() == pytest.approx(energy, abs=1e-4)


def test_charges_are_of_the_ions_and_sum_to_zero(frames, ionic):
    for frame in frames:
        charges = frame.atoms.arrays["bader_q"]
        assert charges.sum() == pytest.approx(0, abs=1e-6)
        assert abs(frame.atoms.info["bader_residual"]) < 0.03
    for frame in ionic:
        formal, bader = frame.atoms.arrays["charge_formal"], frame.atoms.arrays["bader_q"]
        assert (np.sign(formal) == np.sign(bader)).all()
        # On the coarse grids of clusters equal atoms differ by 0.06 e (see the datasheet).
        assert (np.abs(bader) < np.abs(formal) + 0.1).all()
    for frame in frames:
        if frame.domain == "metal":
            assert np.abs(frame.atoms.arrays["bader_q"]).max() < 0.25
            assert "charge_formal" not in frame.atoms.arrays


def test_cations_sit_lower_where_the_ions_make_them(ionic):
    """Site potentials follow the Ewald potentials of the ions, screened, with their sign."""
    crystals = [f for f in ionic if f.domain in ("bulk", "strained") and f.compound == "MgO"]
    x, y = [], []
    for frame in crystals:
        (ewald,), (stored,) = (get_target(t).values(frame) for t in ("potential", "potential:dft"))
        cations = frame.atoms.arrays["charge_formal"] > 0
        x.append(ewald[cations] - ewald[cations].mean())
        y.append(stored[cations] - stored[cations].mean())
    x, y = np.concatenate(x), np.concatenate(y)
    assert 0 < (x @ y) / (x @ x) < 1
    assert np.corrcoef(x, y)[0, 1] > 0.9


def test_targets_find_them(ionic):
    for name, array in (("charge:dft", "bader_q"), ("potential:dft", "site_pot")):
        (values,) = get_target(name).values(ionic[0])
        stored = ionic[0].atoms.arrays[array]
        np.testing.assert_allclose(values - values.mean(), stored - stored.mean())


class TestPairs:
    """The built-in set `pairs`, forces between distant atoms."""

    @pytest.fixture
    def pairs(self):
        return read("pairs")

    def test_each_group_can_be_compared(self, pairs):
        check(pairs, cutoff=5.0, needs_ewald=True)
        check_groups(pairs)
        assert {f.domain for f in pairs} <= set(builtin_sets()["pairs"].domains)
        assert len(read("pairs:all")) == len(pairs)

    def test_every_calculation_is_whole(self, pairs):
        parts = ("e_kinetic", "e_coulomb", "e_zero", "e_xc", "e_entropy")
        for frame in pairs:
            info, results = frame.atoms.info, frame.atoms.calc.results
            assert sum(info[p] for p in parts) == pytest.approx(results["free_energy"], abs=1e-6)
            assert np.linalg.norm(results["forces"].sum(axis=0)) <= 0.02
            assert ("input" in info) != ("same_as" in info)

    def test_what_a_translation_gave_is_the_same_elsewhere(self, pairs):
        by_name = {f.atoms.info["name"]: f.atoms for f in pairs}
        shifted = [f.atoms for f in pairs if "same_as" in f.atoms.info]
        assert shifted
        for atoms in shifted:
            original = by_name[atoms.info["same_as"]]
            assert atoms.get_potential_energy() == original.get_potential_energy()
            moved = [
                np.linalg.norm(a.positions - by_name[a.info["group"]].positions, axis=1).argmax()
                for a in (original, atoms)
            ]
            assert moved[0] != moved[1]
            assert atoms.numbers[moved[1]] == original.numbers[moved[0]]
            ends = [a.get_forces()[i] for a, i in zip((original, atoms), moved, strict=True)]
            np.testing.assert_allclose(*ends, atol=1e-8)


class TestRecipe:
    @pytest.fixture(autouse=True)
    def _checkout(self):
        if not (RECIPE / "collect.py").exists():
            pytest.skip("the recipe is in the checkout only")

    def test_checksums(self):
        for line in (RECIPE / "SHA256SUMS").read_text().splitlines():
            digest, name = line.split()
            assert hashlib.sha256((RECIPE / name).read_bytes()).hexdigest() == digest

    @pytest.mark.parametrize("script", ["inputs.py", "collect.py"])
    def test_it_makes_what_is_there(self, script):
        run = subprocess.run(
            [sys.executable, RECIPE / script, "--check"], capture_output=True, text=True
        )
        assert run.returncode == 0, run.stdout + run.stderr

    def test_the_file_alone_is_enough_to_go_on(self, tmp_path):
        """Collected without what calculate.py left behind, the same bytes."""
        script = (
            "import sys, pathlib; sys.argv = ['collect.py']; import collect; import ase.io; "
            "inputs = ase.io.read(collect.INPUTS, ':'); "
            f"structures, _ = collect.collect(inputs, pathlib.Path({str(tmp_path)!r})); "
            "assert collect.packed(structures) == collect.DATA.read_bytes()"
        )
        subprocess.run([sys.executable, "-c", script], cwd=RECIPE, check=True)

    def test_the_data_are_of_these_inputs(self, frames):
        inputs = {f.atoms.info["name"]: f for f in read(RECIPE / "inputs.extxyz.gz")}
        for frame in frames:
            given = inputs[frame.atoms.info["name"]]
            np.testing.assert_array_equal(given.numbers, frame.numbers)
            np.testing.assert_allclose(given.atoms.positions, frame.atoms.positions, atol=1e-8)

    def test_bader_finds_the_electrons_of_separate_atoms(self):
        """Gaussians apart from each other, of known content, in a skewed cell."""
        sys.path.insert(0, str(RECIPE))
        try:
            from bader import bader_electrons
        finally:
            sys.path.remove(str(RECIPE))
        from ase import Atoms

        cell = np.array([[7.0, 0, 0], [1.5, 6.5, 0], [0, 1.0, 8.0]])
        atoms = Atoms("H3", scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.1], [0.2, 0.6, 0.6]],
                      cell=cell, pbc=True)  # fmt: skip
        points = (48, 48, 56)
        grid = np.stack(np.meshgrid(*(np.arange(n) / n for n in points), indexing="ij"), axis=-1)
        density = np.zeros(points)
        for place, electrons in zip(atoms.get_scaled_positions(), (1.0, 4.0, 2.5), strict=True):
            apart = (grid - place + 0.5) % 1.0 - 0.5
            square = ((apart @ cell) ** 2).sum(axis=-1)
            density += electrons * np.exp(-square / (2 * 0.5**2)) / (2 * np.pi * 0.5**2) ** 1.5
        found = bader_electrons(density, density, atoms)
        np.testing.assert_allclose(found, [1.0, 4.0, 2.5], atol=0.02)
