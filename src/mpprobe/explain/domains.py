"""Force and energy errors by domain, with intervals over structures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mpprobe.explain.forces import ForceErrors
from mpprobe.probes.intervals import with_intervals
from mpprobe.probes.scores import Bootstrap, totals_by_group

if TYPE_CHECKING:
    import pandas as pd

#: Columns of :func:`by_domain` and their units.
METRICS = {
    "force_mae": "eV/Å",
    "force_rmse": "eV/Å",
    "angle": "°",
    "slope": "",
    "energy_mae": "meV/atom",
}
#: eV/Å; the direction of a smaller reference force isn't compared.
LEAST_FORCE = 0.1

# Sums over a structure from which all metrics are made.
_SUMS = ("absolute", "square", "components", "angle", "angles", "product", "reference",
         "energy", "energies")  # fmt: skip


def by_domain(errors: ForceErrors, *, n_resamples: int = 1000, seed: int = 0) -> pd.DataFrame:
    """A row for each model and domain, in the order in which domains first occur, then ``all``.

    Columns: ``model``, ``domain``, ``n_structures``, ``n_atoms``, and for each of
    :data:`METRICS` the value and its 95 % interval, ``_low`` and ``_high``, from a bootstrap over
    groups of structures (NaN where a domain has fewer than five):

    - ``force_mae``, ``force_rmse``: over force components.
    - ``angle``: mean angle between force and reference, over atoms whose reference force is at
      least :data:`LEAST_FORCE`.
    - ``slope``: Σ F·F_ref / Σ |F_ref|²; below one, forces are too small (a softened potential).
    - ``energy_mae``: mean over structures of the absolute error an atom, after energies per
      species have been fitted to all structures given (held fixed in the resamples).
    """
    import pandas as pd

    structures = errors.structures
    groups = {name: k for k, name in enumerate(dict.fromkeys(structures["group"]))}
    bootstrap = Bootstrap(len(groups), n_resamples, seed)
    domains = [*dict.fromkeys(structures["domain"]), "all"]
    rows = []
    sums = _sums(errors)
    for domain in domains:
        for model in dict.fromkeys(structures["model"]):
            chosen = (structures["model"] == model) & (
                (structures["domain"] == domain) | (domain == "all")
            )
            group = structures.loc[chosen, "group"].map(groups).to_numpy()
            totals = totals_by_group(sums[:, chosen.to_numpy()], group, bootstrap)
            rows.append({
                "model": model, "domain": domain, "n_structures": int(chosen.sum()),
                "n_atoms": int(structures.loc[chosen, "n_atoms"].sum()),
                **with_intervals(_metrics(totals), bootstrap, group),
            })  # fmt: skip
    return pd.DataFrame(rows)


def _metrics(totals: np.ndarray) -> dict[str, np.ndarray]:
    """From totals, (len(_SUMS), n), each metric of shape (n,); NaN where nothing was summed."""
    t = dict(zip(_SUMS, totals, strict=True))
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "force_mae": t["absolute"] / t["components"],
            "force_rmse": np.sqrt(t["square"] / t["components"]),
            "angle": t["angle"] / t["angles"],
            "slope": t["product"] / t["reference"],
            "energy_mae": 1000 * t["energy"] / t["energies"],
        }


def _sums(errors: ForceErrors) -> np.ndarray:
    """Of each row of the table of structures, (len(_SUMS), n_rows)."""
    atoms = errors.atoms
    forces, reference = (
        atoms[[f"{name}_{axis}" for axis in "xyz"]].to_numpy() for name in ("force", "reference")
    )
    sizes = errors.structures["n_atoms"].to_numpy()
    row = np.repeat(np.arange(len(sizes)), sizes)
    product = np.einsum("ax,ax->a", forces, reference)
    length, reference_length = (np.linalg.norm(f, axis=1) for f in (forces, reference))
    counted = reference_length >= LEAST_FORCE
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = np.nan_to_num(product / (length * reference_length))  # no force: at right angles
    angle = np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))
    by_atom = [
        np.abs(forces - reference).sum(axis=1),
        ((forces - reference) ** 2).sum(axis=1),
        np.full(len(row), 3.0),
        np.where(counted, angle, 0.0),
        counted,
        product,
        reference_length**2,
    ]
    columns = [np.bincount(row, weights=values, minlength=len(sizes)) for values in by_atom]
    energy = errors.structures["energy_error"].abs().to_numpy()
    return np.stack([*columns, np.nan_to_num(energy), np.isfinite(energy)])
