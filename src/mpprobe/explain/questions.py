"""Does what the hidden states get wrong explain what the forces get wrong?"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mpprobe.errors import ProbeError
from mpprobe.interventions.effects import ALL, IN_DOMAIN, OUT_OF_DOMAIN
from mpprobe.probes.scores import MIN_GROUPS

if TYPE_CHECKING:
    import pandas as pd

#: Before the name of a target: its error, as decoded from the model's features and from those of
#: random weights. And the distance from the training cloud.
ERROR, CONTROL, DISTANCE = "error:", "control:", "distance"
#: Sets of predictors of a domain that is held out.
COMPETITORS, BOTH = "competitors", "both"
#: Atoms and compounds a subset needs.
MIN_ATOMS, MIN_COMPOUNDS = 50, 3
#: Share of the sum of squares below which what a fit leaves is rounding.
ROUNDING = 1e-8
# Columns of the table of held-out domains, which are there also where no domain is large enough.
_HELD_OUT = ["domain", "predictors", "value", "low", "high", "gain", "gain_low", "gain_high", "p",
             "n_atoms", "n_structures", "n_compounds"]  # fmt: skip
#: eV/Å added before a logarithm of a force or its error, about the precision of the reference.
SMALL = 1e-3


def predictors(atoms: pd.DataFrame) -> list[str]:
    """Errors of decoded quantities, and their competitors.

    Those are the same decoded from random weights, and the distance from the training cloud.
    """
    return [*_encoding(atoms), *_competitors(atoms)]


def _encoding(atoms: pd.DataFrame) -> list[str]:
    return [c for c in atoms.columns if c.startswith(ERROR)]


def _competitors(atoms: pd.DataFrame) -> list[str]:
    return [*(c for c in atoms.columns if c.startswith(CONTROL)), DISTANCE]


def _rivals(atoms: pd.DataFrame, predictor: str) -> list[str]:
    """What else may account for it: the distance and its own counterpart, or all others."""
    others = [p for p in predictors(atoms) if p != predictor]
    target = predictor.partition(":")[2]
    return [p for p in others if predictor == DISTANCE or p in (DISTANCE, ERROR + target,
                                                                CONTROL + target)]  # fmt: skip


def partial_correlations(
    atoms: pd.DataFrame, *, n_resamples: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Rank correlations of the force error with each predictor, given the others that compete.

    Force error and predictor are ranked over the atoms; from both is taken what a linear fit on
    the ranks of the size of the reference force, on the species of each compound, on the distance
    from the training cloud, and on the error of the same target decoded from random weights gives
    (for a control: on that of the model; for the distance: on all other predictors). The
    correlation of what is left is the partial one. Compounds are resampled, and the groups of
    structures within them, with the fits held fixed.

    Args:
        atoms: the table of :class:`mpprobe.explain.EncodingErrors`.
        n_resamples, seed: of the bootstrap.

    Returns:
        A row for each subset (``all``, ``in domain``, ``out of domain``) with enough atoms and
        compounds, and predictor: ``subset``, ``predictor``, ``value``, ``low``, ``high`` (95 %),
        ``p`` (two-sided, from the share of resamples on the other side of zero), ``n_atoms``,
        ``n_structures``, ``n_compounds``. NaN for a predictor that its competitors fix, and for
        all where they fix the force error.
    """
    import pandas as pd

    rows = []
    for subset, own in _subsets(atoms):
        ranks = own[["force_error", "force", *predictors(atoms)]].rank()
        kind = pd.get_dummies(own["compound"] + " " + own["species"], dtype=float).to_numpy()
        group, counts = nested_resamples(own, n_resamples, seed)
        for predictor in predictors(atoms):
            rivals = ranks[["force", *_rivals(atoms, predictor)]]
            given = np.column_stack([rivals.to_numpy(), kind])
            y, x = (_left(ranks[c].to_numpy(), given) for c in ("force_error", predictor))
            sums = [np.bincount(group, v, minlength=counts.shape[1]) for v in (x * y, x * x, y * y)]
            xy, xx, yy = (counts @ s for s in sums)
            r = np.full_like(xy, np.nan)
            if all(_is_left(v, ranks[c].to_numpy()) for v, c in ((x, predictor),
                                                                 (y, "force_error"))):  # fmt: skip
                with np.errstate(invalid="ignore", divide="ignore"):
                    r = xy / np.sqrt(xx * yy)
            rows.append({
                "subset": subset, "predictor": predictor, "value": r[0],
                **_interval(r[1:], counts.shape[1]), **_counts(own),
            })  # fmt: skip
    return pd.DataFrame(rows)


def mixed_model(atoms: pd.DataFrame) -> pd.DataFrame:
    """Log force errors by all log predictors at once, with random compounds and structures.

    log(force error) = Σ β z(log predictor) + γ z(log force) + species + compound + structure +
    rest, z standardised over the atoms; compounds and structures within them are random, species
    fixed (statsmodels' MixedLM, restricted maximum likelihood). Where each compound has one
    structure, there is one random part for both.

    Returns:
        A row for each subset and predictor: ``subset``, ``predictor``, ``value`` (β, the change
        of the log force error for one standard deviation of the log predictor), ``low``, ``high``
        (95 %, Wald), ``p``, ``n_atoms``, ``n_structures``, ``n_compounds``. NaN for a predictor
        that the others fix, and for all where every force error is the same.
    """
    import pandas as pd

    rows = []
    for subset, own in _subsets(atoms):
        names = {p: f"x{k}" for k, p in enumerate(predictors(atoms))}
        table = pd.DataFrame({name: _standard(_log(own[p])) for p, name in names.items()})
        table = table.assign(
            y=np.log(own["force_error"].to_numpy() + SMALL),
            force=_standard(np.log(own["force"].to_numpy() + SMALL)),
            species=own["species"].to_numpy(), compound=own["compound"].to_numpy(),
            structure=own["structure"].to_numpy(),
        )  # fmt: skip
        given = pd.get_dummies(table["species"], dtype=float).assign(force=table["force"])
        fitted, fixed = _determined(table[list(names.values())], given)
        answers = _mixed_fit(table, fitted).drop(index=fixed, errors="ignore")
        for predictor, name in names.items():
            answer = answers[["value", "low", "high", "p"]].reindex([name]).iloc[0]
            rows.append({"subset": subset, "predictor": predictor, **answer, **_counts(own)})
    return pd.DataFrame(rows)


def _mixed_fit(table: pd.DataFrame, fitted: Sequence[str]) -> pd.DataFrame:
    """Estimates, intervals and p by column; none where there is nothing to fit."""
    import pandas as pd
    import statsmodels.formula.api as smf

    y = table["y"].to_numpy()
    if not _is_left(y - y.mean(), y):
        return pd.DataFrame(columns=["low", "high", "value", "p"])
    force = ["force"] if table["force"].any() else []  # all zero where forces are all the same
    formula = " + ".join(["y ~ C(species)", *force, *fitted])
    nested = table["structure"].nunique() > table["compound"].nunique()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of variances at zero, which are an answer too
        fit = smf.mixedlm(
            formula, table, groups="compound", re_formula="1",
            vc_formula={"structure": "0 + C(structure)"} if nested else None,
        ).fit(reml=True)  # fmt: skip
    answers = fit.conf_int().set_axis(["low", "high"], axis=1)
    return answers.assign(value=fit.params, p=fit.pvalues)


def held_out_domains(
    atoms: pd.DataFrame, *, n_resamples: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """How well force errors of a domain are predicted from those of all others.

    A linear fit of the log force error on sets of predictors, with the log of the reference force
    and the species in each set, is made on all domains but one, and scored on that one.

    Returns:
        A row for each domain out of domain, and ``all`` of them, and each set (``force only``,
        ``distance``, ``competitors``: the distance and what random weights get wrong,
        ``encoding``: what the model gets wrong, ``both``): ``domain``, ``predictors``, ``value``,
        R² of the log force error about its mean in that domain, ``low``, ``high`` (95 %, over
        structures and compounds); ``gain``, R² above that of ``competitors``, with ``gain_low``,
        ``gain_high`` and ``p`` (two-sided).
    """
    import pandas as pd

    encoding, competitors = _encoding(atoms), _competitors(atoms)
    sets = {"force only": [], "distance": [DISTANCE], COMPETITORS: competitors,
            "encoding": encoding, BOTH: [*competitors, *encoding]}  # fmt: skip
    atoms = atoms.dropna(subset=predictors(atoms)).reset_index(drop=True)
    y = np.log(atoms["force_error"].to_numpy() + SMALL)
    species = pd.get_dummies(atoms["species"], dtype=float).to_numpy()
    force = np.log(atoms["force"].to_numpy() + SMALL)
    outside = list(dict.fromkeys(atoms["domain"][~atoms["in_domain"]]))
    predicted = {name: np.full(len(atoms), np.nan) for name in sets}
    for domain in outside:
        test = (atoms["domain"] == domain).to_numpy()
        for name, columns in sets.items():
            logs = [_log(atoms[c]) for c in columns]
            x = np.column_stack([species, force, *logs])
            fit = np.linalg.lstsq(x[~test], y[~test], rcond=None)[0]
            predicted[name][test] = x[test] @ fit
    rows = []
    for domain in [*outside, ALL]:
        chosen = atoms["domain"].isin(outside) if domain == ALL else atoms["domain"] == domain
        own = atoms[chosen]
        if len(own) < MIN_ATOMS:
            continue
        here = chosen.to_numpy()
        mean = atoms["domain"][here].map(pd.Series(y).groupby(atoms["domain"]).mean()).to_numpy()
        group, counts = nested_resamples(own, n_resamples, seed)
        total = counts @ np.bincount(group, (y[here] - mean) ** 2, minlength=counts.shape[1])
        least = ROUNDING * (y[here] ** 2).sum()
        r2 = {}
        for name in sets:
            off = (y[here] - predicted[name][here]) ** 2
            left = counts @ np.bincount(group, off, minlength=counts.shape[1])
            r2[name] = 1 - np.divide(
                left, total, out=np.full_like(total, np.nan), where=total > least
            )
        for name in sets:
            gain = r2[name] - r2[COMPETITORS]
            own_interval, spread = (_interval(v[1:], counts.shape[1]) for v in (r2[name], gain))
            rows.append({
                "domain": domain, "predictors": name, "value": r2[name][0],
                "low": own_interval["low"], "high": own_interval["high"], "gain": gain[0],
                "gain_low": spread["low"], "gain_high": spread["high"],
                "p": spread["p"] if name != COMPETITORS else np.nan, **_counts(own),
            })  # fmt: skip
    return pd.DataFrame(rows, columns=_HELD_OUT)


def benjamini_hochberg(p: Sequence[float] | np.ndarray) -> np.ndarray:
    """p-values corrected for their number (Benjamini and Hochberg, 1995); NaN stays and isn't
    counted."""
    from scipy.stats import false_discovery_control

    p = np.asarray(p, dtype=float)
    known = np.isfinite(p)
    corrected = np.full(len(p), np.nan)
    if known.any():
        corrected[known] = false_discovery_control(p[known])
    return corrected


def nested_resamples(
    atoms: pd.DataFrame, n_resamples: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Resamples of compounds, and of the groups of structures within each that is drawn.

    Returns:
        The group of each atom, (n_atoms,), and how often each group is in the data set (row 0) and
        in every resample, (1 + n_resamples, n_groups).
    """
    groups, group = np.unique(atoms["group"].to_numpy(), return_inverse=True)
    first = np.unique(group, return_index=True)[1]
    compound = np.unique(atoms["compound"].to_numpy()[first], return_inverse=True)[1]
    members = [np.flatnonzero(compound == c) for c in range(compound.max() + 1)]
    rng = np.random.default_rng(seed)
    counts = np.zeros((1 + n_resamples, len(groups)))
    counts[0] = 1
    for row in counts[1:]:
        for c in rng.integers(len(members), size=len(members)):
            np.add.at(row, rng.choice(members[c], size=len(members[c])), 1)
    return group, counts


def _subsets(atoms: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    atoms = atoms.dropna(subset=predictors(atoms))
    found = [(ALL, atoms), (IN_DOMAIN, atoms[atoms["in_domain"]]),
             (OUT_OF_DOMAIN, atoms[~atoms["in_domain"]])]  # fmt: skip
    kept = [
        (name, own) for name, own in found
        if len(own) >= MIN_ATOMS and own["compound"].nunique() >= MIN_COMPOUNDS
    ]  # fmt: skip
    if not kept:
        raise ProbeError(
            f"too little to explain: give {MIN_ATOMS} atoms of {MIN_COMPOUNDS} compounds or more"
        )
    return kept


def _left(values: np.ndarray, given: np.ndarray) -> np.ndarray:
    """What a linear fit on ``given`` leaves."""
    return values - given @ np.linalg.lstsq(given, values, rcond=None)[0]


def _is_left(left: np.ndarray, values: np.ndarray) -> bool:
    """Whether a fit left more of the values than rounding."""
    return bool((left**2).sum() > ROUNDING * (values**2).sum())


def _determined(predictors: pd.DataFrame, given: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Columns to fit, of which none is fixed by those before it, and those fixed by all others."""
    columns = {name: predictors[name].to_numpy() for name in predictors}
    fitted: list[str] = []
    fixed = []
    for name, values in columns.items():
        before = [columns[other] for other in fitted]
        others = [column for other, column in columns.items() if other != name]
        if _is_left(_left(values, np.column_stack([given, *before])), values):
            fitted.append(name)
        if not _is_left(_left(values, np.column_stack([given, *others])), values):
            fixed.append(name)
    return fitted, [name for name in fixed if name in fitted]


def _log(values: pd.Series) -> np.ndarray:
    """Logarithm of a predictor, of which a thousandth of the median is added to keep zeros in."""
    values = values.to_numpy()
    return np.log(values + 1e-3 * np.median(values) + np.finfo(float).tiny)


def _standard(values: np.ndarray) -> np.ndarray:
    spread = values.std()
    if spread <= np.sqrt(ROUNDING) * np.abs(values).max():  # a constant
        return np.zeros_like(values)
    return (values - values.mean()) / spread


def _interval(replicates: np.ndarray, n_groups: int) -> dict[str, float]:
    """Percentile interval and two-sided p; NaN where there are too few groups of structures."""
    finite = replicates[np.isfinite(replicates)]
    if n_groups < MIN_GROUPS or 2 * len(finite) < len(replicates):
        return {"low": np.nan, "high": np.nan, "p": np.nan}
    low, high = np.quantile(finite, [0.025, 0.975])
    sides = (finite <= 0).sum(), (finite >= 0).sum()
    return {"low": low, "high": high, "p": min(1.0, 2 * (1 + min(sides)) / (1 + len(finite)))}


def _counts(own: pd.DataFrame) -> dict[str, int]:
    return {"n_atoms": len(own), "n_structures": own["structure"].nunique(),
            "n_compounds": own["compound"].nunique()}  # fmt: skip
