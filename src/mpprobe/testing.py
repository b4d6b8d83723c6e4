"""The contract every potential keeps, as one public check for adapters of any family."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms

from mpprobe.errors import ModelError
from mpprobe.models.hooks import Edit
from mpprobe.models.options import quiet_library
from mpprobe.models.potential import Potential, WithForces
from mpprobe.structures import as_frames


def check_potential(
    potential: Potential, structures: Sequence[Atoms] | None = None, *, seed: int = 0
) -> None:
    """Check that a potential keeps the contract on which every result of mpprobe rests.

    Layer count and shapes against the irreps; reading features leaves energies and forces
    unchanged; features alone equal features read with energies; site energies add up; batched
    equals single; permutation, translation and rotation, the features turning as their irreps
    say; the fused path, where there is one, against the reference path; forces against finite
    differences; a one-atom cell and an isolated atom; an identity edit
    changes nothing and a real edit changes what comes after it; no hook is left behind; the
    structures are not changed.

    Args:
        potential: any :class:`~mpprobe.models.potential.Potential`.
        structures: two or more small structures of its species; by default rattled cells made
            of the first species it knows.
        seed: of the random rotation and permutation.

    Raises:
        ModelError: the first promise that is broken, and by how much.
    """
    frames = as_frames(list(structures) if structures is not None else _structures(potential))
    before = [frame.atoms.copy() for frame in frames]
    check = _Check(potential, np.random.default_rng(seed))
    atoms = [frame.atoms for frame in frames]
    check.layers(atoms)
    check.reading_changes_nothing(atoms)
    check.batching(atoms)
    for structure in atoms:
        check.symmetries(structure)
    check.paths_agree(atoms)
    check.forces_are_gradients(atoms[0])
    check.lone_atoms(atoms[0].numbers[0])
    check.edits(atoms)
    check.leaves_no_hooks()
    if any(old != frame.atoms for old, frame in zip(before, frames, strict=True)):
        raise ModelError(f"{potential.name}: changed the structures it was given")


class _Check:
    """The single promises; each raises on the first one broken."""

    def __init__(self, potential: Potential, rng: np.random.Generator) -> None:
        import torch

        self.potential = potential
        self.rng = rng
        self.all = range(len(potential.layers))
        # Rounding of a few message-passing layers; float32 forces lose more than energies.
        self.tolerance = 2e-4 if potential.dtype == torch.float32 else 1e-9

    def run(
        self,
        structures: Atoms | list[Atoms],
        layers: Iterable[int] | None = None,
        edits: Mapping[int, Edit] | None = None,
    ) -> WithForces:
        layers = self.all if layers is None else layers
        return self.potential.run(self.potential.batch(structures), layers, edits, forces=True)

    def equal(self, what: str, got: Any, expected: Any, tolerance: float = 0.0) -> None:
        """Compare tensors within the tolerance, relative to the larger of 1 and their scale."""
        tolerance = max(tolerance, self.tolerance)
        got = np.asarray(got.detach().cpu() if hasattr(got, "detach") else got, dtype=float)
        expected = np.asarray(
            expected.detach().cpu() if hasattr(expected, "detach") else expected, dtype=float
        )
        if got.shape != expected.shape:
            raise ModelError(
                f"{self.potential.name}: {what}: shape {got.shape} instead of {expected.shape}"
            )
        scale = max(1.0, np.abs(expected).max(initial=0.0))
        error = np.abs(got - expected).max(initial=0.0) / scale
        if not error <= tolerance:
            raise ModelError(
                f"{self.potential.name}: {what}: off by {error:.2e}, "
                f"more than the {tolerance:.0e} that rounding explains"
            )

    def outputs_equal(
        self, what: str, got: WithForces, expected: WithForces, order: Any = slice(None)
    ) -> None:
        self.equal(f"{what}: energies", got.energies, expected.energies)
        self.equal(f"{what}: site energies", got.site_energies, expected.site_energies[order])
        self.equal(f"{what}: forces", got.forces, expected.forces[order])
        for t in self.all:
            self.equal(f"{what}: layer {t}", got.features[t], expected.features[t][order])

    def layers(self, atoms: list[Atoms]) -> None:
        output = self.run(atoms)
        n = sum(len(a) for a in atoms)
        for layer in self.potential.layers:
            shape = tuple(output.features[layer.index].shape)
            if shape != (n, layer.dim):
                raise ModelError(
                    f"{self.potential.name}: layer {layer.index} has shape {shape}; its irreps "
                    f"{layer.irreps} promise {(n, layer.dim)}"
                )
        sums = np.zeros(len(atoms))
        np.add.at(sums, np.repeat(self._indices(atoms), [len(a) for a in atoms]),
                  output.site_energies.cpu().double().numpy())  # fmt: skip
        self.equal("site energies add up to energies", output.energies, sums)

    @staticmethod
    def _indices(atoms: list[Atoms]) -> np.ndarray:
        return np.arange(len(atoms))

    def reading_changes_nothing(self, atoms: list[Atoms]) -> None:
        read, unread = self.run(atoms), self.run(atoms, layers=())
        self.equal("energies with features read", read.energies, unread.energies)
        self.equal("forces with features read", read.forces, unread.forces)
        for t in self.all:
            alone = self.potential.run(self.potential.batch(atoms), [t], energies=False)
            self.equal(f"layer {t} read alone", alone.features[t], read.features[t])
            if alone.energies is not None:
                raise ModelError(f"{self.potential.name}: gave energies nobody asked for")

    def batching(self, atoms: list[Atoms]) -> None:
        together = self.run(atoms)
        first = 0
        for i, single in enumerate(atoms):
            alone = self.run(single)
            rows = slice(first, first + len(single))
            first += len(single)
            self.equal("batched against single: energy", together.energies[i : i + 1],
                       alone.energies)  # fmt: skip
            self.equal("batched against single: forces", together.forces[rows], alone.forces)
            for t in self.all:
                self.equal(f"batched against single: layer {t}", together.features[t][rows],
                           alone.features[t])  # fmt: skip

    def symmetries(self, atoms: Atoms) -> None:
        reference = self.run(atoms)
        order = self.rng.permutation(len(atoms))
        self.outputs_equal("permuted atoms", self.run(atoms[order]), reference, order)
        moved = atoms.copy()
        moved.translate(self.rng.uniform(-3, 3, 3))
        moved.wrap()
        self.outputs_equal("translated and wrapped", self.run(moved), reference)
        self._rotation(atoms, reference)

    def _rotation(self, atoms: Atoms, reference: WithForces) -> None:
        import torch
        from e3nn import o3

        # From angles, since e3nn loses half the digits on the way from a matrix to its angles.
        angles = torch.from_numpy(self.rng.uniform(0.3, 2.8, 3))
        turn = o3.angles_to_matrix(*angles)
        turned = atoms.copy()
        turned.set_cell(atoms.cell.array @ turn.numpy().T)
        turned.positions = atoms.positions @ turn.numpy().T
        output = self.run(turned)
        # Models built in float32 hold Clebsch-Gordan constants good to float32, whatever their
        # dtype now: that bounds how equivariant they are.
        constants = 1e-6
        forces = reference.forces.cpu().double() @ turn.T
        self.equal("rotated: energies", output.energies, reference.energies, constants)
        self.equal("rotated: forces", output.forces, forces, constants)
        for layer in self.potential.layers:
            matrix = o3.Irreps(layer.irreps).D_from_angles(*angles)
            expected = reference.features[layer.index].cpu().double() @ matrix.T
            what = f"rotated: layer {layer.index}"
            self.equal(what, output.features[layer.index], expected, constants)

    def forces_are_gradients(self, atoms: Atoms) -> None:
        import torch

        step = 1e-2 if self.potential.dtype == torch.float32 else 1e-4
        atom, axis = int(self.rng.integers(len(atoms))), int(self.rng.integers(3))
        energy = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[atom, axis] += sign * step
            energy.append(self.potential.run(self.potential.batch(moved)).energies.item())
        force = self.run(atoms, layers=()).forces[atom, axis].item()
        difference = abs(force + (energy[0] - energy[1]) / (2 * step))
        # The central difference is itself good to step² and to rounding over step.
        allowed = 2e-2 if self.potential.dtype == torch.float32 else 1e-5
        if not difference <= allowed * max(1.0, abs(force)):
            raise ModelError(
                f"{self.potential.name}: force {force:.6f} eV/Å is not minus the gradient of the "
                f"energy: finite differences are {difference:.1e} off"
            )

    def paths_agree(self, atoms: list[Atoms]) -> None:
        """Fused against reference: features relative to their layer's largest, forces in eV/Å."""
        import torch

        potential = self.potential
        if not potential.fast:
            return
        batch = potential.batch(atoms)
        fused = potential.run(batch, self.all, forces=True)
        potential.use_fast(False)
        try:
            reference = potential.run(batch, self.all, forces=True)
        finally:
            potential.use_fast(True)
        tolerance = 1e-4 if potential.dtype == torch.float32 else 1e-10
        pairs = {f"layer {t}": (fused.features[t], reference.features[t]) for t in self.all}
        for what, (got, expected) in (pairs | {"forces": (fused.forces, reference.forces)}).items():
            scale = 1.0 if what == "forces" else float(expected.abs().max())
            error = float((got - expected).abs().max()) / (scale or 1.0)
            if not error <= tolerance:
                raise ModelError(
                    f"{potential.name}: {what}: the fused path is off the reference path by "
                    f"{error:.2e}, more than {tolerance:.0e}"
                )

    def lone_atoms(self, number: int) -> None:
        cell = Atoms(numbers=[number], cell=np.eye(3) * 3.2 + 0.1, pbc=True)
        self.equal("one-atom cell: force", self.run(cell).forces, np.zeros((1, 3)))
        isolated = self.run(Atoms(numbers=[number]))
        self.equal("isolated atom: force", isolated.forces, np.zeros((1, 3)))
        if not all(bool(value.isfinite().all()) for value in isolated.features.values()):
            raise ModelError(f"{self.potential.name}: an isolated atom has non-finite features")

    def edits(self, atoms: list[Atoms]) -> None:
        import torch

        reference = self.run(atoms)
        for t in self.all:
            same = self.run(atoms, edits={t: lambda x: x * 1.0})
            self.outputs_equal(f"identity edit of layer {t}", same, reference)
            changed = self.run(atoms, edits={t: lambda x: x * 0.5})
            self.equal(f"edited layer {t}", changed.features[t], reference.features[t] * 0.5)
            if torch.equal(changed.energies, reference.energies):
                raise ModelError(
                    f"{self.potential.name}: halving layer {t} left every energy as it was, so "
                    "what comes after doesn't use the edited features"
                )

    def leaves_no_hooks(self) -> None:
        left = sum(len(m._forward_hooks) for m in self.potential.module.modules())
        if left:
            raise ModelError(f"{self.potential.name}: {left} hooks were left on the model")
        try:
            with quiet_library():  # e3nn compiles on that occasion what it hadn't yet
                pickle.dumps(self.potential.module)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise ModelError(
                f"{self.potential.name}: the model can't be pickled any more ({error})"
            ) from error


def _structures(potential: Potential) -> list[Atoms]:
    """A rattled rock-salt cell, a slab and a cluster of two species that the potential knows."""
    from ase.build import bulk

    first, second = (potential.species[0], potential.species[-1])
    crystal = bulk("NaCl", "rocksalt", a=5.2, cubic=True)
    crystal.numbers = np.where(crystal.numbers == 11, first, second)
    crystal.rattle(0.1, seed=1)
    slab = crystal.copy()
    slab.rattle(0.05, seed=2)
    slab.pbc = (True, True, False)
    cluster = Atoms(numbers=crystal.numbers[:5], positions=crystal.positions[:5])
    return [crystal, slab, cluster]
