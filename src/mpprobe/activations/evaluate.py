"""Energies and forces of many structures, batch by batch, of a potential as it is or edited."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mpprobe.activations.capture import Progress, batch_limit, batches
from mpprobe.activations.finite import check_features, check_result
from mpprobe.activations.rows import Rows
from mpprobe.models.graph import Batch
from mpprobe.models.hooks import Edit
from mpprobe.models.potential import Potential
from mpprobe.structures import Frame

# Gradients are kept for every atom of a batch, so it holds fewer than one for features.
MAX_ATOMS = 500


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a potential gives for some structures, atoms in their order.

    Attributes:
        energies: eV, (n_frames,).
        site_energies: eV, (n_atoms,).
        forces: eV/Å, (n_atoms, 3).
        features: node features of the layers asked for, after their edits, (n_atoms, layer.dim).
    """

    energies: np.ndarray
    site_energies: np.ndarray
    forces: np.ndarray
    features: Mapping[int, np.ndarray]


class Evaluator:
    """A potential and some structures, whose graphs are built once for many edits.

    Args:
        potential: to run.
        frames: structures.
        max_atoms: most atoms in one forward pass; a larger structure goes alone.

    Raises:
        ModelError: an element that the potential doesn't know.
    """

    def __init__(
        self, potential: Potential, frames: Sequence[Frame], max_atoms: int | None = None
    ) -> None:
        self.potential = potential
        self.frames = list(frames)
        self._batches = list(_batches(potential, self.frames, max_atoms))

    def run(
        self,
        edits: Mapping[int, Edit] | None = None,
        layers: Iterable[int] = (),
    ) -> Evaluation:
        """Energies, forces and node features of all structures, with edits applied.

        An edit is called once a batch, so what it does to an atom must not depend on others; one
        that has a method ``for_atoms`` is asked for the edit of each batch's atoms, a slice of all.

        Raises:
            ModelError: a result that isn't finite; see also :meth:`Potential.run`.
        """
        return _joined([
            _evaluation(self.potential, part, batch, own, layers)
            for part, batch, own in self._each(edits)
        ])  # fmt: skip

    def features(
        self, layers: Iterable[int], edits: Mapping[int, Edit] | None = None
    ) -> dict[int, np.ndarray]:
        """Node features alone, (n_atoms, layer.dim) each, which stops after the deepest layer.

        Raises:
            ModelError: features that aren't finite.
        """
        layers = list(layers)
        outputs = [
            self.potential.run(batch, layers, own, energies=False).features
            for _, batch, own in self._each(edits)
        ]
        found = {t: np.concatenate([o[t].cpu().numpy() for o in outputs]) for t in layers}
        check_features(found, Rows.of(self.frames), self.frames)
        return found

    def _each(
        self, edits: Mapping[int, Edit] | None
    ) -> Iterator[tuple[list[Frame], Batch, dict[int, Edit]]]:
        """Every batch with its frames and the edits of its atoms."""
        first = 0
        for part, batch in self._batches:
            atoms = slice(first, first + batch.n_atoms)
            yield part, batch, {t: _of_atoms(edit, atoms) for t, edit in (edits or {}).items()}
            first = atoms.stop

    def slopes(self, layer: int, columns: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """∂E/∂δ_i where atom i's features move by δ_i along a direction, from one backward pass.

        Args:
            layer: whose features.
            columns: of one order, (C, 2l + 1).
            direction: weights of the channels, (C,).

        Returns:
            eV per unit of δ, (n_atoms, 2l + 1).

        Raises:
            ModelError: a derivative that isn't finite.
        """
        import torch

        found = []
        for part, batch in self._batches:
            shift = torch.zeros(
                batch.n_atoms, columns.shape[1], dtype=self.potential.dtype,
                device=self.potential.device, requires_grad=True,
            )  # fmt: skip
            weights, place = torch.as_tensor(direction).to(shift), columns.ravel()

            def move(
                x: torch.Tensor,
                shift: torch.Tensor = shift,
                weights: torch.Tensor = weights,
                place: np.ndarray = place,
            ) -> torch.Tensor:
                change = weights[:, None] * shift[:, None]
                index = torch.as_tensor(place, device=x.device)
                return x.index_add(1, index, change.reshape(len(x), -1).to(x.dtype))

            output = self.potential.run(batch, edits={layer: move}, keep_graph=True)
            (gradient,) = torch.autograd.grad(output.energies.sum(), shift)
            found.append(gradient.cpu().numpy().astype(np.float64))
            ends = np.cumsum([len(frame) for frame in part])
            for frame, end in zip(part, ends, strict=True):
                own = found[-1][end - len(frame) : end]
                check_result(self.potential, frame, "derivatives of the energy", own)
        return np.concatenate(found)


def evaluate(
    potential: Potential,
    frames: Sequence[Frame],
    max_atoms: int | None = None,
    progress: Progress | None = None,
) -> Iterator[tuple[float, np.ndarray]]:
    """Energy (eV) and forces (eV/Å, (n_atoms, 3), float64) of each frame; one batch is kept.

    Raises:
        ModelError: an element the potential doesn't know, or a result that isn't finite.
    """
    done, total = 0, sum(map(len, frames))
    for part, batch in _batches(potential, frames, max_atoms):
        found = _evaluation(potential, part, batch)
        ends = np.cumsum([len(frame) for frame in part])[:-1]
        yield from zip(found.energies.tolist(), np.split(found.forces, ends), strict=True)
        done += len(found.forces)
        if progress is not None:
            progress(done, total)


def _of_atoms(edit: Edit, atoms: slice) -> Edit:
    return edit.for_atoms(atoms) if hasattr(edit, "for_atoms") else edit


def _batches(
    potential: Potential, frames: Sequence[Frame], max_atoms: int | None
) -> Iterator[tuple[list[Frame], Batch]]:
    limit = batch_limit(potential, max_atoms)
    if max_atoms is None:
        limit = min(limit, MAX_ATOMS)
    for chosen in batches(frames, limit):
        part = [frames[i] for i in chosen]
        yield part, potential.batch(part)


def _evaluation(
    potential: Potential,
    part: Sequence[Frame],
    batch: Batch,
    edits: Mapping[int, Edit] | None = None,
    layers: Iterable[int] = (),
) -> Evaluation:
    output = potential.run(batch, layers, edits, forces=True)
    energies, site, forces = (
        t.cpu().numpy().astype(np.float64)
        for t in (output.energies, output.site_energies, output.forces)
    )
    features = {t: value.cpu().numpy() for t, value in output.features.items()}
    found = Evaluation(energies, site, forces, features)
    _check_finite(potential, part, batch, edits, found)
    return found


def _check_finite(
    potential: Potential,
    part: Sequence[Frame],
    batch: Batch,
    edits: Mapping[int, Edit] | None,
    found: Evaluation,
) -> None:
    check_features(found.features, Rows.of(part), part)
    firsts = np.cumsum([0, *(len(frame) for frame in part)])
    forces = np.split(found.forces, firsts[1:-1])
    # Energies first: in a derivative, one structure's NaN can spoil others of the batch.
    for what, values in (("an energy", found.energies), ("forces", forces)):
        for frame, own, first in zip(part, values, firsts, strict=False):
            check_result(potential, frame, what, own, batch=batch, edits=edits, first=int(first))


def _joined(parts: Sequence[Evaluation]) -> Evaluation:
    energies, site, forces = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("energies", "site_energies", "forces")
    )
    features = {t: np.concatenate([part.features[t] for part in parts]) for t in parts[0].features}
    return Evaluation(energies, site, forces, features)
