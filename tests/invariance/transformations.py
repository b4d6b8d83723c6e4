"""The same structures described otherwise: turned, renumbered, shifted, in other cells."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from scipy.spatial.transform import Rotation

from mpprobe.structures import Frame

#: Whole-numbered changes of the lattice vectors with determinant one: of three and of two.
OTHER_VECTORS = np.array([[1, 1, 0], [0, 1, 0], [0, -1, 1]])
OTHER_IN_PLANE = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 1]])


@dataclass(frozen=True)
class Described:
    """Structures after a transformation, and how to go back.

    Attributes:
        frames: the structures, with the same labels.
        order: for each structure the old index of each new atom.
        turns: for each the rotation R, (3, 3): a new vector is R times the old one.
    """

    frames: list[Frame]
    order: list[np.ndarray]
    turns: list[np.ndarray]

    def back(self, values: np.ndarray) -> np.ndarray:
        """Per-atom values of all structures in the old order of atoms."""
        parts = np.split(values, np.cumsum([len(o) for o in self.order])[:-1])
        return np.concatenate(
            [part[np.argsort(o)] for part, o in zip(parts, self.order, strict=True)]
        )

    def turned_back(self, vectors: np.ndarray) -> np.ndarray:
        """Per-atom vectors, (n_atoms, ..., 3), in the old order and the old orientation."""
        turns = np.repeat(self.turns, [len(o) for o in self.order], axis=0)
        return self.back(np.einsum("nba,n...b->n...a", turns, vectors))

    def new_index(self, structure: int, atom: int) -> int:
        """Where an old atom is now."""
        return int(np.argsort(self.order[structure])[atom])


def as_it_is(frames: Sequence[Frame]) -> Described:
    """No transformation at all."""
    return _described(frames, lambda atoms, rng: (atoms.copy(), None, None))


def rotated(frames: Sequence[Frame]) -> Described:
    """Each group of structures is turned at random; vectors go along."""

    def turn(atoms, rng):
        R = Rotation.random(random_state=rng.integers(2**31)).as_matrix()
        new = atoms.copy()
        new.set_cell(atoms.cell.array @ R.T)
        new.positions = atoms.positions @ R.T
        return new, None, R

    return _described(frames, turn)


def quarter_turned(frames: Sequence[Frame]) -> Described:
    """As rotated, but x, y and z become each other, so that sizes of components stay."""

    def turn(atoms, rng):
        R = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
        new = atoms.copy()
        new.set_cell(atoms.cell.array @ R.T)
        new.positions = atoms.positions @ R.T
        return new, None, R

    return _described(frames, turn)


def permuted(frames: Sequence[Frame]) -> Described:
    """The atoms of each structure come in another order."""

    def renumber(atoms, rng):
        order = rng.permutation(len(atoms))
        return atoms[order], order, None

    return _described(frames, renumber)


def shifted(frames: Sequence[Frame]) -> Described:
    """Another origin, and all atoms back in the cell."""

    def shift(atoms, rng):
        new = atoms.copy()
        new.positions += rng.uniform(-9, 9, 3)
        new.wrap()
        return new, None, None

    return _described(frames, shift)


def in_another_cell(frames: Sequence[Frame]) -> Described:
    """Other lattice vectors of the same lattice, and all atoms in the cell that they span."""

    def change(atoms, rng):
        new = atoms.copy()
        if atoms.pbc.any():
            vectors = OTHER_VECTORS if atoms.pbc.all() else OTHER_IN_PLANE
            new.set_cell(vectors @ atoms.cell.array)
            new.wrap()
        return new, None, None

    return _described(frames, change)


#: By name. Those that leave every component's size as it is are told apart in ``rotation``.
TRANSFORMATIONS: dict[str, Callable[[Sequence[Frame]], Described]] = {
    "rotation": rotated,
    "quarter turn": quarter_turned,
    "permutation": permuted,
    "origin": shifted,
    "cell": in_another_cell,
}


def _described(frames: Sequence[Frame], change) -> Described:
    """Each structure changed as all of its group are."""
    found, orders, turns = [], [], []
    for frame in frames:
        rng = np.random.default_rng(zlib.crc32(frame.group.encode()))
        atoms, order, turn = change(frame.atoms, rng)
        order = np.arange(len(atoms)) if order is None else order
        turn = np.eye(3) if turn is None else turn
        _keep_results(atoms, frame.atoms, order, turn)
        found.append(replace(frame, atoms=atoms))
        orders.append(order)
        turns.append(turn)
    return Described(found, orders, turns)


def _keep_results(new: Atoms, old: Atoms, order: np.ndarray, turn: np.ndarray) -> None:
    results = getattr(old.calc, "results", None)
    if results is None:
        return
    kept = dict(results)
    if "forces" in kept:
        kept["forces"] = kept["forces"][order] @ turn.T
    new.calc = SinglePointCalculator(new, **kept)
