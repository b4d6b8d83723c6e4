"""Structures for the page: a chemiscope data set whose atoms bear what a run found of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mpprobe.errors import require
from mpprobe.models.controls import TRAINED
from mpprobe.report.page.runs import Run
from mpprobe.structures import Frame, stratified
from mpprobe.structures.write import PREFIX

if TYPE_CHECKING:
    import pandas as pd

#: Atoms, and numbers, that one run may bring to a page.
MOST_ATOMS, MOST_VALUES = 10_000, 1_000_000
WITHIN = " within kinds"
_CUTOFF = 5.0  # of the environment that is drawn around an atom, Å


@dataclass(frozen=True)
class Column:
    """What one number an atom is.

    Attributes:
        name: under which the viewer has it.
        kind: ``true``, ``decoded``, ``residual`` or ``value``.
        target: what it is of.
        split: by which atoms were held out, empty if none were.
        layer: that it was decoded from, None if none.
    """

    name: str
    kind: str
    target: str
    split: str = ""
    layer: int | None = None


@dataclass(frozen=True)
class Viewer:
    """All that the page needs to show a run's structures.

    Attributes:
        dataset: for chemiscope.
        columns: by which atoms can be coloured.
        maps: by layer, the names of its two coordinates.
        arrows: vectors that can be drawn, ``name`` being that of the shape.
        start: the layer that is shown first, None where there are none.
        shown, n_frames: structures on the page and in the run.
    """

    dataset: dict[str, Any]
    columns: list[Column]
    maps: dict[int, list[str]]
    arrows: list[Column]
    start: int | None
    shown: int
    n_frames: int

    def as_json(self) -> dict[str, Any]:
        """Plain data, without NaN."""
        return {
            "dataset": self.dataset, "maps": self.maps, "start": self.start,
            "columns": [asdict(column) for column in self.columns],
            "arrows": [asdict(column) for column in self.arrows],
        }  # fmt: skip


def javascript() -> str:
    """Chemiscope's own script, from its package.

    Raises:
        MissingPackageError: chemiscope isn't installed.
    """
    require("chemiscope", "the structures on a report page")
    import chemiscope

    file = Path(chemiscope.__file__).parent / "sphinx" / "static" / "chemiscope.min.js"
    return file.read_text(encoding="utf-8")


def viewer(run: Run) -> Viewer:
    """The structures of a run, as many as the page can take, and what is known of their atoms.

    Raises:
        MissingPackageError: chemiscope isn't installed.
    """
    require("chemiscope", "the structures on a report page")
    frames = _sample(run)
    values = dict(_values(run, frames))
    places = dict(_maps(run, frames))
    maps = {layer: [f"layer {layer}: component {k}" for k in (1, 2)] for layer in places}
    properties = {
        **{c.name: _property(_size(v), _unit(run, c)) for c, v in values.items()},
        **{n: _property(places[t][:, k]) for t, names in maps.items() for k, n in enumerate(names)},
        **{n: _property(v) for n, v in _labels(frames).items()},
    }
    arrows = {c: v for c, v in values.items() if v.ndim == 2 and c.kind != "residual"}
    arrows |= _messages(run, frames)
    return Viewer(
        dataset=_dataset(f"{run.command}: {run.name}", frames, properties, arrows),
        columns=list(values),
        maps=maps,
        arrows=list(arrows),
        start=_best_layer(run),
        shown=len(frames),
        n_frames=len(run.frames),
    )


def _dataset(
    name: str,
    frames: Sequence[Frame],
    properties: dict[str, dict[str, Any]],
    arrows: dict[Column, np.ndarray],
) -> dict[str, Any]:
    import chemiscope

    atoms = [_bare(frame) for frame in frames]
    return _plain(chemiscope.create_input(
        atoms,
        metadata={"name": name},
        properties=properties,
        environments=chemiscope.all_atomic_environments(atoms, cutoff=_CUTOFF),
        shapes={column.name: _arrows(v) for column, v in arrows.items()} or None,
        settings={"target": "atom"},
    ))  # fmt: skip


def _size(values: np.ndarray) -> np.ndarray:
    """Numbers as they are, vectors as their lengths."""
    return values if values.ndim == 1 else np.linalg.norm(values, axis=1)


def _best_layer(run: Run) -> int | None:
    """The layer from which the first target is read best."""
    if not run.layers:
        return None
    return run.best_layer(*run.tables["scores"][["target", "split"]].iloc[0])


def _sample(run: Run) -> list[Frame]:
    """Structures spread over domains and compounds, as many as there is room for."""
    width = 6 + 3 * len(run.results.get("arrays", ()))
    most = min(MOST_ATOMS, MOST_VALUES // width)
    frames = run.frames
    total = sum(map(len, frames))
    limit = len(frames)
    while total > most and limit > 1:
        limit = max(1, min(limit - 1, int(limit * most / total)))
        frames = stratified(run.frames, limit)
        total = sum(map(len, frames))
    return frames


def _values(run: Run, frames: Sequence[Frame]) -> Iterator[tuple[Column, np.ndarray]]:
    """Columns and values of all atoms: what was true, what was decoded, and the difference."""
    index = run.results.get("arrays")
    if index is None:
        for name in sorted({n for f in frames for n in f.atoms.arrays if n.startswith(PREFIX)}):
            short = name.removeprefix(PREFIX).replace("_", " ")
            yield Column(short, "value", short), _array(frames, name)
        return
    true = {(about["target"], kind): _array(frames, about["array"])
            for about in index if (kind := _of_kind(about, "true")) is not None}  # fmt: skip
    for (target, kind), values in true.items():
        yield Column(f"{target}{kind} true", "true", target), values
    for about in index:
        kind = _of_kind(about, "decoded")
        if kind is not None:
            target, split, layer = about["target"], about["split"], about["layer"]
            where = f"layer {layer}, by {split}"
            found = _array(frames, about["array"])
            name = f"{target}{kind} decoded"
            yield Column(f"{name}, {where}", "decoded", target, split, layer), found
            if kind or (target, WITHIN) not in true:
                left = found - true[target, kind]
                name = f"{name} less true, {where}"
                yield Column(name, "residual", target, split, layer), left


def _of_kind(about: Mapping[str, Any], kind: str) -> str | None:
    """Empty for an array of this kind, :data:`WITHIN` for one within kinds, None for others."""
    return {kind: "", kind + WITHIN: WITHIN}.get(about["kind"])


def _maps(run: Run, frames: Sequence[Frame]) -> Iterator[tuple[int, np.ndarray]]:
    for about in run.results.get("arrays", ()):
        if about["kind"] == "map":
            yield about["layer"], _array(frames, about["array"])


def _array(frames: Sequence[Frame], name: str) -> np.ndarray:
    return np.concatenate([np.asarray(frame.atoms.arrays[name], dtype=float) for frame in frames])


def _labels(frames: Sequence[Frame]) -> dict[str, np.ndarray]:
    """What atoms are: for colours and symbols that aren't a result."""
    return {
        "species": np.concatenate([f.atoms.get_chemical_symbols() for f in frames]),
        "domain": np.repeat([f.domain for f in frames], [len(f) for f in frames]),
        "structure": np.repeat(np.arange(len(frames)), [len(f) for f in frames]),
        "atom": np.concatenate([np.arange(len(f)) for f in frames]),
    }


def _messages(run: Run, frames: Sequence[Frame]) -> dict[Column, np.ndarray]:
    """Of an attribution by messages: from each atom towards the one it tells most, in Å."""
    edges = run.tables.get("edges")
    if edges is None or len(frames) != 1:
        return {}
    edges = edges[edges["model"] == TRAINED]
    strongest = edges.loc[edges["value"].abs().groupby(edges["sender"]).idxmax()]
    vectors = np.zeros((len(frames[0]), 3))
    vectors[strongest["sender"]] = _towards(strongest, frames[0])
    name = "strongest message"
    return {Column(name, "value", name): vectors}


def _towards(edges: pd.DataFrame, frame: Frame) -> np.ndarray:
    from ase.geometry import find_mic

    positions = frame.atoms.positions
    apart = positions[edges["receiver"]] - positions[edges["sender"]]
    return find_mic(apart, frame.atoms.cell, frame.atoms.pbc)[0]


def _property(values: np.ndarray, unit: str = "") -> dict[str, Any]:
    about = {"target": "atom", "values": values.tolist()}
    return about | ({"units": unit} if unit else {})


def _unit(run: Run, column: Column) -> str:
    targets = run.results["provenance"].get("targets")
    return targets.get(column.target, {}).get("unit", "") if isinstance(targets, dict) else ""


def _arrows(vectors: np.ndarray) -> dict[str, Any]:
    """Arrows of 2 Å for the longest tenth of the vectors."""
    vectors = np.nan_to_num(vectors)
    long = np.quantile(np.linalg.norm(vectors, axis=1), 0.9)
    scaled = vectors * (2.0 / long if long > 0 else 1.0)
    size = {"baseRadius": 0.15, "headRadius": 0.3, "headLength": 0.5}
    return {
        "kind": "arrow",
        "parameters": {"global": size, "atom": [{"vector": v} for v in scaled.round(3).tolist()]},
    }


def _bare(frame: Frame) -> Any:
    """Positions, species and cell, without what would travel for nothing."""
    from ase import Atoms

    atoms = frame.atoms
    return Atoms(atoms.symbols, atoms.positions.round(4), cell=atoms.cell, pbc=atoms.pbc)


def _plain(value: Any) -> Any:
    """Plain data: numbers of five digits, None where one isn't finite."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float):
        return float(f"{value:.5g}") if np.isfinite(value) else None
    return value
