"""What every command gives for some structures, by how it turns and how it follows the atoms.

What depends on draws is left out, and only that: shuffled targets (drawn atom by atom), random
subspaces and directions (drawn in the eigenbasis of the features, whose signs are free), the one
atom of each structure that ``steer`` shifts, captum's infidelity and sensitivity.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

import mpprobe
from invariance.transformations import Described
from mpprobe.attribution.study import make_attribution
from mpprobe.explain import by_distance, by_domain, by_part, force_errors, nonlocal_forces
from mpprobe.explain.study import ERASURE, make_explaining
from mpprobe.interventions import make_erasing, make_steering
from mpprobe.interventions.erasing import RANDOM as RANDOM_SUBSPACE
from mpprobe.interventions.patch import RANDOM as RANDOM_PATCH
from mpprobe.interventions.steering import PROBE
from mpprobe.models.potential import Potential
from mpprobe.probes.sources import SHUFFLED
from mpprobe.response import make_response

SETTINGS = mpprobe.Settings(n_resamples=100, in_domain=("bulk",), n_assignments=2, random_seeds=1)
#: Means over force components: they are the same for structures turned by a quarter only.
COMPONENTS = ("force_mae", "change", "mae_before", "mae_after", "mae_change")


@dataclass
class Found:
    """A command's numbers.

    Attributes:
        same: must not change at all.
        components: must not either, unless x, y and z become something between them.
        magnified: must not either, but magnify rounding by far: see the tolerances.
        atoms: per atom of all structures, (n_atoms, ...).
        vectors: per atom, (n_atoms, ..., 3).
    """

    same: dict[str, np.ndarray] = field(default_factory=dict)
    components: dict[str, np.ndarray] = field(default_factory=dict)
    magnified: dict[str, np.ndarray] = field(default_factory=dict)
    atoms: dict[str, np.ndarray] = field(default_factory=dict)
    vectors: dict[str, np.ndarray] = field(default_factory=dict)

    def table(
        self, name: str, table: pd.DataFrame, without: tuple[str, ...] = (), magnified: bool = False
    ) -> None:
        """Every number of a table, column by column; p-values and intervals too."""
        for column in table.select_dtypes("number").columns.difference(without):
            kind = self.components if column.startswith(COMPONENTS) else self.same
            kind = self.magnified if magnified else kind
            kind[f"{name}: {column}"] = table[column].to_numpy(float)

    def back(self, described: Described) -> Found:
        """As they would have been for the structures before the transformation."""
        return Found(
            self.same, self.components, self.magnified,
            {name: described.back(values) for name, values in self.atoms.items()},
            {name: described.turned_back(values) for name, values in self.vectors.items()},
        )  # fmt: skip


def probe(potential: Potential, d: Described) -> Found:
    study = mpprobe.probe(
        potential, d.frames, targets=["potential", "charge:eeq", "field"],
        splits=["structure", "compound"], settings=SETTINGS,
    )  # fmt: skip
    found = Found()
    for name, column in (("scores", "features"), ("differences", "control")):
        table = getattr(study, name)
        wide = table[column] == "SOAP"
        found.table(name, table[~wide & (table[column] != SHUFFLED)], ("layer",))
        found.table(f"{name} of SOAP", table[wide], ("layer",), magnified=True)
    for name, values in study.true.items():
        (found.vectors if values.ndim == 2 else found.atoms)[name] = values
    for key, values in study.predictions.items():
        (found.vectors if values.ndim == 2 else found.atoms)[str(key)] = values
    found.atoms |= {f"map of layer {t}": values for t, values in study.maps.items()}
    return found


def extract(potential: Potential, d: Described) -> Found:
    acts, found = mpprobe.extract(potential, d.frames), Found()
    for t in acts.layers:
        for l in sorted({block.l for block in acts[t].layer.blocks}):
            values = acts[t].block(l=l)
            name = f"layer {t}, l = {l}"
            if l == 1:
                found.vectors[name] = values
            else:
                found.atoms[name] = np.linalg.norm(values, axis=2) if l else values[..., 0]
    return found


def ood(potential: Potential, d: Described) -> Found:
    errors, found = force_errors(potential, d.frames), Found()
    found.table("domains", by_domain(errors, n_resamples=100))
    found.table("structures", errors.structures, ("net_force",))
    atoms = errors.atoms
    found.atoms["force_error"] = atoms["force_error"].to_numpy()
    for name in ("force", "reference"):
        found.vectors[name] = atoms[[f"{name}_{axis}" for axis in "xyz"]].to_numpy()
    return found


def erase(potential: Potential, d: Described) -> Found:
    plan = make_erasing(potential, d.frames, layers="all", settings=SETTINGS)
    result, found = plan.run(), Found()
    found.table("erasures", result.erasures)
    found.table("decoding", result.decoding)
    found.table("effects", result.effects[result.effects["edit"] != RANDOM_SUBSPACE], ("draw",))
    summary = result.summary.pivot_table(
        ["value", "low", "high"], ["model", "domain"], "measure", dropna=False
    )
    for what, measure in summary:
        kind = found.components if measure in COMPONENTS else found.same
        kind[f"summary: {measure} {what}"] = summary[what, measure].to_numpy()
    return found


def steer(potential: Potential, d: Described) -> Found:
    plan = make_steering(potential, d.frames, layer=1, doses=[-1.0], settings=SETTINGS)
    result, found = plan.run(), Found()
    found.table("doses", result.doses[result.doses["direction"] == PROBE], ("draw",))
    for measure, rows in result.summary.groupby("measure"):
        kind = found.components if measure in COMPONENTS else found.same
        kind[f"summary: {measure}"] = rows[["value", "low", "high"]].to_numpy()
    for model, rows in result.atoms.groupby("model"):
        found.atoms[f"slope of {model}"] = rows["slope"].to_numpy()
        found.atoms[f"analytic of {model}"] = rows["analytic"].to_numpy()
    return found


def patch(potential: Potential, d: Described) -> Found:
    """Into the first structure, from itself with every atom moved."""
    into = d.frames[0]
    moved = into.atoms.copy()
    # Each atom by a step that its old index decides.
    moved.positions += 0.05 * np.sin(d.order[0] + 1.0)[:, None] * (d.turns[0] @ np.ones(3))
    chosen = [d.new_index(0, i) for i in (1, 4)]
    result = mpprobe.patch(
        potential, moved, into, layer=1, atoms=chosen, target="potential", structures=d.frames,
        settings=SETTINGS,
    )  # fmt: skip
    found, order = Found(), np.argsort(d.order[0])
    summary = result.summary[result.summary["patch"] != RANDOM_PATCH].drop(columns="draw")
    found.components["force_change"] = summary["force_change"].to_numpy()
    found.table("summary", summary.drop(columns="force_change"))
    for name, rows in result.atoms.groupby("patch"):
        columns = rows.select_dtypes("number").drop(columns="atom")
        found.same[name] = columns.to_numpy(float)[order]
    return found


def attribute(potential: Potential, d: Described) -> Found:
    found, order = Found(), np.argsort(d.order[0])
    for number in ("site:{}", "potential:{}"):
        name = number.format(d.new_index(0, 2))
        result = make_attribution(potential, d.frames[0], name, 1, train=d.frames).run()
        found.table(number, result.channels)
        found.table(f"checks of {number}", result.checks, ("infidelity", "sensitivity",
                                                           "relative_gap"))  # fmt: skip
        for model, rows in result.atoms.groupby("model"):
            columns = rows.select_dtypes("number").drop(columns="atom")
            found.same[f"{number} of {model}"] = columns.to_numpy(float)[order]
    return found


def response(potential: Potential, d: Described) -> Found:
    """Of one crystal; which pairs lie along the first lattice vector goes with the cell."""
    atoms = [d.new_index(0, i) for i in (0, 1)]
    result = make_response(
        potential, d.frames[0], atoms=atoms, nearest=2.5, settings=SETTINGS
    ).run()
    found = Found()
    found.table("fits", result.fits, magnified=True)
    pairs = result.pairs.assign(i=result.pairs["i"].map(lambda i: d.order[0][i]),
                                j=result.pairs["j"].map(lambda j: d.order[0][j]))  # fmt: skip
    found.table("pairs", pairs.sort_values(["model", "i", "j"]), magnified=True)
    return found


def explain(potential: Potential, d: Described) -> Found:
    plan = make_explaining(
        potential, d.frames, targets=["potential", "field"], draws=20, settings=SETTINGS
    )
    result, found = plan.run(), Found()
    drawn = ("random_median", "random_low", "random_high", "p_corrected")
    erased = result.effects["question"] == ERASURE
    found.table("effects", result.effects[~erased], drawn)
    own = result.effects[erased]
    found.components["erasure"] = own[["value", "low", "high"]].to_numpy()
    found.table("domains", result.domains)
    for column in result.encoding.atoms.select_dtypes("number").columns.drop("atom"):
        found.atoms[column] = result.encoding.atoms[column].to_numpy(float)
    found.table("layers", result.encoding.layers)
    return found


def nonlocal_(potential: Potential, d: Described) -> Found:
    result = nonlocal_forces(potential, d.frames, charges="formal")
    found = Found()
    found.table("by distance", by_distance(result, n_resamples=100))
    found.table("by part", by_part(result, n_resamples=100))
    found.table("pairs", result.pairs, ("displaced", "watched"))
    return found


COMMANDS: dict[str, Callable[[Potential, Described], Found]] = {
    "probe": probe,
    "extract": extract,
    "ood": ood,
    "erase": erase,
    "steer": steer,
    "patch": patch,
    "attribute": attribute,
    "response": response,
    "explain": explain,
    "nonlocal": nonlocal_,
}
