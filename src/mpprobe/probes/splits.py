"""Splits by group, never by atom: which rows train a probe, choose its penalty and test it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mpprobe.errors import ProbeError
from mpprobe.probes.ridge import InnerFold
from mpprobe.structures.frame import Frame

IN_DOMAIN = ("bulk", "strained")

#: Cells of a first assignment, at most: what its jackknife leaves out one by one.
CELLS = 40


@dataclass(frozen=True)
class Fold:
    """One training set.

    Attributes:
        train: cells to train on.
        inner: (train cells, validation cells) within ``train``, to choose the penalty by; what is
            left out is of the same kind as in the split itself.
        held_out: names of the groups, compounds, elements or domains the fold is tested on.
        test: the cells it is tested on, where these are whole cells; else empty.
    """

    train: tuple[int, ...]
    inner: tuple[InnerFold, ...]
    held_out: tuple[str, ...]
    test: tuple[int, ...] = ()


@dataclass(frozen=True)
class Split:
    """A split of all atoms of a list of structures, one row an atom, in the structures' order.

    Attributes:
        name: ``structure``, ``compound``, ``element`` or ``domain``.
        cells: (n_atoms,) the cell of each atom, such that the training set of every fold and
            inner fold is a union of cells; −1 for atoms never trained on.
        test: (n_atoms,) the fold each atom is tested in, so at most one; −1 for none.
        folds: the folds; fewer than asked for where there are too few groups.
        unit: (n_atoms,) index of what is held out together with the atom: its group of structures,
            compound or element.
    """

    name: str
    cells: np.ndarray
    test: np.ndarray
    folds: tuple[Fold, ...]
    unit: np.ndarray

    @property
    def scored(self) -> np.ndarray:
        """(n_atoms,) whether each atom is tested in some fold."""
        return self.test >= 0

    @property
    def by_cells(self) -> bool:
        """Whether every fold is tested on whole cells, each made of whole units."""
        return all(fold.test for fold in self.folds)

    def taken(self, chosen: np.ndarray) -> Split:
        """The same split of those atoms for which ``chosen`` (n_atoms,) is true."""
        return replace(
            self, cells=self.cells[chosen], test=self.test[chosen], unit=self.unit[chosen]
        )

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
    n_cells: int

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
    assignment: int = 0,
    in_domain: Sequence[str] = IN_DOMAIN,
) -> Split:
    """Split the atoms of ``frames``.

    - ``structure``: groups of structures are held out, balanced in atoms, every compound spread
      over the folds as evenly as may be.
    - ``compound``: compounds are held out, balanced in atoms; those that share a group of
      structures (copies under two labels) together.
    - ``element``: elements are held out. A fold trains on the structures with none of its
      elements and is tested on the atoms of its elements only; elements that are in every
      structure can't be held out and are not tested.
    - ``domain``: trained in domain. Atoms of other domains are tested on the map of all in-domain
      structures, those in domain by groups of structures held out. A structure of another domain
      that shares its group with one in domain is not tested.

    Args:
        name: one of the above.
        frames: the structures, whose atoms in order are the rows.
        n_folds: folds asked for; there are fewer where there are fewer groups to hold out.
        seed: the assignment to folds is random with it, and the same for the same seed.
        assignment: number of the random assignment, for several with one seed. Only the first, 0,
            has cells smaller than its folds and inner folds ask for.
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
    rng = np.random.default_rng([seed, assignment] if assignment else seed)
    table = _Table(frames, n_folds, tuple(in_domain), rng, 1 if assignment else CELLS)
    return SPLITS[name](table)


def _structure(table: _Table) -> Split:
    return _held_out("structure", table, "group", strata="compound")


def _compound(table: _Table) -> Split:
    return _held_out("compound", table, "compound", strata=None)


def _held_out(name: str, table: _Table, unit: str, strata: str | None) -> Split:
    """Hold out units, which are labels of the frames."""
    units = _joined(table.labels(unit), table.labels("group"))
    n_folds = _count_folds(name, f"{unit}s", units, table.n_folds)
    stratum = table.labels(strata) if strata else np.zeros(len(units), dtype=int)
    test = _deal(units, table.sizes, stratum, n_folds, table.rng)
    inner, cells = _cells(test, units, table)
    folds = tuple(
        _leave_out_fold(name, inner, cells, test != k, np.unique(table.labels(unit)[test == k]))
        for k in range(n_folds)
    )
    index = np.unique(units, return_inverse=True)[1]
    return Split(
        name, table.on_atoms(cells), table.on_atoms(test), folds, table.on_atoms(index)
    )  # fmt: skip


def _joined(units: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Labels of units, those that share a group under the name of the first of them."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    names, unit = np.unique(units, return_inverse=True)
    group = np.unique(groups, return_inverse=True)[1] + len(names)
    n = group.max() + 1
    links = coo_array((np.ones(len(unit)), (unit, group)), shape=(n, n))
    part = connected_components(links, directed=False)[1][: len(names)]
    first = np.unique(part, return_index=True, return_inverse=True)
    return names[first[1][first[2]]][unit]


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
    on_atoms, group = table.on_atoms(inside), table.labels("group")
    cells = np.full(len(on_atoms), -1)
    test = np.full(len(on_atoms), len(within.folds))
    cells[on_atoms], test[on_atoms] = within.cells, within.test
    outside = ~inside & ~np.isin(group, group[inside])
    if not outside.any():
        raise ProbeError(
            "split 'domain': every structure out of domain shares its group with one in domain, so "
            "none can be tested; give other groups (info['group']), or other domains as in-domain"
        )
    test[table.on_atoms(~inside & ~outside)] = -1
    train = tuple(np.unique(within.cells).tolist())
    inner = tuple(_without(train, fold.test) for fold in within.folds)
    last = Fold(train, inner, tuple(np.unique(domain[outside]).tolist()))
    unit = table.on_atoms(np.unique(group, return_inverse=True)[1])
    return Split("domain", cells, test, (*within.folds, last), unit)


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
    return Split("element", cells.ravel(), part[index], folds, index)


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
        inner = [_without(_labels(train), (cell,)) for cell in _labels(train)]
    return _checked("element", Fold(_labels(train), tuple(inner), names))


def _labels(chosen: np.ndarray) -> tuple[int, ...]:
    return tuple(np.flatnonzero(chosen).tolist())


def _leave_out_fold(
    name: str, inner: np.ndarray, cells: np.ndarray, train: np.ndarray, held_out: np.ndarray
) -> Fold:
    """A fold whose inner folds leave out one training part each.

    ``inner``, ``cells`` and ``train``, one value a frame: the part that is left out inside, the
    cell, and whether the fold trains on it.
    """
    used = tuple(np.unique(cells[train]).tolist())
    parts = [np.unique(cells[train & (inner == part)]).tolist() for part in np.unique(inner[train])]
    test = tuple(np.unique(cells[~train]).tolist())
    folds = tuple(_without(used, tuple(part)) for part in parts)
    return _checked(name, Fold(used, folds, tuple(held_out.tolist()), test))


def _without(
    train: tuple[int, ...], part: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """An inner fold that leaves out a part of the training cells."""
    return tuple(cell for cell in train if cell not in part), part


def _checked(name: str, fold: Fold) -> Fold:
    """The fold with those of its inner folds that leave something to train on.

    Raises:
        ProbeError: none does.
    """
    fold = replace(fold, inner=tuple(inner for inner in fold.inner if inner[0]))
    if not fold.inner:
        raise ProbeError(
            f"split {name!r}: with {', '.join(fold.held_out[:3])} held out, too little is left to "
            "choose the penalty by: give more structures"
        )
    return fold


def _count_folds(name: str, what: str, units: np.ndarray, asked: int) -> int:
    n_units = len(np.unique(units))
    if n_units < 2:
        raise ProbeError(
            f"split {name!r}: needs at least 2 {what} to hold out, got {n_units}: give more "
            "structures, or choose another split"
        )
    return min(asked, n_units)


def _cells(test: np.ndarray, units: np.ndarray, table: _Table) -> tuple[np.ndarray, np.ndarray]:
    """The part of each frame that is left out to choose the penalty by, and its cell.

    Parts are the folds, halved or cut in three where there are few, so that the training part of
    a fold always has three or more, where there are as many units; one compound left to train on
    is cut by groups of structures. Cells cut the parts further where there may be more of them.
    """
    n_folds = int(test.max()) + 1
    n_parts = {2: 3, 3: 2}.get(n_folds, 1)
    n_cells = max(table.n_cells // (n_folds * n_parts), 1)
    part, cell = np.zeros_like(test), np.zeros_like(test)
    for k in range(n_folds):
        rows = test == k
        alone = n_folds == 2 and len(np.unique(units[rows])) == 1
        finer = table.labels("group")[rows] if alone else units[rows]
        part[rows] = _shared(finer, table.sizes[rows], n_parts, table.rng)
        for j in range(n_parts):
            own = rows & (part == j)
            if own.any():
                cell[own] = _shared(finer[own[rows]], table.sizes[own], n_cells, table.rng)
    inner = test * n_parts + part
    return inner, inner * n_cells + cell


def _shared(
    units: np.ndarray, sizes: np.ndarray, n_parts: int, rng: np.random.Generator
) -> np.ndarray:
    """Deal units into parts alike in size, whatever their strata."""
    return _deal(units, sizes, np.zeros(len(units), dtype=int), n_parts, rng)


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
