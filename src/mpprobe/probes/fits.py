"""One source of features fitted and scored: every assignment to folds, every target, every control.

The score within kinds (for vectors R²) is the mean over the assignments. Its interval is that of
the first one: where folds are whole cells, a jackknife over what is held out that fits every map
again; elsewhere a bootstrap with the maps held fixed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from mpprobe.probes.baselines import label_means
from mpprobe.probes.controls import random_directions, shuffle_within_kinds
from mpprobe.probes.crossfit import accumulate, apply_maps, solve_folds
from mpprobe.probes.executor import Executor
from mpprobe.probes.heldout import (
    HeldOut,
    Refit,
    chosen_by_fold,
    code_lengths,
    hold_out,
    levels_only,
    r2_within,
    ridge_refit,
    slopes_refit,
    solved_maps,
)
from mpprobe.probes.ridge import LinearMap, RidgeProbe
from mpprobe.probes.scores import MIN_GROUPS, Estimate, Jackknife, Scorer, Scores
from mpprobe.probes.sources import Source
from mpprobe.probes.splits import Split

#: Random directions and shuffled targets of each assignment.
DIRECTIONS, SHUFFLES = 4, 1


@dataclass
class Fitted:
    """What the fits of one source gave, for each of t targets.

    Attributes:
        scores: over all atoms tested.
        by_domain: over those of each domain, of the first assignment.
        whole, within: predictions of the first assignment by the maps fitted to the whole target
            and within kinds, shaped like the targets (for vectors the same).
        shuffled, directions: the scores of these controls; empty unless asked for.
        errors: squared errors of the inner folds, (assignments, F, t).
        held: sums over held-out rows of each assignment; empty where folds aren't whole cells, and
            then the predictions of each stand in ``every``.
    """

    scores: list[Scores]
    by_domain: list[dict[str, Scores]]
    whole: np.ndarray
    within: np.ndarray
    shuffled: list[Scores] = field(default_factory=list)
    directions: list[Scores] = field(default_factory=list)
    errors: np.ndarray = field(default_factory=lambda: np.empty(0))
    held: list[HeldOut] = field(default_factory=list)
    every: list[np.ndarray] = field(default_factory=list)


@dataclass(frozen=True)
class _Fit:
    """One assignment: the probe, its maps within kinds, and what came of them."""

    probe: RidgeProbe
    maps: tuple[LinearMap, ...]
    within: np.ndarray
    held: HeldOut | None
    value: np.ndarray


@dataclass(frozen=True, eq=False)
class Fits:
    """Targets of one order and assignments of one split, by which every source is scored.

    Attributes:
        targets: (n_atoms, t), or (n_atoms, 3, t).
        kinds: (n_atoms,), see :func:`mpprobe.probes.scores.kinds`.
        domain: (n_atoms,) names.
        assignments: of the atoms to folds.
        scorer: with the resamples of what is held out.
        seed: of shuffles and directions.
        executor: who reads rows and solves.
    """

    targets: np.ndarray
    kinds: np.ndarray
    domain: np.ndarray
    assignments: Sequence[Split]
    scorer: Scorer
    seed: int
    executor: Executor

    @property
    def metric(self) -> str:
        """The main one: within kinds, of vectors plain R²."""
        return "r2_within" if self.targets.ndim == 2 else "r2"

    def of_targets(self, chosen: Sequence[int]) -> Fits:
        """The same of some of the targets."""
        return replace(self, targets=self.targets[..., list(chosen)])

    def prepare(self) -> None:
        """Compute what all fits share, before they are shared out among threads."""
        _ = self.blank, self._means
        if self._split(0).by_cells:
            _ = self.levels

    def fit(
        self, members: Sequence[Source], *, controls: bool = False, brief: bool = False
    ) -> Fitted:
        """Fit a source, or the same source of several random models, to all targets.

        Args:
            members: the r-th assignment takes the r-th of them, beginning again after the last.
            controls: also score shuffled targets and random directions.
            brief: the main score only.
        """
        n = max(len(members), len(self.assignments))
        fits = [self._fit(members[r % len(members)], r, controls) for r in range(n)]
        first, t = fits[0], self.targets.shape[-1]
        values = np.array([fit.value for fit in fits])
        scores, by_domain, whole = self._first(members[0], first, brief=brief)
        coded = self._split(0).by_cells and not brief
        codes = code_lengths(first.probe, self._split(0)) if coded else None
        fitted = Fitted(
            [self._scores(scores[i], first, values[:, i], i, codes) for i in range(t)],
            by_domain, whole, first.within[..., :t],
            errors=np.array([[m.error[:t] for m in fit.maps] for fit in fits]),
            held=[fit.held for fit in fits if fit.held is not None],
            every=[fit.within[..., :t] for fit in fits if fit.held is None],
        )  # fmt: skip
        if controls:
            fitted.shuffled = [
                self._with_main(
                    self.blank[i], self._of_shuffled(first, t + i), values[:, t + i :: t].ravel()
                )
                for i in range(t)
            ]
            fitted.directions = self._directions(members[0], fits)
        return fitted

    def of_means(self, whole: np.ndarray) -> tuple[list[Scores], list[dict[str, Scores]]]:
        """Scores of means of species or compounds, which are zero within kinds."""
        scores, by_domain = self._scored(whole, self._means)
        if self._split(0).by_cells:
            zero = self._jackknifed(np.zeros(1 + len(np.unique(self._split(0).cells))))
            scores = [replace(s, r2_within=zero, spread=(0.0, 0.0)) for s in scores]
        return scores, by_domain

    def chosen(self, layers: Sequence[Fitted], target: int) -> tuple[Scores, np.ndarray]:
        """The layer with the least inner error of each fold, scored on what the fold holds out.

        Returns:
            The scores, and which of ``layers`` was chosen, (assignments, F).
        """
        errors = np.stack([layer.errors[..., target] for layer in layers])
        best = errors.argmin(axis=0)
        if layers[0].held:
            replicates = [
                r2_within(
                    chosen_by_fold([layer.held[r] for layer in layers], picks, target),
                    self.levels[r].of_outputs([target]),
                )[:, 0]
                for r, picks in enumerate(best)
            ]
            estimate = self._jackknifed(replicates[0])
            values = np.array([replicate[0] for replicate in replicates])
        else:
            decoded = [
                self._picked([layer.every[r][..., target] for layer in layers], picks, r)
                for r, picks in enumerate(best)
            ]
            alone = self.of_targets([target])
            values = np.array([
                alone._values(alone.targets, within[..., None], r)[0]
                for r, within in enumerate(decoded)
            ])  # fmt: skip
            estimate = getattr(self._score(target, decoded[0], decoded[0]), self.metric)
        return self._with_main(self.blank[target], estimate, values), best

    def _picked(self, decoded: Sequence[np.ndarray], picks: np.ndarray, r: int) -> np.ndarray:
        """Of several predictions, in each fold that of the one chosen there."""
        found = np.full_like(decoded[0], np.nan)
        for k, pick in enumerate(picks):
            rows = self._split(r).test == k
            found[rows] = decoded[pick][rows]
        return found

    @cached_property
    def levels(self) -> list[HeldOut]:
        """What the means of the kinds leave, of each assignment, of targets and shuffled ones."""
        found = []
        for r, split in enumerate(self.assignments):
            y = self._shuffled(r)
            nothing = np.empty((len(y), 0, *y.shape[1:-1]))
            probe = accumulate(nothing, y, split, kinds=self.kinds)
            found.append(hold_out(probe, split, levels_only, jackknife=r == 0))
        return found

    @cached_property
    def blank(self) -> list[Scores]:
        """Scores of the atoms tested with no number, of each target."""
        found = []
        for i in range(self.targets.shape[-1]):
            means = self._means[..., i]
            scores = self._score(i, means, means)
            whole, within, mae = (
                Estimate(np.nan, estimate.replicates * np.nan, estimate.resampling)
                for estimate in (scores.r2, scores.r2_within, scores.mae)
            )
            found.append(replace(scores, r2=whole, r2_within=within, mae=mae))
        return found

    def _split(self, r: int) -> Split:
        return self.assignments[r % len(self.assignments)]

    def _shuffled(self, r: int) -> np.ndarray:
        """Targets, and behind them the shuffled ones of the r-th assignment."""
        draws = [
            shuffle_within_kinds(self.targets, self.kinds, self.seed + 1 + SHUFFLES * r + k)
            for k in range(SHUFFLES)
        ]
        return np.concatenate([self.targets, *draws], axis=-1)

    def _fit(self, source: Source, r: int, controls: bool) -> _Fit:
        split, y = self._split(r), self._shuffled(r) if controls else self.targets
        probe = accumulate(
            source.values, y, split, kinds=self.kinds, covariates=source.covariates,
            executor=self.executor,
        )  # fmt: skip
        maps = solve_folds(probe, split, within=True, executor=self.executor)
        within, held = np.empty(0), None
        if r == 0 or not split.by_cells:
            within = apply_maps(
                source.values, maps, split, kinds=self.kinds, executor=self.executor
            )
        if split.by_cells:
            refit = ridge_refit(maps, source.covariates) if r == 0 else solved_maps(maps)
            held = hold_out(probe, split, refit, jackknife=r == 0)
            levels = self.levels[r % len(self.levels)].of_outputs(slice(0, y.shape[-1]))
            value = r2_within(held, levels)[0]
        else:
            value = self._values(y, within, r)
        return _Fit(probe, maps, within, held, value)

    def _values(self, y: np.ndarray, within: np.ndarray, r: int) -> np.ndarray:
        """The main score of every output, without an interval."""
        split = self._split(r)
        scorer = replace(self.scorer, bootstrap=replace(self.scorer.bootstrap, n_resamples=0))
        levels = label_means(y, self.kinds, split)
        return np.array([
            getattr(
                scorer.score(y[..., i], within[..., i], split.scored, levels=levels[..., i]),
                self.metric,
            ).value
            for i in range(y.shape[-1])
        ])  # fmt: skip

    def _first(
        self, source: Source, fit: _Fit, *, brief: bool
    ) -> tuple[list[Scores], list[dict[str, Scores]], np.ndarray]:
        """Scores with bootstrap intervals, and predictions of maps fitted to the whole targets."""
        split, t = self._split(0), self.targets.shape[-1]
        whole = fit.within[..., :t]
        if brief:
            return self.blank, [], whole
        if self.targets.ndim == 2:
            probe = fit.probe.of_outputs(range(t))
            maps = solve_folds(probe, split, within=False, executor=self.executor)
            whole = apply_maps(source.values, maps, split, executor=self.executor)
        return *self._scored(whole, fit.within), whole

    def _scored(
        self, whole: np.ndarray, within: np.ndarray
    ) -> tuple[list[Scores], list[dict[str, Scores]]]:
        """Scores of every target over all tested atoms, and over those of each domain."""
        domains = np.unique(self.domain[self._split(0).scored])
        several = len(np.unique(self.domain)) > 1
        scores, by_domain = [], []
        for i in range(self.targets.shape[-1]):
            found = whole[..., i], within[..., i]
            scores.append(self._score(i, *found))
            parts = {str(name): self.domain == name for name in domains if several}
            by_domain.append({name: self._score(i, *found, own) for name, own in parts.items()})
        return scores, by_domain

    def _score(
        self, i: int, whole: np.ndarray, within: np.ndarray, where: np.ndarray | None = None
    ) -> Scores:
        scored = self._split(0).scored
        return self.scorer.score(
            self.targets[..., i], whole, scored if where is None else scored & where,
            within=within, levels=self._means[..., i],
        )  # fmt: skip

    @cached_property
    def _means(self) -> np.ndarray:
        """The training set's mean of each kind, of the first assignment."""
        return label_means(self.targets, self.kinds, self._split(0))

    def _scores(
        self, scores: Scores, first: _Fit, values: np.ndarray, i: int, codes: np.ndarray | None
    ) -> Scores:
        own = self._held(first.held, i) if first.held else self._of_predictions(first.within, i)
        found = self._with_main(scores, own, values)
        return found if codes is None else replace(found, code_length=float(codes[i]))

    def _held(self, held: HeldOut, i: int) -> Estimate:
        """The main score of an output in the first assignment."""
        found = r2_within(held.of_outputs([i]), self.levels[0].of_outputs([i]))
        return self._jackknifed(found[:, 0])

    def _of_predictions(self, within: np.ndarray, i: int) -> Estimate:
        """The same where folds aren't whole cells."""
        return getattr(self._score(i, within[..., i], within[..., i]), self.metric)

    def _of_shuffled(self, first: _Fit, i: int) -> Estimate:
        """The same of a shuffled target."""
        if first.held is not None:
            return self._held(first.held, i)
        y, split = self._shuffled(0)[..., i], self._split(0)
        levels = label_means(y[..., None], self.kinds, split)[..., 0]
        within = first.within[..., i]
        scores = self.scorer.score(y, within, split.scored, within=within, levels=levels)
        return getattr(scores, self.metric)

    def _jackknifed(self, replicates: np.ndarray) -> Estimate:
        few = len(np.unique(self._split(0).unit)) < MIN_GROUPS
        value, rest = float(replicates[0]), replicates[1:]
        return Estimate(value, rest * np.nan if few else rest, Jackknife(len(rest)))

    def _with_main(self, scores: Scores, estimate: Estimate, values: np.ndarray) -> Scores:
        """The scores with the main one averaged over assignments, and its spread among them."""
        spread = (float(values.min()), float(values.max()))
        main = estimate.at(float(values.mean()))
        if self.metric == "r2":
            return replace(scores, r2=main, spread=spread)
        return replace(scores, r2_within=main, spread=spread)

    def _directions(self, source: Source, fits: Sequence[_Fit]) -> list[Scores]:
        """Scores of what single random directions of the features read, averaged over draws."""
        t = self.targets.shape[-1]
        outputs = np.repeat(np.arange(t), DIRECTIONS)
        values, first = [], []
        for r, fit in enumerate(fits):
            drawn = random_directions(fit.probe.statistics(), DIRECTIONS, self.seed + r)
            probe, refit = fit.probe.of_outputs(outputs), slopes_refit(drawn, t)
            if fit.held is not None:
                held = hold_out(probe, self._split(r), refit, jackknife=r == 0)
                levels = self.levels[r].of_outputs(outputs)
                found = r2_within(held, levels).reshape(-1, t, DIRECTIONS).mean(axis=2)
                values.append(found[0])
                if r == 0:
                    first = [self._jackknifed(found[:, i]) for i in range(t)]
            else:
                y = self.targets[..., outputs]
                within = self._slopes_within(source, probe, refit, r)
                found = self._values(y, within, r).reshape(t, DIRECTIONS).mean(axis=1)
                values.append(found)
                if r == 0:
                    first = [
                        Estimate.mean([
                            getattr(self._score(i, p, p), self.metric)
                            for p in np.moveaxis(within[..., outputs == i], -1, 0)
                        ])
                        for i in range(t)
                    ]  # fmt: skip
        spread = np.array(values)
        return [self._with_main(self.blank[i], first[i], spread[:, i]) for i in range(t)]

    def _slopes_within(self, source: Source, probe: RidgeProbe, refit: Refit, r: int) -> np.ndarray:
        split = self._split(r)
        maps = [refit(k, probe.statistics(fold.train)) for k, fold in enumerate(split.folds)]
        return apply_maps(source.values, maps, split, kinds=self.kinds, executor=self.executor)
