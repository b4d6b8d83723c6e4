"""Splits by group, never by atom: which rows train a probe, choose its penalty and test it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mpprobe.errors import ProbeError
from mpprobe.probes.ridge import InnerFold, leave_one_out
from mpprobe.structures.frame import Frame

IN_DOMAIN = ("bulk", "strained")


@dataclass(frozen=True)
class Fold:
    """One training set.

    Attributes:
        train: cells to train on.
        inner: (train cells, validation cells) within ``train``, to choose the penalty by; what is
            left out is of the same kind as in the split itself.
        held_out: names of the groups, compounds, elements or domains the fold is tested on.
    """

    train: tuple[int, ...]
    inner: tuple[InnerFold, ...]
    held_out: tuple[str, ...]


@dataclass(frozen=True)
class Split:
    """A split of all atoms of a list of structures, one row an atom, in the structures' order.

    Attributes:
        name: ``structure``, ``compound``, ``element`` or ``domain``.
        cells: (n_atoms,) the cell of each atom, such that the training set of every fold and
            inner fold is a union of cells; −1 for atoms never trained on.
        test: (n_atoms,) the fold each atom is tested in, so at most one; −1 for none.
        folds: the folds; fewer than asked for where there are too few groups.
    """

    name: str
    cells: np.ndarray
    test: np.ndarray
    folds: tuple[Fold, ...]

    @property
    def scored(self) -> np.ndarray:
        """(n_atoms,) whether each atom is tested in some fold."""
        return self.test >= 0

    def training_rows(self, fold: int) -> np.ndarray:
        """(n_atoms,) whether each atom is in the training set of ``fold``."""
        return np.isin(self.cells, self.folds[fold].train)


@dataclass(frozen=True)
class _Table:
    """The labels of a list of frames as arrays, one row a frame."""

    frames: Sequence[Frame]
    n_folds: int
    in_domain: tuple[str, ...]
    rng: np.random.Generator

    def labels(self, name: str) -> np.ndarray:
        return np.array([getattr(f, name) for f in self.frames])

    @property
    def sizes(self) -> np.ndarray:
        return np.array([len(f) for f in self.frames])

    def on_atoms(self, values: np.ndarray) -> np.ndarray:
        return np.repeat(values, self.sizes)


def make_split(
    name: str,
    frames: Sequence[Frame],
    *,
    n_folds: int = 5,
    seed: int = 0,
    in_domain: Sequence[str] = IN_DOMAIN,
) -> Split:
    """Split the atoms of ``frames``.

    - ``structure``: groups of structures are held out, balanced in atoms, every compound spread
      over the folds as evenly as may be.
    - ``compound``: compounds are held out, balanced in atoms.
    - ``element``: elements are held out. A fold trains on the structures with none of its
      elements and is tested on the atoms of its elements only; elements that are in every
      structure can't be held out and are not tested.
    - ``domain``: trained in domain. Atoms of other domains are tested on the map of all in-domain
      structures, those in domain by groups of structures held out.

    Args:
        name: one of the above.
        frames: the structures, whose atoms in order are the rows.
        n_folds: folds asked for; there are fewer where there are fewer groups to hold out.
        seed: the assignment to folds is random with it, and the same for the same seed.
        in_domain: the domains that ``domain`` trains on.

    Raises:
        ProbeError: an unknown split, too few groups to split, no structure in or out of domain,
            or a fold left with nothing to train on.
    """
    if name not in SPLITS:
        raise ProbeError(f"unknown split {name!r}: choose one of {', '.join(SPLITS)}")
    if n_folds < 2:
        raise ProbeError(f"a split needs at least 2 folds, got {n_folds}")
    if not len(frames):
        raise ProbeError(f"split {name!r}: there is no structure to split")
    table = _Table(frames, n_folds, tuple(in_domain), np.random.default_rng(seed))
    return SPLITS[name](table)


def _structure(table: _Table) -> Split:
    return _held_out("structure", table, "group", strata="compound")


def _compound(table: _Table) -> Split:
    return _held_out("compound", table, "compound", strata=None)


def _held_out(name: str, table: _Table, unit: str, strata: str | None) -> Split:
    """Hold out units, which are labels of the frames."""
    units = table.labels(unit)
    n_folds = _count_folds(name, f"{unit}s", units, table.n_folds)
    stratum = table.labels(strata) if strata else np.zeros(len(units), dtype=int)
    test = _deal(units, table.sizes, stratum, n_folds, table.rng)
    cells = _cells(test, units, table)
    folds = tuple(
        _leave_out_fold(name, np.unique(cells[test != k]), np.unique(units[test == k]))
        for k in range(n_folds)
    )
    return Split(name, table.on_atoms(cells), table.on_atoms(test), folds)


def _domain(table: _Table) -> Split:
    domain = table.labels("domain")
    inside = np.isin(domain, table.in_domain)
    wanted = ", ".join(table.in_domain)
    if not inside.any():
        raise ProbeError(
            f"split 'domain': no structure is in domain ({wanted}); domains present: "
            f"{', '.join(np.unique(domain))}; set info['domain'] or choose others as in-domain"
        )
    if inside.all():
        raise ProbeError(
            f"split 'domain': every structure is in domain ({wanted}); add surfaces, clusters, "
            "... labelled by info['domain'], or use the split 'structure'"
        )
    frames = [f for f, keep in zip(table.frames, inside, strict=True) if keep]
    within = _held_out("domain", replace(table, frames=frames), "group", strata="compound")
    on_atoms = table.on_atoms(inside)
    cells = np.full(len(on_atoms), -1)
    test = np.full(len(on_atoms), len(within.folds))
    cells[on_atoms], test[on_atoms] = within.cells, within.test
    last = _leave_out_fold("domain", np.unique(within.cells), np.unique(domain[~inside]))
    return Split("domain", cells, test, (*within.folds, last))


def _element(table: _Table) -> Split:
    from ase.data import chemical_symbols

    numbers = np.concatenate([f.numbers for f in table.frames])
    frame = table.on_atoms(np.arange(len(table.frames)))
    elements, index = np.unique(numbers, return_inverse=True)
    present = np.zeros((len(table.frames), len(elements)), dtype=bool)
    present[frame, index] = True
    # What is everywhere can't be held out: there would be nothing left to train on.
    candidates = np.flatnonzero(~present.all(axis=0))
    n_folds = _count_folds("element", "elements", candidates, table.n_folds)
    part = np.full(len(elements), -1)
    sizes = np.bincount(index, minlength=len(elements))[candidates]
    same = np.zeros(len(candidates), dtype=int)
    part[candidates] = _deal(candidates, sizes, same, n_folds, table.rng)
    touched = np.stack([present[:, part == k].any(axis=1) for k in range(n_folds)], axis=1)
    # An atom's cell: the folds that its structure touches, and the fold of its own element.
    code, cells = np.unique(
        np.column_stack([touched[frame], part[index]]), axis=0, return_inverse=True
    )
    symbols = np.array([chemical_symbols[z] for z in elements])
    folds = tuple(
        _element_fold(k, code[:, :-1].astype(bool), code[:, -1], tuple(symbols[part == k].tolist()))
        for k in range(n_folds)
    )
    return Split("element", cells.ravel(), part[index], folds)


def _element_fold(k: int, touched: np.ndarray, part: np.ndarray, names: tuple[str, ...]) -> Fold:
    """Train on the cells of structures without fold k's elements; inside, hold out other folds'.

    ``touched`` (n_cells, n_folds) and ``part`` (n_cells,) say what each cell is.
    """
    train = ~touched[:, k]
    if not train.any():
        raise ProbeError(
            f"split 'element': every structure contains one of {', '.join(names)}, so nothing is "
            "left to train on: ask for more folds, or add structures without them"
        )
    inner = []
    for j in range(touched.shape[1]):
        rest, validation = train & ~touched[:, j], train & (part == j)
        if rest.any() and validation.any():
            inner.append((_labels(rest), _labels(validation)))
    if not inner:
        return _leave_out_fold("element", np.flatnonzero(train), np.array(names))
    return Fold(_labels(train), tuple(inner), names)


def _labels(chosen: np.ndarray) -> tuple[int, ...]:
    return tuple(np.flatnonzero(chosen).tolist())


def _leave_out_fold(name: str, cells: np.ndarray, held_out: np.ndarray) -> Fold:
    """A fold whose inner folds leave out one training cell each."""
    train = tuple(cells.tolist())
    inner = leave_one_out(train)
    if not inner:
        raise ProbeError(
            f"split {name!r}: with {', '.join(held_out[:3])} held out, too little is left to "
            "choose the penalty by: give more structures"
        )
    return Fold(train, inner, tuple(held_out.tolist()))


def _count_folds(name: str, what: str, units: np.ndarray, asked: int) -> int:
    n_units = len(np.unique(units))
    if n_units < 2:
        raise ProbeError(
            f"split {name!r}: needs at least 2 {what} to hold out, got {n_units}: give more "
            "structures, or choose another split"
        )
    return min(asked, n_units)


def _cells(test: np.ndarray, units: np.ndarray, table: _Table) -> np.ndarray:
    """The cell of each frame: its fold, halved or cut in three where there are few folds.

    So that the training part of a fold always has three cells or more to choose the penalty by,
    where there are as many units. One compound left to train on is cut by groups of structures.
    """
    n_folds = test.max() + 1
    n_parts = {2: 3, 3: 2}.get(n_folds, 1)
    part = np.zeros_like(test)
    for k in range(n_folds):
        rows = test == k
        alone = n_folds == 2 and len(np.unique(units[rows])) == 1
        finer = table.labels("group")[rows] if alone else units[rows]
        same = np.zeros(rows.sum(), dtype=int)
        part[rows] = _deal(finer, table.sizes[rows], same, n_parts, table.rng)
    return test * n_parts + part


def _deal(
    units: np.ndarray,
    sizes: np.ndarray,
    strata: np.ndarray,
    n_parts: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """The part each row goes to; rows of one unit stay together, parts get alike in size.

    Heavy units are dealt first, those within a factor of two of each other in random order; each
    goes to the part with least of its stratum, among equals to the part with least in all.
    """
    _, first, index = np.unique(units, return_index=True, return_inverse=True)
    _, stratum = np.unique(strata[first], return_inverse=True)
    weight = np.bincount(index, sizes)
    load = np.zeros((stratum.max() + 1, n_parts))
    part = np.zeros(len(first), dtype=int)
    shuffled = rng.permutation(len(first))
    order = shuffled[np.argsort(-np.floor(np.log2(weight[shuffled].clip(min=1))), kind="stable")]
    for unit in order:
        total, own = load.sum(axis=0), load[stratum[unit]]
        part[unit] = np.lexsort((total, own))[0]
        load[stratum[unit], part[unit]] += weight[unit]
    return part[index]


SPLITS: dict[str, Callable[[_Table], Split]] = {
    "structure": _structure,
    "compound": _compound,
    "element": _element,
    "domain": _domain,
}
