"""What the hidden states get wrong about each atom, beside what the forces get wrong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms

from mpprobe.activations.evaluate import Evaluator
from mpprobe.errors import ProbeError
from mpprobe.explain.forces import Progress
from mpprobe.explain.questions import CONTROL, DISTANCE, ERROR
from mpprobe.interventions import block_columns, block_rows
from mpprobe.models.controls import TRAINED, models_of
from mpprobe.models.potential import Potential
from mpprobe.probes import Settings, make_split
from mpprobe.probes.baselines import label_means
from mpprobe.probes.crossfit import cross_predict
from mpprobe.probes.duplicates import kept_together
from mpprobe.probes.scores import Scorer, kind_means
from mpprobe.probes.sources import probed_blocks
from mpprobe.probes.splits import Split
from mpprobe.probes.statistics import RESOLUTION
from mpprobe.provenance import structures_sha256, versions
from mpprobe.structures import Frame, as_frames, check
from mpprobe.targets import Target, get_target
from mpprobe.targets.reference import reference_of

if TYPE_CHECKING:
    import pandas as pd

#: What is decoded by default.
TARGETS = ("potential", "charge:eeq", "field")
#: Neighbours in the training cloud whose mean distance counts.
NEIGHBOURS = 5


@dataclass(frozen=True, eq=False)
class EncodingErrors:
    """Force errors and errors of decoded quantities, atom by atom.

    Attributes:
        atoms: a row for each atom: ``structure``, ``atom``, ``species``, ``compound``, ``domain``,
            ``group``, ``in_domain``; ``force_error`` and ``force`` (eV/Å), lengths of F − F_ref and
            of F_ref; ``error:TARGET``, how far the decoded quantity is off in the target's unit
            (for vectors the length), by probes fitted within kinds (species in compounds), an atom
            whose kind was not trained on being measured from the mean of its kind in its domain
            (NaN where it is alone of its kind there); ``control:TARGET``, the same decoded from the
            features of the architecture with random weights; ``distance`` from the training cloud
            in the layer of the first target, in standard deviations of its features.
        layers: a row for each model (``trained``, ``random weights``) and target: ``model``,
            ``target``, ``unit``, ``layer``, the one that is read out of domain, and the score on
            what is held out in domain, ``r2`` (within kinds; for vectors R²), of the layer that
            each fold chose.
        provenance: versions, settings, hashes of model and structures.
    """

    atoms: pd.DataFrame
    layers: pd.DataFrame
    provenance: dict


def encoding_errors(
    potential: Potential,
    structures: Atoms | Frame | Iterable[Atoms | Frame],
    *,
    targets: Sequence[str] = TARGETS,
    random_weights: bool = True,
    settings: Settings | None = None,
    max_atoms: int | None = None,
    progress: Progress | None = None,
) -> EncodingErrors:
    """Decode quantities by probes trained in domain, and set their errors beside the force errors.

    Each target is read from the layer whose probe has the least error in the inner folds of the
    training set, fold by fold; nothing that is tested has a say in that. Atoms in domain are
    decoded by probes that haven't seen their group, those out of domain by one trained on all that
    is in domain.

    Args:
        potential: from :func:`mpprobe.load`.
        structures: with reference forces, in domain and out of it.
        targets: names; see :func:`mpprobe.targets.target_names`.
        random_weights: also decode them from the architecture with random weights.
        settings: folds, seed, and which domains are in domain.
        max_atoms: most atoms in one forward pass.
        progress: called as the work goes on.

    Raises:
        StructureError: a structure has no reference forces.
        ProbeError: no structure in domain or none out of it, or no target.
        MPProbeError: a structure or target that can't be used.
    """
    import pandas as pd

    settings = settings or Settings()
    frames = as_frames(structures)
    reference, split = check_encoding(potential, frames, targets, settings)
    frames, _ = kept_together(frames, potential.cutoff)
    found = [get_target(name, frames) for name in dict.fromkeys(targets)]
    decoder = _Decoder(
        [(target, np.concatenate(target.values(frames, potential.cutoff))) for target in found],
        split, Scorer.from_frames(frames, n_resamples=100, seed=settings.seed),
        _labels(frames, settings.in_domain),
    )  # fmt: skip
    models = list(models_of(potential, random_weights, settings.seed))
    columns: dict[str, np.ndarray] = {}
    layers = []
    for k, (name, model) in enumerate(models):
        run = Evaluator(model, frames, max_atoms).run(
            layers=[t.index for t in model.layers if t.index > 0]
        )
        errors, rows = decoder.decode(model, run.features)
        prefix = ERROR if name == TRAINED else CONTROL
        columns |= {prefix + target: off for target, off in errors.items()}
        layers += [{"model": name, **row} for row in rows]
        if name == TRAINED:
            columns |= {
                "force_error": np.linalg.norm(run.forces - reference, axis=1),
                "force": np.linalg.norm(reference, axis=1),
                DISTANCE: decoder.distance(model, run.features, rows[0]["layer"]),
            }
        if progress is not None:
            progress("decoding", k + 1, len(models))
    table = decoder.labels.assign(**columns)
    provenance = {
        "model": {"name": potential.name, **potential.provenance},
        "settings": asdict(settings),
        "structures_sha256": structures_sha256(frames),
        "versions": versions(),
    }
    return EncodingErrors(table, pd.DataFrame(layers), provenance)


def check_encoding(
    potential: Potential, frames: Sequence[Frame], targets: Sequence[str], settings: Settings
) -> tuple[np.ndarray, Split]:
    """Reference forces (eV/Å, (n_atoms, 3)) and the split of what :func:`encoding_errors` is given.

    Raises:
        MPProbeError: as there.
    """
    if not targets:
        raise ProbeError("nothing to decode: give at least one target")
    reference = np.concatenate([reference_of(frame).forces for frame in frames])
    check(frames, species=potential.species, cutoff=potential.cutoff)
    kept, _ = kept_together(frames, potential.cutoff)
    split = make_split(
        "domain", kept, n_folds=settings.n_folds, seed=settings.seed,
        in_domain=settings.in_domain,
    )  # fmt: skip
    return reference, split


def _labels(frames: Sequence[Frame], in_domain: Sequence[str]) -> pd.DataFrame:
    import pandas as pd

    sizes = [len(frame) for frame in frames]
    table = pd.DataFrame({
        name: np.repeat([getattr(frame, key) for frame in frames], sizes)
        for name, key in (("structure", "source"), ("compound", "compound"), ("domain", "domain"),
                          ("group", "group"))
    })  # fmt: skip
    return table.assign(
        atom=np.concatenate([np.arange(n) for n in sizes]),
        species=np.concatenate([frame.atoms.get_chemical_symbols() for frame in frames]),
        in_domain=table["domain"].isin(in_domain),
    )


@dataclass(frozen=True, eq=False)
class _Decoder:
    """Targets with their values, and how they are decoded from a model's features."""

    targets: list[tuple[Target, np.ndarray]]
    split: Split
    scorer: Scorer
    labels: pd.DataFrame

    def decode(
        self, model: Potential, features: Mapping[int, np.ndarray]
    ) -> tuple[dict[str, np.ndarray], list[dict]]:
        """Errors by target, and a row about the layer of each."""
        errors, rows = {}, []
        for target, values in self.targets:
            best = self._best_layer(model, features, target, values)
            off = best.pop("off")
            errors[target.name] = np.abs(off) if off.ndim == 1 else np.linalg.norm(off, axis=1)
            rows.append({"target": target.name, "unit": target.unit, **best})
        return errors, rows

    def distance(
        self, model: Potential, features: Mapping[int, np.ndarray], layer: int
    ) -> np.ndarray:
        """From the training cloud, in the scalars of a layer, (n_atoms,)."""
        columns = block_columns(model.layer(layer), 0)
        return _distance(block_rows(features[layer], columns)[:, :, 0], self.labels)

    def _best_layer(
        self, model: Potential, features: Mapping[int, np.ndarray], target: Target, y: np.ndarray
    ) -> dict:
        """The layer read out of domain, the score in domain, and errors of what is decoded.

        Each fold takes the layer with the least error in its own inner folds.
        """
        kind, fits = self.scorer.kind, {}
        for layer in model.layers:
            if layer.index > 0 and probed_blocks(layer, target.l):
                x = block_rows(features[layer.index], block_columns(layer, target.l))
                x = x if target.l else x[:, :, 0]
                fits[layer.index] = cross_predict(x, y[..., None], self.split, kinds=kind)
        decoded, known = np.full_like(y, np.nan), np.zeros(len(y), dtype=bool)
        for k in range(len(self.split.folds)):
            errors = {t: fit.maps[k].error[0] for t, fit in fits.items()}
            best = min(errors, key=errors.__getitem__)
            rows = self.split.test == k
            decoded[rows] = fits[best].predictions[rows, ..., 0]
            known |= rows & np.isin(kind, fits[best].maps[k].kinds)
        inside = self.labels["in_domain"].to_numpy() & self.split.scored
        levels = label_means(y[..., None], kind, self.split)[..., 0]
        scores = self.scorer.score(y, decoded, inside, levels=levels)
        r2 = (scores.r2 if target.l else scores.r2_within).value
        off = y - decoded
        if target.l == 0:
            off = np.where(known, off, self._about_own_mean(off))
        return {"layer": best, "r2": r2, "off": off}

    def _about_own_mean(self, off: np.ndarray) -> np.ndarray:
        """Residuals about their mean over atoms of the same kind and domain.

        Larger by √(n/(n − 1)), so that n of them are as large as n about a mean known before; NaN
        for one alone.
        """
        domain = np.unique(self.labels["domain"], return_inverse=True)[1]
        group = np.unique([self.scorer.kind, domain], axis=1, return_inverse=True)[1].ravel()
        scored = self.split.scored
        group, values = group[scored], off[scored]
        n = np.bincount(group)[group]
        with np.errstate(divide="ignore", invalid="ignore"):
            found = (values - kind_means(values, group)) * np.sqrt(n / (n - 1))
        left = np.full(len(off), np.nan)
        left[scored] = np.where(n > 1, found, np.nan)
        return left


def _scaled(features: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Features in standard deviations in domain; those that don't vary there are zero."""
    scale, mean = features[inside].std(axis=0), features[inside].mean(axis=0)
    varies = scale > RESOLUTION * np.abs(mean)
    return np.divide(features - mean, scale, out=np.zeros_like(features), where=varies)


def _distance(features: np.ndarray, table: pd.DataFrame) -> np.ndarray:
    """Mean distance to the nearest atoms of the same species in domain, of other groups.

    In features divided by their standard deviation over the atoms in domain; where fewer than
    :data:`NEIGHBOURS` such atoms are there, to all of them, and NaN where there is none.
    """
    from sklearn.neighbors import NearestNeighbors

    inside = table["in_domain"].to_numpy()
    scaled = _scaled(features, inside)
    group, species = table["group"].to_numpy(), table["species"].to_numpy()
    found = np.full(len(table), np.nan)
    for symbol in np.unique(species):
        own = np.flatnonzero(species == symbol)
        cloud = np.flatnonzero((species == symbol) & inside)
        if not len(cloud):
            continue
        # Enough neighbours that some are left when those of an atom's own group are passed over.
        largest = np.unique(group[cloud], return_counts=True)[1].max()
        n = min(len(cloud), NEIGHBOURS + int(largest))
        distances, nearest = (
            NearestNeighbors(n_neighbors=n).fit(scaled[cloud]).kneighbors(scaled[own])
        )
        other = group[cloud][nearest] != group[own][:, None]
        for i, d, keep in zip(own, distances, other, strict=True):
            if keep.any():
                found[i] = d[keep][:NEIGHBOURS].mean()
    return found
