"""Where one number of a structure comes from: the map, the influence, and random weights beside."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms

from mpprobe.activations.evaluate import Evaluator
from mpprobe.attribution.conductance import FORCE_PASSES, conductance
from mpprobe.attribution.edges import EdgeAttribution, attribute_edges
from mpprobe.attribution.influence import influence, influence_graph, influence_through
from mpprobe.attribution.maps import Attribution, attribute, check_choices
from mpprobe.attribution.scalars import (
    Decoded,
    ForceComponent,
    OfAtom,
    Scalar,
    SiteEnergy,
    TotalEnergy,
)
from mpprobe.errors import AttributionError
from mpprobe.models.controls import models_of
from mpprobe.models.potential import Potential
from mpprobe.probes.chosen import kinds
from mpprobe.probes.duplicates import kept_together
from mpprobe.probes.ridge import RidgeProbe
from mpprobe.probes.sources import probed_columns
from mpprobe.provenance import structures_sha256, versions
from mpprobe.structures import Frame, as_frames, check
from mpprobe.targets import get_target

if TYPE_CHECKING:
    import networkx as nx
    import pandas as pd

Progress = Callable[[str, int, int], None]
#: What can be asked for beside the map: messages by edge, conductance of later layers, and the
#: influence of all atoms on each other.
MORE = ("edges", "layers", "graph")
#: In the table of what goes through atoms, the row of what goes past the layer.
PAST = -1
#: How numbers are named.
NAMES = "energy, site:ATOM, force:ATOM:x, or TARGET:ATOM such as potential:0"


@dataclass(frozen=True, eq=False)
class Attributed:
    """Where a number comes from.

    Attributes:
        atoms: a row for each model (``trained``, ``random weights``) and atom: ``atom``,
            ``species``, ``distance`` (Å) from the atom whose number it is (NaN for the energy of
            all), attributions ``total`` and by irrep, in the number's unit, and ``influence``,
            the length of the derivative by the atom's position (unit per Å).
        channels: a row for each model and channel: ``irrep``, ``channel``, ``total``.
        checks: a row for each model and way of sharing out, ``over`` (``features of layer 2``,
            ``messages``, ``on the way through layer 4``): ``scalar``, ``unit``, ``value``,
            ``baseline_value``, ``gap``, ``relative_gap``, ``infidelity``, ``sensitivity``.
        frame: the structure.
        provenance: versions, settings, hashes of model and structure.
        edges: if asked for, a row for each model, layer and edge: see
            :meth:`mpprobe.attribution.EdgeAttribution.by_edge`.
        layers: if asked for, a row for each model, later layer and atom: ``total``, the layer's
            conductance, and by irrep; see :func:`mpprobe.attribution.conductance`.
        bonds: if the graph was asked for, a row for each model and number of bonds: see
            :meth:`mpprobe.attribution.Influence.by_bonds`.
        through: with it, a row for each model, layer and atom (:data:`PAST`: what goes past the
            layer): the ``share`` that goes through the atom's features of the influence of all
            other atoms' positions.
        graphs: with it, of each model the influence graph, in networkx.
    """

    atoms: pd.DataFrame
    channels: pd.DataFrame
    checks: pd.DataFrame
    frame: Frame
    provenance: dict
    edges: pd.DataFrame
    layers: pd.DataFrame
    bonds: pd.DataFrame
    through: pd.DataFrame
    graphs: dict[str, nx.DiGraph]


@dataclass
class _Tables:
    """What has been found so far, model by model."""

    atoms: list[pd.DataFrame] = field(default_factory=list)
    channels: list[pd.DataFrame] = field(default_factory=list)
    checks: list[dict] = field(default_factory=list)
    edges: list[pd.DataFrame] = field(default_factory=list)
    layers: list[pd.DataFrame] = field(default_factory=list)
    bonds: list[pd.DataFrame] = field(default_factory=list)
    through: list[pd.DataFrame] = field(default_factory=list)
    graphs: dict[str, nx.DiGraph] = field(default_factory=dict)

    def check(self, model: str, over: str, found: Attribution | EdgeAttribution) -> None:
        names = ("scalar", "unit", "value", "baseline_value", "gap", "relative_gap")
        row = {name: getattr(found, name) for name in names}
        row |= {name: getattr(found, name, np.nan) for name in ("infidelity", "sensitivity")}
        self.checks.append({"model": model, "over": over, **row})


@dataclass(frozen=True, eq=False)
class AttributionPlan:
    """A number to be explained, of input that has been checked; ready to :meth:`run`.

    Attributes:
        potential, frame, number, layer, method, baseline, random_weights, seed: what will be
            explained, and how.
        train: structures on which probes of decoded targets are fitted.
        read: the layer in which they read.
        more: of :data:`MORE`.
    """

    potential: Potential
    frame: Frame
    number: str
    layer: int
    method: str
    baseline: str
    random_weights: bool
    seed: int
    train: list[Frame]
    read: int
    more: tuple[str, ...]

    @property
    def provenance(self) -> dict:
        """What identifies the result."""
        about = {
            "model": {"name": self.potential.name, **self.potential.provenance},
            "number": self.number,
            "layer": self.layer,
            "method": self.method,
            "baseline": self.baseline,
            "seed": self.seed,
            "more": list(self.more),
            "structure": self.frame.source,
            "structures_sha256": structures_sha256([self.frame]),
            "versions": versions(),
        }
        if self.train:
            about |= {"read": self.read, "train_sha256": structures_sha256(self.train)}
        return about

    def run(self, progress: Progress | None = None) -> Attributed:
        """Explain it; arguments and errors as in :func:`make_attribution`."""
        import pandas as pd

        found = _Tables()
        models = list(models_of(self.potential, self.random_weights, self.seed))
        for name, model in models:
            self._explain(name, model, found, progress)

        def joined(tables: list[pd.DataFrame]) -> pd.DataFrame:
            return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()

        return Attributed(
            joined(found.atoms), joined(found.channels), pd.DataFrame(found.checks), self.frame,
            self.provenance, joined(found.edges), joined(found.layers), joined(found.bonds),
            joined(found.through), found.graphs,
        )  # fmt: skip

    def _explain(
        self, name: str, model: Potential, found: _Tables, progress: Progress | None
    ) -> None:
        scalar = self._scalar(model)
        ways: dict[str, Callable[..., None]] = {
            "edges": self._edges,
            "layers": self._layers,
            "graph": self._graph,
        }
        for k, way in enumerate([self._map, *(ways[chosen] for chosen in self.more)]):
            way(name, model, scalar, found)
            if progress is not None:
                progress(f"maps of {model.name}", k + 1, 1 + len(self.more))

    def _map(self, name: str, model: Potential, scalar: Scalar, found: _Tables) -> None:
        own = attribute(
            model, self.frame, scalar, self.layer, method=self.method, baseline=self.baseline,
            seed=self.seed, sensitivity=True,
        )  # fmt: skip
        moves = influence(model, self.frame, lambda _: scalar, [getattr(scalar, "atom", 0)])
        table = self._placed(own.by_atom(), scalar)
        found.atoms.append(table.assign(influence=moves.sizes[0], model=name))
        found.channels.append(own.by_channel().assign(model=name))
        found.check(name, f"features of layer {self.layer}", own)

    def _edges(self, name: str, model: Potential, scalar: Scalar, found: _Tables) -> None:
        edges = attribute_edges(model, self.frame, scalar)
        found.edges.append(edges.by_edge().assign(model=name))
        found.check(name, "messages", edges)

    def _layers(self, name: str, model: Potential, scalar: Scalar, found: _Tables) -> None:
        for part in conductance(model, self.frame, scalar, self.layer, baseline=self.baseline):
            layer = part.layer.index
            table = self._placed(part.by_atom(), scalar)
            found.layers.append(table.assign(layer=layer, model=name))
            found.check(name, f"on the way through layer {layer}", part)

    def _placed(self, table: pd.DataFrame, scalar: Scalar) -> pd.DataFrame:
        """With the distance from the atom whose number it is, after the species."""
        atom = getattr(scalar, "atom", None)
        atoms = self.frame.atoms
        distance = (
            np.nan if atom is None else atoms.get_distances(atom, range(len(atoms)), mic=True)
        )
        table.insert(2, "distance", distance)
        return table

    def _graph(self, name: str, model: Potential, scalar: OfAtom, found: _Tables) -> None:
        import pandas as pd

        everyone = influence(model, self.frame, lambda i: replace(scalar, atom=i))
        found.bonds.append(everyone.by_bonds().assign(model=name))
        found.graphs[name] = influence_graph(everyone)
        last = getattr(scalar, "layer", len(model.layers) - 1)
        others = np.arange(len(self.frame)) != scalar.atom
        for layer in range(1, last + 1):
            parts = influence_through(model, self.frame, scalar, layer)[:, others]
            total = parts.sum(axis=0)
            square = (total**2).sum()
            share = (parts * total).sum(axis=(1, 2)) / square if square else np.nan
            found.through.append(pd.DataFrame({
                "model": name, "layer": layer, "atom": [*range(len(self.frame)), PAST],
                "distance": [*everyone.distances[scalar.atom], np.nan], "share": share,
            }))  # fmt: skip

    def _scalar(self, model: Potential) -> Scalar:
        number = parse_number(self.number)
        if isinstance(number, Scalar):
            return number
        target, atom = number
        return fit_decoded(model, self.train, target, atom, self.read)


def make_attribution(
    potential: Potential,
    structure: Atoms | Frame,
    number: str,
    layer: int,
    *,
    method: str = "integrated gradients",
    baseline: str = "species mean",
    train: Iterable[Atoms | Frame] = (),
    read: int | None = None,
    more: Iterable[str] = (),
    random_weights: bool = True,
    seed: int = 0,
) -> AttributionPlan:
    """Check everything before any work is done.

    Args:
        potential: from :func:`mpprobe.load`.
        structure: whose number.
        number: ``energy``, ``site:ATOM``, ``force:ATOM:x``, or ``TARGET:ATOM``: what a linear
            probe reads of the target.
        layer: whose node features the number is shared out among.
        method: one of :data:`mpprobe.attribution.METHODS`.
        baseline: one of :data:`mpprobe.attribution.BASELINES`.
        train: structures on which the probe of a target is fitted.
        read: the layer in which it reads; ``layer`` if not given.
        more: of :data:`MORE`: also by ``edges``, through later ``layers``, and the ``graph`` of the
            influence of all atoms on each other.
        random_weights: also the architecture with random weights.
        seed: of samples, perturbations and random weights.

    Raises:
        AttributionError: a number, method, baseline or atom that isn't there; no structures to
            fit a probe on; a layer that the number doesn't depend on; something more that the
            number doesn't have.
        MPProbeError: a structure, layer or target that can't be used.
    """
    (frame,) = as_frames(structure)
    check([frame], species=potential.species, cutoff=potential.cutoff)
    potential.layer(layer)
    check_choices(method, baseline)
    read = layer if read is None else read
    fitted_on: list[Frame] = []
    parsed = parse_number(number)
    if not isinstance(parsed, Scalar):
        target, atom = parsed
        fitted_on = as_frames(train)
        if not fitted_on:
            raise AttributionError(f"{number}: give structures to fit the probe of {target} on")
        check(fitted_on, species=potential.species, cutoff=potential.cutoff)
        if get_target(target, fitted_on).l:
            raise AttributionError(f"{target}: is a vector; explain one that is a number an atom")
        parsed = Decoded(atom, read, np.zeros(potential.layer(read).dim), target=target)
    parsed.check(potential, frame, layer)
    return AttributionPlan(
        potential, frame, number, layer, method, baseline, random_weights, seed, fitted_on, read,
        _checked(tuple(more), parsed),
    )  # fmt: skip


def _checked(more: tuple[str, ...], number: Scalar) -> tuple[str, ...]:
    for name in more:
        if name not in MORE:
            raise AttributionError(f"{name!r}: choose among {', '.join(MORE)}")
    if "layers" in more and isinstance(number, ForceComponent):
        raise AttributionError(FORCE_PASSES)
    if "graph" in more and isinstance(number, TotalEnergy):
        raise AttributionError("graph: the energy is no atom's number; give site:ATOM, say")
    return more


def parse_number(text: str) -> Scalar | tuple[str, int]:
    """A number's name as a scalar, or as a target and the atom of which it is read.

    Raises:
        AttributionError: it isn't of the form of :data:`NAMES`.
    """
    head, _, tail = text.rpartition(":")
    if text == "energy":
        return TotalEnergy()
    if text.startswith("force:"):
        atom, _, axis = text.removeprefix("force:").partition(":")
        if atom.isdigit() and axis in ("x", "y", "z"):
            return ForceComponent(int(atom), "xyz".index(axis))
    elif head and tail.isdigit():
        return SiteEnergy(int(tail)) if head == "site" else (head, int(tail))
    raise AttributionError(f"{text!r}: write {NAMES}")


def fit_decoded(
    potential: Potential, frames: Sequence[Frame], target: str, atom: int, layer: int
) -> Decoded:
    """What a linear probe, fitted on structures within kinds, reads of an atom's features.

    Kinds are species in compounds. What is read has a constant of its own for each of them, of
    which the intercept here is the mean over all atoms. The probe's penalty is chosen by leaving
    out each fifth of the groups of structures.

    Raises:
        MPProbeError: a structure or target that can't be used.
    """
    found = get_target(target, frames)
    y = np.concatenate(found.values(frames, potential.cutoff))
    about = potential.layer(layer)
    features = Evaluator(potential, frames).features([layer])[layer]
    columns = probed_columns(about, 0)[:, 0]
    kept, _ = kept_together(frames, potential.cutoff)
    groups = np.unique([frame.group for frame in kept], return_inverse=True)[1] % 5
    if not groups.any():
        raise AttributionError(
            f"{target}: the probe is fitted on one group of structures, and its penalty is chosen "
            "by leaving some out; give structures of two groups or more"
        )
    probe = RidgeProbe()
    cells = np.repeat(groups, [len(frame) for frame in frames])
    x = features[:, columns].astype(np.float64)
    probe.partial_fit(x, y[:, None], cells, kinds(frames))
    solved = probe.solve()
    weights = np.zeros(about.dim)
    weights[columns] = solved.coef[:, 0]
    intercept = float(solved.intercept[0])
    return Decoded(atom, layer, weights, intercept, target=found.name, unit=found.unit)
