"""What a model trained in a world got right: forces by domain, and the truth in its layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mpprobe.explain import by_domain, force_errors
from mpprobe.models.potential import Potential
from mpprobe.probes import Settings, probe
from mpprobe.probes.sources import probed_blocks
from mpprobe.response import crystal, response
from mpprobe.structures import Frame, as_frames
from mpprobe.toys.structures import DOMAINS, TRAINING, make_structures
from mpprobe.toys.worlds import CHARGE, NOMINAL, World

if TYPE_CHECKING:
    import pandas as pd
    from ase import Atoms

#: Structures of each domain by which a model is judged, and how many times as many of the domain of
#: training: there probes are scored, which need more of them than forces do.
N_TEST, MORE_INSIDE = 16, 4
#: Seeds of those, and of the structures that a model is trained and validated on: apart, whatever
#: the seed of the model.
TEST_SEED, TRAINING_SEED, VALIDATION_SEED = 3_000_000, 1_000_000, 2_000_000
#: Shells whose potential is probed.
SHELLS = (1, 2, 3)
#: The control in tables.
RANDOM = "random weights"

# Of crystals outside this world, so no reference for it.
_PUBLISHED = ("published", "method", "source")

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, eq=False)
class Assessed:
    """What a trained model got right.

    Attributes:
        forces: a row for each domain: the columns of :func:`mpprobe.explain.by_domain`, and
            ``relative``, the force error (root mean square) over the size of the forces, with its
            interval.
        scores: the scores of :func:`mpprobe.probe`, of all targets and splits.
        response: of the force constants of distant ions in a crystal, with random weights beside:
            the table ``fits`` of :class:`mpprobe.response.Response`, without published constants.
        provenance: versions, and what identifies the model and the structures.
    """

    forces: pd.DataFrame
    scores: pd.DataFrame
    response: pd.DataFrame
    provenance: dict[str, Any]


def training_sets(
    world: World, n_train: int, n_valid: int, seed: int = 0
) -> tuple[list[Atoms], list[Atoms]]:
    """Structures to train and to validate on, all of the domain ``crystal``.

    Raises:
        ToyError: fewer than one of either.
    """
    return (
        make_structures(world, TRAINING, n_train, TRAINING_SEED + seed),
        make_structures(world, TRAINING, n_valid, VALIDATION_SEED + seed),
    )


def judging_frames(
    world: World, n: int = N_TEST, domains: Sequence[str] = tuple(DOMAINS)
) -> list[Frame]:
    """Structures of every domain, the same ones for every model.

    Raises:
        ToyError: no such domain, or fewer than one.
    """
    numbers = {domain: n * (MORE_INSIDE if domain == TRAINING else 1) for domain in domains}
    made = [make_structures(world, domain, k, TEST_SEED) for domain, k in numbers.items()]
    return [frame for part in made for frame in as_frames(part)]


def targets_of(world: World, vectors: bool = True) -> list[str]:
    """What a world knows and probes are fitted to, with the field if a model has ``vectors``.

    Without charges of their own, atoms have those that their ions have in other worlds: the
    control, which nothing in their energy depends on.
    """
    source = CHARGE if world.charged else NOMINAL
    own = [f"array:{CHARGE}"] if world.flows else []
    kinds = ["potential", *(["field"] if vectors else [])]
    kinds += [f"potential:shell-{k}" for k in SHELLS]
    return [*own, *(f"{kind}@{source}" for kind in kinds)]


def assess(
    potential: Potential,
    world: World,
    *,
    n: int = N_TEST,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Assessed:
    """Judge a model by structures of every domain, probes in its layers and its response.

    Args:
        potential: trained in this world.
        world: that knows the truth.
        n: structures of each domain, :data:`MORE_INSIDE` times as many of that of training.
        settings: folds, resamples and seed.
        progress: called as the work goes on.

    Raises:
        MPProbeError: what can't be computed, such as a force that isn't finite.
    """
    settings = settings or Settings(n_resamples=500)
    settings = Settings(**{**asdict(settings), "in_domain": (TRAINING,)})
    frames = judging_frames(world, n)
    errors = force_errors(potential, frames, progress=progress)
    forces = by_domain(errors, n_resamples=settings.n_resamples, seed=settings.seed)
    vectors = any(probed_blocks(layer, 1) for layer in potential.layers)
    study = probe(
        potential, frames, targets=targets_of(world, vectors), splits="domain",
        settings=settings, progress=progress,
    )  # fmt: skip
    found = response(potential, crystal("NaCl"), settings=settings, progress=progress)
    fits = found.fits.drop(columns=[c for c in _PUBLISHED if c in found.fits])
    relative = _with_relative(forces, errors.atoms)
    return Assessed(relative, study.scores, fits, errors.provenance | {"world": world.name})


def _with_relative(forces: pd.DataFrame, atoms: pd.DataFrame) -> pd.DataFrame:
    """Add the force error over the size of the reference forces of the same domain."""
    reference = atoms[[f"reference_{axis}" for axis in "xyz"]]
    square = (reference**2).mean(axis=1)
    size = np.sqrt(square.groupby(atoms["domain"]).mean())
    size["all"] = np.sqrt(square.mean())
    size = forces["domain"].map(size)
    ends = {f"relative{end}": forces[f"force_rmse{end}"] / size for end in ("", "_low", "_high")}
    return forces.assign(**ends)


def profile(scores: pd.DataFrame) -> pd.DataFrame:
    """What probes read in the domain of training, layer by layer.

    They are fitted there, with structures held out: elsewhere features can be far off, and one map
    for all would say more of that than of what the layer holds.

    R² within kinds; of vectors, which have no such mean to take off, plain R².

    Returns:
        Index the target; columns the layers from 0 on, NaN where one has no features of the
        target's order, then :data:`RANDOM`, the best layer but 0 with random weights.
    """
    import pandas as pd

    own = scores[(scores["split"] == "domain") & (scores["subset"] == TRAINING)]
    rows = {}
    for target, part in own.groupby("target", sort=False):
        metric = "r2_within" if part["r2_within"].notna().any() else "r2"
        models = {kind: part[part["features"] == kind].set_index("layer")[metric]
                  for kind in ("model", RANDOM)}  # fmt: skip
        rows[target] = {**models["model"], RANDOM: models[RANDOM].drop(0, errors="ignore").max()}
    table = pd.DataFrame(rows).T.rename_axis("target")
    return table[[*sorted(c for c in table if c != RANDOM), RANDOM]]
