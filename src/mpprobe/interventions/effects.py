"""What an edit does to forces and energies, domain by domain."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mpprobe.activations.evaluate import Evaluation
from mpprobe.errors import StructureError, TargetError
from mpprobe.probes.scores import (
    MIN_GROUPS,
    Bootstrap,
    estimate,
    through_origin,
    totals_by_group,
)
from mpprobe.structures import Frame
from mpprobe.targets.charges import formal_charges
from mpprobe.targets.electrostatics import point_forces
from mpprobe.targets.reference import reference_forces

#: Measures of an effect and their units.
MEASURES = {
    "change": "eV/Å",
    "relative_change": "",
    "mae_before": "eV/Å",
    "mae_after": "eV/Å",
    "mae_change": "eV/Å",
    "energy_change": "meV/atom",
    "coulomb_slope": "",
    "coulomb_correlation": "",
}
#: Those for which either sign is as far from nothing.
SIGNED = ("coulomb_slope", "coulomb_correlation")
#: Subsets of the structures besides their domains.
IN_DOMAIN, OUT_OF_DOMAIN, ALL = "in domain", "out of domain", "all"

# Of a value: what is nearer to it than this share of it is as large. Rounding is far less.
_TIE = 1e-9


def p_value(own: float, drawn: np.ndarray, *, either_sign: bool) -> float:
    """How often a random control is at least as large, the value itself among them.

    (1 + #{drawn ≥ own})/(1 + n), so that it is never zero. A draw that differs from ``own`` by
    rounding counts as as large: which of the two is larger would be chance, as where a linear
    readout gives every direction the same correlation.

    Args:
        own: of the edit.
        drawn: of the random ones, (n,).
        either_sign: is as far from nothing: absolute values are compared.
    """
    if either_sign:
        own, drawn = abs(own), np.abs(drawn)
    return float((1 + (drawn >= own - _TIE * abs(own)).sum()) / (1 + len(drawn)))


class Effects:
    """Compares a potential's edited forces with its own, with a reference and with point charges.

    Measures, over the structures of a domain:

    - ``change``: mean |ΔF| over components; ``relative_change``: its root mean square over that
      of the unedited forces.
    - ``mae_before``, ``mae_after``, ``mae_change``: of the forces against the reference; NaN
      without one.
    - ``energy_change``: mean |ΔE| an atom over structures.
    - ``coulomb_slope``, ``coulomb_correlation``: of ΔF against the forces F_C between formal point
      charges, Σ ΔF·F_C / Σ F_C² and Σ ΔF·F_C / √(Σ ΔF² Σ F_C²); NaN without formal charges.

    Args:
        frames: the structures.
        unedited: what the potential gives for them.
        in_domain: names of the domains that are in domain.
        n_resamples, seed: of the bootstrap over groups of structures behind intervals.

    Raises:
        StructureError: reference forces that aren't three finite numbers an atom.

    Attributes:
        unedited, reference, coulomb: forces and all else of the potential as it is; reference
            forces and those of point charges, eV/Å, (n_atoms, 3), None where there are none.
        sizes, group: atoms of each structure and the index of its group, (n_frames,).
        bootstrap: the resamples of the groups.
    """

    def __init__(
        self,
        frames: Sequence[Frame],
        unedited: Evaluation,
        *,
        in_domain: Sequence[str],
        n_resamples: int = 1000,
        seed: int = 0,
    ) -> None:
        self.unedited = unedited
        self.sizes = np.array([len(frame) for frame in frames])
        self.reference = reference_forces(frames)
        self.coulomb = _between_charges(frames)
        domain = np.array([frame.domain for frame in frames])
        inside = np.isin(domain, in_domain)
        subsets = {name: domain == name for name in dict.fromkeys(domain.tolist())}
        if inside.any() and not inside.all():
            subsets |= {IN_DOMAIN: inside, OUT_OF_DOMAIN: ~inside}
        self.subsets = {**subsets, ALL: np.full(len(frames), True)}
        groups, self.group = np.unique([frame.group for frame in frames], return_inverse=True)
        self.bootstrap = Bootstrap(len(groups), n_resamples, seed)

    def rows(self, edited: Evaluation) -> list[dict]:
        """For each domain: ``domain``, ``n_structures``, ``n_atoms`` and every measure."""
        sums = self._sums(edited)
        return [
            {
                "domain": name,
                "n_structures": int(chosen.sum()),
                "n_atoms": int(self.sizes[chosen].sum()),
                **{
                    k: float(v[0])
                    for k, v in _measures(sums[:, chosen].sum(axis=1)[:, None]).items()
                },
            }
            for name, chosen in self.subsets.items()
        ]

    def intervals(self, edited: Evaluation) -> dict[str, dict[str, tuple[float, float]]]:
        """95 % intervals of every measure by domain, from resampled groups of structures."""
        sums, found = self._sums(edited), {}
        for name, chosen in self.subsets.items():
            group = self.group[chosen]
            few = len(np.unique(group)) < MIN_GROUPS
            totals = totals_by_group(sums[:, chosen], group, self.bootstrap)
            found[name] = {
                measure: estimate(values, self.bootstrap, few).interval()
                for measure, values in _measures(totals).items()
            }
        return found

    def _sums(self, edited: Evaluation) -> np.ndarray:
        """Of each structure, (len(_SUMS), n_structures); NaN where there is nothing to compare."""
        before, change = self.unedited.forces, edited.forces - self.unedited.forces
        nothing = np.full(len(before), np.nan)
        errors = [nothing, nothing]
        if self.reference is not None:
            errors = [np.abs(f - self.reference).sum(axis=1) for f in (before, edited.forces)]
        along = [nothing, nothing]
        if self.coulomb is not None:
            along = [(change * self.coulomb).sum(axis=1), (self.coulomb**2).sum(axis=1)]
        by_atom = [
            np.abs(change).sum(axis=1), (change**2).sum(axis=1), (before**2).sum(axis=1),
            np.full(len(before), 3.0), *errors, *along,
        ]  # fmt: skip
        frame = np.repeat(np.arange(len(self.sizes)), self.sizes)
        sums = [np.bincount(frame, weights=w, minlength=len(self.sizes)) for w in by_atom]
        energy = np.abs(edited.energies - self.unedited.energies) / self.sizes
        return np.stack([*sums, energy, np.ones(len(energy))])


# Sums over a structure from which all measures are made.
_SUMS = ("absolute", "square", "own", "components", "before", "after", "product", "coulomb",
         "energy", "structures")  # fmt: skip


def _measures(totals: np.ndarray) -> dict[str, np.ndarray]:
    """From totals, (len(_SUMS), n), each measure of shape (n,)."""
    t = dict(zip(_SUMS, totals, strict=True))
    along = through_origin(t["product"], t["coulomb"], t["square"])
    with np.errstate(invalid="ignore", divide="ignore"):
        before, after = t["before"] / t["components"], t["after"] / t["components"]
        return {
            "change": t["absolute"] / t["components"],
            "relative_change": np.sqrt(t["square"] / t["own"]),
            "mae_before": before,
            "mae_after": after,
            "mae_change": after - before,
            "energy_change": 1000 * t["energy"] / t["structures"],
            **{f"coulomb_{name}": values for name, values in along.items()},
        }


def _between_charges(frames: Sequence[Frame]) -> np.ndarray | None:
    """Forces between formal charges, or None where the structures have none."""
    try:
        return np.concatenate([point_forces(f, formal_charges(f)) for f in frames])
    except (StructureError, TargetError):
        return None
