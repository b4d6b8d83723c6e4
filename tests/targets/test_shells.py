"""The shells of the potential add up, and each sees what it should and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from mpprobe.errors import TargetError
from mpprobe.structures import Frame
from mpprobe.targets import get_target, site_potential
from mpprobe.targets.electrostatics import COULOMB
from mpprobe.targets.shells import HALF_WIDTH, potential_beyond, shell_potential, window

CUTOFF = 3.0


def system(pbc):
    atoms = bulk("NaCl", "rocksalt", 5.64, cubic=True)
    atoms.rattle(0.3, seed=1)
    atoms.pbc = pbc
    charges = np.random.default_rng(1).normal(size=len(atoms))
    return Frame.from_atoms(atoms, "test@0"), charges - charges.mean()


def test_windows_are_a_partition_of_unity():
    distances = np.linspace(0.1, 6 * CUTOFF - HALF_WIDTH, 500)
    windows = np.array([window(distances, shell, CUTOFF) for shell in range(1, 7)])
    np.testing.assert_allclose(windows.sum(axis=0), 1, atol=1e-12)
    assert windows.min() >= 0


def test_windows_are_smooth_where_a_cut_would_jump():
    distances = np.linspace(0.1, 3 * CUTOFF, 2000)
    for shell in (1, 2):
        steps = np.abs(np.diff(window(distances, shell, CUTOFF)))
        assert steps.max() < 0.01  # the steepest slope of the quintic is 15/8 an Å
        assert np.isclose(window(np.array([shell * CUTOFF]), shell, CUTOFF), 0.5)


@pytest.mark.parametrize(("distance", "shell"), [(2.0, 1), (4.5, 2), (7.5, 3)])
def test_a_pair_is_in_the_shell_of_its_distance(distance, shell):
    pair = Frame.from_atoms(Atoms("NaCl", [[0, 0, 0], [distance, 0, 0]]), "test@0")
    charges = np.array([1.0, -1.0])
    for k in range(1, 5):
        expected = COULOMB / distance * np.array([-1, 1]) * (k == shell)
        np.testing.assert_allclose(shell_potential(pair, charges, k, CUTOFF), expected, atol=1e-12)


def test_shells_of_a_cluster_add_up_to_its_potential():
    frame, charges = system(False)
    diameter = frame.atoms.get_all_distances().max()
    shells = range(1, int(diameter / CUTOFF) + 3)
    total = sum(shell_potential(frame, charges, k, CUTOFF) for k in shells)
    np.testing.assert_allclose(total, site_potential(frame, charges), atol=1e-9)


@pytest.mark.parametrize("pbc", [True, (True, True, False), False])
def test_the_first_shell_and_the_rest_add_up(pbc):
    frame, charges = system(pbc)
    first = shell_potential(frame, charges, 1, CUTOFF)
    beyond = potential_beyond(frame, charges, CUTOFF)
    np.testing.assert_allclose(first + beyond, site_potential(frame, charges), atol=1e-9)
    assert np.abs(beyond).max() > 0.1  # V: there is something out there


@pytest.mark.parametrize("shell", [1, 3])
def test_periodic_images_count_as_in_a_supercell(shell):
    frame, charges = system(True)
    large = Frame.from_atoms(frame.atoms * (2, 1, 2), "test@1")
    np.testing.assert_allclose(
        shell_potential(large, np.tile(charges, 4), shell, CUTOFF),
        np.tile(shell_potential(frame, charges, shell, CUTOFF), 4),
        atol=1e-9,
    )


def test_what_lies_beyond_the_shell_does_not_change_it():
    frame, charges = system(False)
    far = frame.atoms + Atoms("Na", [[0, 0, 40]])
    values = shell_potential(Frame.from_atoms(far, "far@0"), np.append(charges, 5.0), 2, CUTOFF)
    np.testing.assert_allclose(values[:-1], shell_potential(frame, charges, 2, CUTOFF))


@pytest.mark.parametrize("cutoff", [None, 0.8, float("nan")])
def test_a_cutoff_is_asked_for(cutoff):
    frame, charges = system(True)
    with pytest.raises(TargetError, match="cutoff"):
        shell_potential(frame, charges, 1, cutoff)


def test_targets_take_the_cutoff_of_the_model():
    frame, _ = system(True)
    target = get_target("potential:shell-2@eeq")
    assert target.needs_cutoff
    near, far = (target.values([frame], cutoff)[0] for cutoff in (3.0, 5.0))
    assert np.abs(near - far).max() > 0.1
    with pytest.raises(TargetError, match="needs the model's cutoff"):
        target.values([frame])


def test_a_cutoff_must_be_wider_than_the_edges():
    frame = Frame.from_atoms(bulk("NaCl", "rocksalt", 5.64), "test@0")
    message = r"^shells of the potential need a cutoff above 1 Å, got 1\.0; "
    with pytest.raises(TargetError, match=message):
        shell_potential(frame, np.array([1.0, -1.0]), 1, 1.0)
    assert np.isfinite(shell_potential(frame, np.array([1.0, -1.0]), 1, 1.1)).all()
