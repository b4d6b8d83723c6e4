"""Which charges give the potentials that the electrons see: Ewald sums against stored ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms

from mpprobe.errors import TargetError
from mpprobe.probes.intervals import with_intervals
from mpprobe.probes.scores import Bootstrap, through_origin, totals_by_group
from mpprobe.structures import Frame, as_frames
from mpprobe.targets import get_target
from mpprobe.targets.charges import charges_of

if TYPE_CHECKING:
    import pandas as pd

#: Charges that are tried.
CHARGES = ("formal", "eeq", "dft")


def potential_rulers(
    structures: Atoms | Frame | Iterable[Atoms | Frame],
    charges: Sequence[str] = CHARGES,
    *,
    reference: str = "potential:dft",
    n_resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare site potentials of point charges with those stored with the structures.

    Both are centred per species within every structure: the zero of the stored potential is
    unknown, and each species' own electrons shift it by a constant.

    Args:
        structures: that carry the charges and the reference.
        charges: as in ``potential@CHARGES``.
        reference: the target to compare with.
        n_resamples, seed: of the bootstrap over groups of structures.

    Returns:
        A row for each kind of charges and for ``all``, ``cations`` and ``anions`` (by the sign of
        those charges): ``charges``, ``atoms``, ``n_structures``, ``n_atoms``; ``correlation``;
        ``slope``, reference over point charges, which screening makes smaller than one; each with
        its 95 % interval ``_low`` and ``_high`` (NaN below five groups).

    Raises:
        TargetError: a structure lacks the charges or the reference, or no species occurs twice in
            one, so that nothing is left once its mean is taken off.
    """
    import pandas as pd

    frames = as_frames(structures)
    groups = {name: k for k, name in enumerate(dict.fromkeys(f.group for f in frames))}
    group = np.repeat([groups[f.group] for f in frames], [len(f) for f in frames])
    frame = np.repeat(np.arange(len(frames)), [len(f) for f in frames])
    species = np.concatenate([f.numbers for f in frames])
    stored = _centred(get_target(reference).values(frames), frame, species)
    bootstrap = Bootstrap(len(groups), n_resamples, seed)
    rows = []
    for source in charges:
        point = _centred(get_target(f"potential@{source}").values(frames), frame, species)
        charge = np.concatenate([charges_of(f, source) for f in frames])
        for atoms, chosen in (
            ("all", np.full(len(charge), True)), ("cations", charge > 0), ("anions", charge < 0),
        ):  # fmt: skip
            chosen = chosen & (point != 0)
            if not chosen.any():
                raise TargetError(
                    f"potential@{source}: no species of the {atoms} occurs twice in a structure, "
                    "so there is nothing to compare; give larger structures"
                )
            x, y = point[chosen], stored[chosen]
            totals = totals_by_group((x * y, x**2, y**2), group[chosen], bootstrap)
            line = through_origin(*totals)
            metrics = {name: line[name] for name in ("correlation", "slope")}
            rows.append({
                "charges": source, "atoms": atoms,
                "n_structures": len(np.unique(frame[chosen])), "n_atoms": int(chosen.sum()),
                **with_intervals(metrics, bootstrap, group[chosen]),
            })  # fmt: skip
    return pd.DataFrame(rows)


def _centred(values: Sequence[np.ndarray], frame: np.ndarray, species: np.ndarray) -> np.ndarray:
    """Less the mean over the atoms of the same species in the same structure."""
    kind = np.unique(np.stack([frame, species]), axis=1, return_inverse=True)[1].ravel()
    joined = np.concatenate(values)
    mean = np.bincount(kind, weights=joined) / np.bincount(kind)
    alone = np.bincount(kind)[kind] == 1
    return np.where(alone, 0.0, joined - mean[kind])
