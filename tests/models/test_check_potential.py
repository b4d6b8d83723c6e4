"""The public contract check finds a broken promise, whichever it is."""

from dataclasses import replace

import pytest
import torch

import mpprobe
from mpprobe import check_potential
from mpprobe.errors import ModelError
from mpprobe.models.hooks import Tap
from mpprobe.models.mace import MACE


class WrongForces(MACE):
    def run(self, *args, forces=False, **options):
        output = super().run(*args, forces=forces, **options)
        return replace(output, forces=output.forces * 1.01) if forces else output


class WrongSum(MACE):
    def run(self, *args, **options):
        output = super().run(*args, **options)
        return output if output.energies is None else replace(output, energies=output.energies + 1)


class KnowsWhereTheOriginIs(MACE):
    def _site_energies(self, batch):
        return super()._site_energies(batch) + 1e-3 * batch.positions[:, 0]


class KnowsTheOrder(MACE):
    def _site_energies(self, batch):
        first = torch.bincount(batch.frame).cumsum(0) - torch.bincount(batch.frame)
        return super()._site_energies(batch) + 1e-3 * (
            torch.arange(batch.n_atoms) - first[batch.frame]
        )


class KnowsTheBatch(MACE):
    def _site_energies(self, batch):
        return super()._site_energies(batch) + 1e-3 * batch.n_frames


class KnowsTheAxes(MACE):
    def _site_energies(self, batch):
        start, _ = batch.edge_index
        height = batch.edge_vectors()[:, 2].abs()
        added = torch.zeros(batch.n_atoms, dtype=height.dtype).index_add(0, start, height)
        return super()._site_energies(batch) + 1e-3 * added


class OtherLayout(MACE):
    """Vectors component by component, as accelerated kernels keep them."""

    def _tap(self, layer):
        def read(x):
            vectors = x[:, 8:].reshape(len(x), 8, 3)
            return torch.cat([x[:, :8], vectors.transpose(1, 2).reshape(len(x), 24)], dim=1)

        def write(x, new):
            vectors = new[:, 8:].reshape(len(x), 3, 8)
            return torch.cat([new[:, :8], vectors.transpose(1, 2).reshape(len(x), 24)], dim=1)

        tap = super()._tap(layer)
        return Tap(tap.module, read, write) if layer == 1 else tap


class DeafToEdits(MACE):
    def _tap(self, layer):
        return replace(super()._tap(layer), write=lambda x, new: x)


class DisturbedByReading(MACE):
    def _tap(self, layer):
        return replace(super()._tap(layer), read=lambda x: x.mul_(1.001))


class LeavesAHook(MACE):
    def run(self, *args, **options):
        self.module.products[0].register_forward_hook(_hook)
        return super().run(*args, **options)


def _hook(module, inputs, output):
    return output


class ChangesTheStructures(MACE):
    def batch(self, structures):
        for frame in mpprobe.structures.as_frames(structures):
            frame.atoms.translate(-1e-3)
        return super().batch(structures)


class TooManyEnergies(MACE):
    def run(self, batch, layers=(), edits=None, *, energies=True, **options):
        return super().run(batch, layers, edits, energies=True, **options)


BROKEN = {
    WrongForces: "is not minus the gradient of the energy",
    WrongSum: "site energies add up to energies",
    KnowsWhereTheOriginIs: "translated and wrapped: energies",
    KnowsTheOrder: "permuted atoms: site energies",
    KnowsTheBatch: "batched against single: energy",
    KnowsTheAxes: "rotated: energies",
    OtherLayout: "rotated: layer 1",
    DisturbedByReading: "energies with features read",
    DeafToEdits: "halving layer 0 left every energy as it was",
    LeavesAHook: "hooks were left on the model",
    ChangesTheStructures: "changed the structures it was given",
    TooManyEnergies: "gave energies nobody asked for",
}


@pytest.fixture
def potential(mace_file):
    return mpprobe.load(mace_file("8x0e+8x1o"), dtype="float64", trust_checkpoint=True)


def test_the_sound_one_passes_on_structures_of_its_own(potential):
    check_potential(potential)


@pytest.mark.parametrize("kind", BROKEN, ids=lambda kind: kind.__name__)
def test_a_broken_promise_is_found(kind, potential, ionic_cells):
    potential.use_fast(False)  # whose passes may be shared out among threads, by structure
    potential.__class__ = kind
    with pytest.raises(ModelError, match=BROKEN[kind]) as caught:
        check_potential(potential, [atoms.copy() for atoms in ionic_cells[1:]])
    assert str(caught.value).startswith("8x0e_8x1o.model: ")
    assert "\n" not in str(caught.value)


def test_irreps_that_are_not_the_features_are_found(potential, ionic_cells):
    potential.layers = (
        potential.layers[0],
        replace(potential.layers[1], irreps="8x0e"),
        potential.layers[2],
    )
    with pytest.raises(ModelError, match=r"layer 1 has shape \(13, 32\); its irreps 8x0e promise"):
        check_potential(potential, ionic_cells[1:])
