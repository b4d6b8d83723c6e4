"""Where one number of a structure comes from: the map, the influence, and random weights beside."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms

from mpprobe.activations.evaluate import Evaluator
from mpprobe.attribution.influence import influence
from mpprobe.attribution.maps import attribute, check_choices
from mpprobe.attribution.scalars import (
    Decoded,
    ForceComponent,
    Scalar,
    SiteEnergy,
    TotalEnergy,
)
from mpprobe.errors import AttributionError
from mpprobe.models.controls import models_of
from mpprobe.models.potential import Potential
from mpprobe.probes.ridge import RidgeProbe
from mpprobe.probes.sources import probed_columns
from mpprobe.provenance import structures_sha256, versions
from mpprobe.structures import Frame, as_frames, check
from mpprobe.targets import get_target

if TYPE_CHECKING:
    import pandas as pd

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
        checks: a row for each model: ``scalar``, ``unit``, ``value``, ``baseline_value``, ``gap``,
            ``relative_gap``, ``infidelity``, ``sensitivity``.
        frame: the structure.
        provenance: versions, settings, hashes of model and structure.
    """

    atoms: pd.DataFrame
    channels: pd.DataFrame
    checks: pd.DataFrame
    frame: Frame
    provenance: dict


@dataclass(frozen=True, eq=False)
class AttributionPlan:
    """A number to be explained, of input that has been checked; ready to :meth:`run`.

    Attributes:
        potential, frame, number, layer, method, baseline, random_weights, seed: what will be
            explained, and how.
        train: structures on which probes of decoded targets are fitted.
        read: the layer in which they read.
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
            "structure": self.frame.source,
            "structures_sha256": structures_sha256([self.frame]),
            "versions": versions(),
        }
        if self.train:
            about |= {"read": self.read, "train_sha256": structures_sha256(self.train)}
        return about

    def run(self, progress: Callable[[str, int, int], None] | None = None) -> Attributed:
        """Explain it; arguments and errors as in :func:`make_attribution`."""
        import pandas as pd

        atoms, channels, checks = [], [], []
        models = list(models_of(self.potential, self.random_weights, self.seed))
        for k, (name, model) in enumerate(models):
            scalar = self._scalar(model)
            found = attribute(
                model, self.frame, scalar, self.layer, method=self.method, baseline=self.baseline,
                seed=self.seed, sensitivity=True,
            )  # fmt: skip
            at = getattr(scalar, "atom", None)
            moves = influence(model, self.frame, lambda _, s=scalar: s, [at or 0])
            distance = np.full(len(self.frame), np.nan) if at is None else moves.distances[0]
            table = found.by_atom().assign(influence=moves.sizes[0])
            table.insert(2, "distance", distance)
            atoms.append(table.assign(model=name))
            channels.append(found.by_channel().assign(model=name))
            checks.append({
                "model": name, "scalar": found.scalar, "unit": found.unit, "value": found.value,
                "baseline_value": found.baseline_value, "gap": found.gap,
                "relative_gap": found.relative_gap, "infidelity": found.infidelity,
                "sensitivity": found.sensitivity,
            })  # fmt: skip
            if progress is not None:
                progress("maps", k + 1, len(models))
        tables = (pd.concat(rows, ignore_index=True) for rows in (atoms, channels))
        return Attributed(*tables, pd.DataFrame(checks), self.frame, self.provenance)

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
        random_weights: also the architecture with random weights.
        seed: of samples, perturbations and random weights.

    Raises:
        AttributionError: a number, method, baseline or atom that isn't there; no structures to
            fit a probe on; a layer that the number doesn't depend on.
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
        potential, frame, number, layer, method, baseline, random_weights, seed, fitted_on, read
    )


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
    """What a linear probe, fitted on structures, reads of an atom's features.

    Its penalty is chosen by leaving out each fifth of the groups of structures.

    Raises:
        MPProbeError: a structure or target that can't be used.
    """
    found = get_target(target, frames)
    y = np.concatenate(found.values(frames, potential.cutoff))
    about = potential.layer(layer)
    features = Evaluator(potential, frames).features([layer])[layer]
    columns = probed_columns(about, 0)[:, 0]
    groups = np.unique([frame.group for frame in frames], return_inverse=True)[1] % 5
    probe = RidgeProbe()
    cells = np.repeat(groups, [len(frame) for frame in frames])
    probe.partial_fit(features[:, columns].astype(np.float64), y[:, None], cells)
    solved = probe.solve()
    weights = np.zeros(about.dim)
    weights[columns] = solved.coef[:, 0]
    intercept = float(solved.intercept[0])
    return Decoded(atom, layer, weights, intercept, target=found.name, unit=found.unit)
