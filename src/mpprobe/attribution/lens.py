"""At which layer is the energy known? Site energies read from every layer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms

from mpprobe.activations.capture import batch_limit, batches
from mpprobe.activations.evaluate import Evaluator
from mpprobe.errors import AttributionError
from mpprobe.models.controls import models_of
from mpprobe.models.potential import Potential
from mpprobe.probes import Settings, make_split
from mpprobe.probes.baselines import label_means, one_hot
from mpprobe.probes.crossfit import cross_predict
from mpprobe.probes.duplicates import kept_together
from mpprobe.probes.scores import Scorer
from mpprobe.probes.sources import probed_blocks, probed_columns
from mpprobe.structures import Frame, as_frames, check

if TYPE_CHECKING:
    import pandas as pd

    from mpprobe.probes.scores import Scores

#: How a layer's energy is read: by a linear readout fitted here, or by the model's own, added up.
FITTED, OWN = "fitted", "model's own"


def energy_lens(
    potential: Potential,
    structures: Atoms | Frame | Iterable[Atoms | Frame],
    *,
    random_weights: bool = True,
    settings: Settings | None = None,
    max_atoms: int | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> pd.DataFrame:
    """How well each layer already tells the site energies that the model ends with.

    A linear readout of the scalars, with a constant for each species in each compound (for the
    error: for each species), is fitted to the model's own site energies in every layer and scored
    on structures held out. Where the model reads energies out layer by layer, as MACE does, the sum
    of its own readouts up to a layer is scored too.

    Args:
        potential: from :func:`mpprobe.load`.
        structures: whose site energies.
        random_weights: also the architecture with random weights, on its own site energies.
        settings: folds, resamples and seed.
        max_atoms: most atoms in one forward pass.
        progress: called after every layer.

    Returns:
        A row for each model (``trained``, ``random weights``), way of reading (``fitted``,
        ``model's own``) and layer: ``r2_within`` (within kinds, species in compounds) and ``mae``
        (eV), each with its 95 % interval over structures, ``_low`` and ``_high``; for the model's
        own readouts the error of what they sum to.

    Raises:
        AttributionError: no structures.
        MPProbeError: a structure that can't be used, or too few to hold some out.
    """
    import pandas as pd

    settings = settings or Settings()
    frames = as_frames(structures)
    if not frames:
        raise AttributionError("nothing to read: give structures")
    check(frames, species=potential.species, cutoff=potential.cutoff)
    frames, _ = kept_together(frames, potential.cutoff)
    split = make_split("structure", frames, n_folds=settings.n_folds, seed=settings.seed)
    scorer = Scorer.from_frames(frames, n_resamples=settings.n_resamples, seed=settings.seed)
    species = one_hot(np.concatenate([frame.numbers for frame in frames]))
    rows = []
    for name, model in models_of(potential, random_weights, settings.seed):
        layers = [layer for layer in model.layers if probed_blocks(layer, 0)]
        run = Evaluator(model, frames, max_atoms).run(layers=[t.index for t in layers])
        energy, kind = run.site_energies, scorer.kind
        levels = label_means(energy[:, None], kind, split)[:, 0]
        for k, layer in enumerate(layers):
            x = run.features[layer.index][:, probed_columns(layer, 0)[:, 0]]
            x = x.astype(np.float64)
            within = cross_predict(x, energy[:, None], split, kinds=kind).predictions[:, 0]
            whole = cross_predict(np.hstack([x, species]), energy[:, None], split)
            scores = scorer.score(
                energy, whole.predictions[:, 0], whole.scored, within=within, levels=levels
            )
            rows.append({"model": name, "readout": FITTED, "layer": layer.index, **_cells(scores)})
            if progress is not None:
                progress(f"energies in {model.name}", k + 1, len(layers))
        total = np.zeros(len(energy))
        for index, part in sorted(_own_parts(model, frames, max_atoms).items()):
            total = total + part
            scores = scorer.score(energy, total, np.full(len(energy), True))
            rows.append({"model": name, "readout": OWN, "layer": index, **_cells(scores)})
    return pd.DataFrame(rows)


def _own_parts(
    model: Potential, frames: list[Frame], max_atoms: int | None
) -> dict[int, np.ndarray]:
    parts: dict[int, list[np.ndarray]] = {}
    for chosen in batches(frames, batch_limit(model, max_atoms)):
        found = model.layer_energies(model.batch([frames[i] for i in chosen]))
        for layer, energies in found.items():
            parts.setdefault(layer, []).append(energies.cpu().numpy().astype(np.float64))
    return {layer: np.concatenate(own) for layer, own in parts.items()}


def _cells(scores: Scores) -> dict[str, float]:
    cells: dict[str, float] = {}
    for name in ("r2_within", "mae"):
        estimate = getattr(scores, name)
        low, high = estimate.interval()
        cells |= {name: estimate.value, f"{name}_low": low, f"{name}_high": high}
    return cells
