"""Do encoded electrostatics explain the force errors? All questions of one model, in one table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ase import Atoms

from mpprobe.activations.journal import Journal
from mpprobe.explain.encoding import TARGETS, EncodingErrors, check_encoding, encoding_errors
from mpprobe.explain.forces import Progress
from mpprobe.explain.questions import (
    ALL,
    BOTH,
    IN_DOMAIN,
    OUT_OF_DOMAIN,
    benjamini_hochberg,
    held_out_domains,
    mixed_model,
    partial_correlations,
)
from mpprobe.interventions import Erasing, ErasingPlan, make_erasing
from mpprobe.interventions.erasing import RANDOM
from mpprobe.models.potential import Potential
from mpprobe.probes import Settings
from mpprobe.structures import Frame, as_frames

if TYPE_CHECKING:
    import pandas as pd

#: Below this corrected p an effect counts.
SIGNIFICANT = 0.05
#: Random subspaces for each target: p can't be below one over one more.
DRAWS = 99
#: The questions, and what answers each.
CORRELATION, MIXED, HELD_OUT, ERASURE = (
    "partial correlation", "mixed model", "held-out domain", "erasure"
)  # fmt: skip
QUESTIONS = {
    CORRELATION: "rank correlation with the force error, given its competitors",
    MIXED: "change of the log force error for one standard deviation, all predictors at once",
    HELD_OUT: "R² of the log force error in a domain not fitted on, above that of the competitors",
    ERASURE: "rise of the force MAE (eV/Å) without the target, beside random subspaces",
}
#: What the numbers say of one target out of domain, or of all where it takes them together.
ENCODING = "encoding"
_COLUMNS = ["question", "domain", "what", "value", "low", "high", "p", "random_median",
            "random_low", "random_high"]  # fmt: skip
_COUNTS = ["n_atoms", "n_structures", "n_compounds"]


@dataclass(frozen=True, eq=False)
class Explained:
    """Whether what a model encodes explains its force errors.

    Attributes:
        effects: a row for each question (:data:`QUESTIONS`), domain and ``what``: the error of a
            decoded target (``error:TARGET``), the same of random weights (``control:TARGET``),
            ``distance``, all decoded targets together (``encoding``), or a TARGET that is erased;
            ``value`` with its 95 % interval ``low`` and ``high``, ``p``, ``p_corrected`` for the
            number of rows (Benjamini and Hochberg), ``supported``: corrected p below 0.05 and an
            effect in the direction that the question asks for; for erasures ``random_median``,
            ``random_low`` and ``random_high`` of random subspaces; counts of what it rests on.
        domains: R² of held-out domains, see :func:`mpprobe.explain.held_out_domains`.
        random: force MAE change of every random subspace: ``target``, ``domain``, ``draw``,
            ``value`` (eV/Å).
        erasures, decoding: see :class:`mpprobe.interventions.Erasing`, with ``target``.
        encoding: the errors behind it all.
        provenance: versions, settings, hashes of model and structures.
    """

    effects: pd.DataFrame
    domains: pd.DataFrame
    random: pd.DataFrame
    erasures: pd.DataFrame
    decoding: pd.DataFrame
    encoding: EncodingErrors
    provenance: dict


def explain(
    potential: Potential,
    structures: Atoms | Frame | Iterable[Atoms | Frame],
    *,
    targets: Sequence[str] = TARGETS,
    draws: int = DRAWS,
    settings: Settings | None = None,
    max_atoms: int | None = None,
    progress: Progress | None = None,
    journal: Journal | None = None,
) -> Explained:
    """Ask every question of what a potential encodes and what its forces get wrong.

    Whether errors of decoded quantities go with force errors (:func:`partial_correlations`,
    :func:`mixed_model`) and predict them in domains not fitted on (:func:`held_out_domains`),
    beside the distance from the training cloud and what random weights decode; and whether forces
    need the decoded subspaces, in domain and out of it, beside random ones (:func:`erase`, all
    layers at once, less the mean over each species in each compound).

    Args:
        potential: from :func:`mpprobe.load`.
        structures: with reference forces, in domain and out of it.
        targets: names, see :func:`mpprobe.targets.target_names`.
        draws: random subspaces for each target, 20 or more.
        settings: folds, resamples, seed, and which domains are in domain.
        max_atoms: most atoms in one forward pass.
        progress: called as the work goes on.
        journal: keeps the effects of random subspaces, which are most of the work.

    Raises:
        StructureError: a structure has no reference forces.
        ProbeError: no structure in domain or none out of it, too few, or no target.
        InterventionError: fewer draws, or a target that can't be erased.
        MPProbeError: a structure or target that can't be used.
    """
    plan = make_explaining(potential, structures, targets=targets, draws=draws, settings=settings)
    return plan.run(max_atoms=max_atoms, progress=progress, journal=journal)


@dataclass(frozen=True, eq=False)
class ExplainingPlan:
    """Questions whose input has been checked, ready to :meth:`run`.

    Attributes:
        potential, frames, settings: what is asked of, and how.
        erasing: for each target.
    """

    potential: Potential
    frames: list[Frame]
    settings: Settings
    erasing: list[ErasingPlan]

    @property
    def provenance(self) -> dict:
        """What identifies the result."""
        about = dict(self.erasing[0].provenance)
        for key in ("target", "target_l", "layers"):
            about.pop(key)
        layers = {plan.target.name: list(plan.layers) for plan in self.erasing}
        return {**about, "targets": list(layers), "erased_layers": layers}

    def run(
        self,
        *,
        max_atoms: int | None = None,
        progress: Progress | None = None,
        journal: Journal | None = None,
    ) -> Explained:
        """Ask; arguments and errors as in :func:`explain`."""
        import pandas as pd

        targets = [plan.target.name for plan in self.erasing]
        encoding = encoding_errors(
            self.potential, self.frames, targets=targets, settings=self.settings,
            max_atoms=max_atoms, progress=progress,
        )  # fmt: skip
        sampling = {"n_resamples": self.settings.n_resamples, "seed": self.settings.seed}
        atoms = encoding.atoms
        domains = held_out_domains(atoms, **sampling)
        rows = [
            _asked(CORRELATION, partial_correlations(atoms, **sampling)),
            _asked(MIXED, mixed_model(atoms)),
            _gains(domains),
        ]
        drawn, erasures, decoding = [], [], []
        for plan in self.erasing:
            found = plan.run(max_atoms=max_atoms, progress=progress, journal=journal)
            target = {"target": plan.target.name}
            rows.append(_erased(found, atoms))
            drawn.append(_drawn(found).assign(**target))
            erasures.append(found.erasures.assign(**target))
            decoding.append(found.decoding.assign(**target))
        random, erased, decoded = (
            pd.concat(t, ignore_index=True) for t in (drawn, erasures, decoding)
        )
        effects = _corrected(pd.concat(rows, ignore_index=True))
        return Explained(effects, domains, random, erased, decoded, encoding, self.provenance)


def make_explaining(
    potential: Potential,
    structures: Atoms | Frame | Iterable[Atoms | Frame],
    *,
    targets: Sequence[str] = TARGETS,
    draws: int = DRAWS,
    settings: Settings | None = None,
) -> ExplainingPlan:
    """Check everything that :func:`explain` is given, before any work is done.

    Arguments and errors as in :func:`explain`.
    """
    settings = settings or Settings()
    frames = as_frames(structures)
    check_encoding(potential, frames, targets, settings)
    erasing = [
        make_erasing(
            potential, frames, layers="all", target=target, draws=draws, random_weights=False,
            settings=settings,
        )
        for target in dict.fromkeys(targets)
    ]  # fmt: skip
    return ExplainingPlan(potential, frames, settings, erasing)


def _asked(question: str, found: pd.DataFrame) -> pd.DataFrame:
    """Answers in domain and out of it."""
    found = found[found["subset"] != ALL].rename(columns={"subset": "domain", "predictor": "what"})
    return found.assign(question=question)


def _gains(domains: pd.DataFrame) -> pd.DataFrame:
    """What encoding adds to the competitors, in each domain and in all that are out of domain."""
    found = domains[domains["predictors"] == BOTH].drop(columns=["value", "low", "high"])
    found = found.rename(columns={"gain": "value", "gain_low": "low", "gain_high": "high"})
    return found.assign(
        question=HELD_OUT, what=ENCODING, domain=found["domain"].replace(ALL, OUT_OF_DOMAIN)
    )


def _erased(found: Erasing, atoms: pd.DataFrame) -> pd.DataFrame:
    """Change of the force MAE in domain and out of it."""
    own = found.summary[found.summary["measure"] == "mae_change"]
    own = own[own["domain"].isin([IN_DOMAIN, OUT_OF_DOMAIN])].rename(
        columns={"median": "random_median", "lowest": "random_low", "highest": "random_high"}
    )
    parts = [atoms[atoms["in_domain"] == (name == IN_DOMAIN)] for name in own["domain"]]
    return own.assign(
        question=ERASURE, what=found.provenance["target"], n_atoms=[len(part) for part in parts],
        n_compounds=[part["compound"].nunique() for part in parts],
    )  # fmt: skip


def _drawn(found: Erasing) -> pd.DataFrame:
    """The force MAE change of each random subspace, by domain."""
    own = found.effects[found.effects["edit"] == RANDOM]
    return own.rename(columns={"mae_change": "value"})[["domain", "draw", "value"]]


def _corrected(effects: pd.DataFrame) -> pd.DataFrame:
    """With p-values corrected for the number of rows, and what they support."""
    effects = effects.reindex(columns=[*_COLUMNS, *_COUNTS])
    corrected = benjamini_hochberg(effects["p"])
    above = effects["value"] > effects["random_median"].fillna(0.0)
    place = _COLUMNS.index("p") + 1
    effects.insert(place, "p_corrected", corrected)
    effects.insert(place + 1, "supported", (corrected < SIGNIFICANT) & above)
    return effects
