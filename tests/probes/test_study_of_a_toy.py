"""A study of a model that takes no time: every number is what its parts give when put together."""

from __future__ import annotations

import pickle
import time
from dataclasses import asdict, replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from threadpoolctl import threadpool_limits

import mpprobe
from interventions.toy import CUTOFF, SCALARS, VECTORS, Layered, rattled, salts
from mpprobe.activations import Rows, Store
from mpprobe.errors import ProbeError
from mpprobe.probes import Scorer, Settings, make_plan, make_split
from mpprobe.probes.baselines import (
    label_means,
    local_electrostatics,
    neighbour_vectors,
    radial_densities,
    random_projection,
    soap,
    weights_for,
)
from mpprobe.probes.chosen import kinds
from mpprobe.probes.controls import random_directions, shuffle_within_kinds
from mpprobe.probes.crossfit import accumulate, apply_maps, cross_predict, solve_folds
from mpprobe.probes.executor import SERIAL
from mpprobe.probes.fits import Fits
from mpprobe.probes.heldout import (
    code_lengths,
    hold_out,
    levels_only,
    r2_within,
    ridge_refit,
    slopes_refit,
)
from mpprobe.probes.maps import principal_components
from mpprobe.probes.run import Run
from mpprobe.probes.scores import Estimate, Jackknife, kind_means
from mpprobe.probes.sources import Source
from mpprobe.provenance import structures_sha256, versions
from mpprobe.report.readings import readings
from mpprobe.targets import Target

# Of the random models the last begins again with the first assignment to folds.
SETTINGS = Settings(
    n_folds=3, n_resamples=40, seed=7, in_domain=("bulk",), n_assignments=2, random_seeds=3
)
#: With what the structures leave to the default.
USED = replace(SETTINGS, within="kind", atoms="all")
SOAP_WIDTH = 24
SHELL = "potential:shell-1"
TARGETS, SPLITS = ["potential", SHELL, "charge:formal", "field"], ["structure", "domain"]
METRICS = ("r2", "r2_within", "mae")
BESIDE = {"model": "local electrostatics + layer",
          "random weights": "local electrostatics + random weights"}  # fmt: skip
#: Where several assignments add nothing to a test.
ONCE = replace(SETTINGS, n_assignments=1, random_seeds=1)
A, B = np.array([1.0, -0.5, 0.3, 0.2, -0.8, 0.4]), np.array([0.7, -0.4, 0.2, 0.1])


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """As the study itself fits: more threads wait for each other, most of all beside other work."""
    with threadpool_limits(limits=1, user_api="blas"):
        yield


@pytest.fixture(scope="module", autouse=True)
def short_soap():
    """Narrower than there are atoms: fitted in no time, and to more digits."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mpprobe.probes.sources.soap", partial(soap, width=SOAP_WIDTH))
        yield


@pytest.fixture(scope="module")
def toy():
    return Layered(A, B)


@pytest.fixture(scope="module")
def frames():
    """Of two compounds, so that sodium is of two kinds."""
    return salts(12)


@pytest.fixture(scope="module")
def calls():
    """What the study told of its progress."""
    return []


@pytest.fixture(scope="module")
def study(toy, frames, calls):
    return mpprobe.probe(
        toy, frames, targets=TARGETS, splits=SPLITS, settings=SETTINGS,
        progress=lambda *call: calls.append(call),
    )  # fmt: skip


@pytest.fixture(scope="module")
def scorer(frames):
    return Scorer.from_frames(frames, n_resamples=40, seed=7)


def split_of(name, frames, assignment=0):
    return make_split(
        name, frames, n_folds=3, seed=7, in_domain=("bulk",), assignment=assignment
    )  # fmt: skip


def features(model, frames, l):
    acts = mpprobe.extract(model, frames, layers=[0, 1])
    blocks = {t: acts[t].block(l=l) for t in acts.layers if l == 0 or t}
    return {t: x[:, :, 0] if l == 0 else x for t, x in blocks.items()}


def random_features(toy, frames, l, layer):
    return [features(toy.randomised(seed), frames, l)[layer] for seed in (7, 8, 9)]


def electrostatics(study, toy, frames, target):
    target = study.targets[target]
    return local_electrostatics(frames, toy.cutoff, weights_for(target, frames), target.l)


def rows_of(study, **values):
    table = study.scores
    for column, value in values.items():
        column = table[column]
        table = table[column.isna() if value is None else column == value]
    return table


class Expected:
    """Scores put together from their parts, for one target and split.

    The scores of predictions, but for the intervals of splits by structure, which are those of the
    statistics that the fits leave.
    """

    def __init__(self, y, name, frames, scorer):
        self.y, self.frames, self.scorer = y, frames, scorer
        self.kind, self.cuts = kinds(frames), [split_of(name, frames, r) for r in range(2)]
        self.main, self.other = ("r2_within", "r2") if y.ndim == 1 else ("r2", "r2_within")
        self.domain = np.array([f.domain for f in frames]).repeat([len(f) for f in frames])

    def of(self, members, covariates=0):
        """Scores by subset of these features, the r-th assignment by the r-th of them."""
        first, found = self._fits(members, lambda r: self.y, covariates)
        probe, _, within = first
        cut, y, whole = self.cuts[0], self.y, within
        if y.ndim == 1:
            plain = accumulate(members[0], y[:, None], cut, covariates=covariates)
            solved = solve_folds(plain, cut, within=False)
            whole = apply_maps(members[0], solved, cut)[:, 0]
        scores = {
            subset: self._score(y, whole, within, cut, where)
            for subset, where in ({"all": cut.scored} | self._domains(cut)).items()
        }
        code = code_lengths(probe, cut)[0] if cut.by_cells else np.nan
        scores["all"] = replace(found(scores["all"]), code_length=code)
        return scores, whole, within

    def of_shuffled(self, x):
        return self._fits([x], lambda r: shuffle_within_kinds(self.y, self.kind, 7 + 1 + r), 0)[1]

    def of_directions(self, x):
        """Each the mean over four directions, fitted as a probe with one feature is."""
        values, first = [], []
        for r, cut in enumerate(self.cuts):
            probe = accumulate(x, self.y[..., None], cut, kinds=self.kind)
            for u in random_directions(probe.statistics(), 4, 7 + r).T[:, :, None]:
                one = accumulate(np.swapaxes(np.swapaxes(x, 1, -1) @ u, 1, -1), self.y[..., None],
                                 cut, kinds=self.kind)  # fmt: skip
                refit = slopes_refit(np.ones((1, 1)), 1)
                maps = [refit(k, one.statistics(f.train)) for k, f in enumerate(cut.folds)]
                features = np.swapaxes(np.swapaxes(x, 1, -1) @ u, 1, -1)
                within = apply_maps(features, maps, cut, kinds=self.kind)[..., 0]
                scores = self._score(self.y, within, within, cut, cut.scored)
                values.append((r, getattr(scores, self.main).value))
                if r == 0:
                    first.append(self._estimate(one, refit, scores, cut))
        means = [np.mean([v for k, v in values if k == r]) for r in range(2)]
        return self._with_main(Estimate.mean(first), means)

    def _fits(self, members, target, covariates):
        values = []
        for r in range(max(len(members), 2)):
            x, y, cut = members[r % len(members)], target(r % 2), self.cuts[r % 2]
            probe = accumulate(x, y[..., None], cut, kinds=self.kind, covariates=covariates)
            maps = solve_folds(probe, cut, within=True)
            within = apply_maps(x, maps, cut, kinds=self.kind)[..., 0]
            scores = self._score(y, within, within, cut, cut.scored)
            values.append(getattr(scores, self.main).value)
            if r == 0:
                first = probe, maps, within
                estimate = self._estimate(probe, ridge_refit(maps, covariates), scores, cut)
        return first, self._with_main(estimate, values)

    def _score(self, y, whole, within, cut, where):
        levels = label_means(y[..., None], self.kind, cut)[..., 0]
        return self.scorer.score(y, whole, where, within=within, levels=levels)

    def _estimate(self, probe, refit, scores, cut):
        if not cut.by_cells:
            return getattr(scores, self.main)
        found = r2_within(hold_out(probe, cut, refit), hold_out(probe, cut, levels_only))[:, 0]
        return Estimate(found[0], found[1:], Jackknife(len(found) - 1))

    def _with_main(self, estimate, values):
        spread = min(values), max(values)
        return lambda scores: replace(
            scores, spread=spread, **{self.main: estimate.at(np.mean(values))}
        )

    def _domains(self, cut):
        return {d: cut.scored & (self.domain == d) for d in ("bulk", "surface")}

    def blank(self):
        """Scores without a number."""
        cut = self.cuts[0]
        scores = self._score(self.y, self.y, self.y, cut, cut.scored)
        return replace(scores, **{m: replace(getattr(scores, m), value=np.nan) for m in METRICS})


@pytest.fixture(scope="module")
def expected(study, frames, scorer):
    """The parts, by target and split."""
    return {(t, s): Expected(study.true[t], s, frames, scorer) for t in TARGETS for s in SPLITS}


def assert_scored(row, scores, tolerance=1e-7):
    """The numbers of a row are those of the scores."""
    for metric in METRICS:
        estimate = getattr(scores, metric)
        found = [row[metric], row[f"{metric}_low"], row[f"{metric}_high"]]
        low, high = estimate.interval()
        wanted = [estimate.value, low, high if metric == "mae" else np.minimum(high, 1.0)]
        np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance, err_msg=metric)
    main = scores.r2_within if row["l"] == 0 else scores.r2
    assert row["interval"] == main.resampling.name
    found = [row["spread_low"], row["spread_high"], row["code_length"]]
    wanted = [*scores.spread, scores.code_length]
    np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance)
    counts = scores.n_atoms, scores.n_structures, scores.n_units
    assert (row["n_atoms"], row["n_structures"], row["n_units"]) == counts


CASES = [(target, split) for target in TARGETS for split in SPLITS]


@pytest.mark.parametrize(("target", "split"), CASES)
@pytest.mark.parametrize("kind", ["model", "random weights"])
def test_layers_score_what_a_probe_of_their_features_scores(
    study, toy, frames, expected, target, split, kind
):
    order = study.targets[target].l
    for layer, x in features(toy, frames, order).items():
        members = [x] if kind == "model" else random_features(toy, frames, order, layer)
        wanted, whole, within = expected[target, split].of(members)
        found = rows_of(study, target=target, split=split, features=kind, layer=layer)
        assert sorted(found["subset"]) == sorted(wanted)
        for _, row in found.iterrows():
            assert_scored(row, wanted[row["subset"]])
            assert row["width"] == x.shape[1]
        if kind == "model":
            np.testing.assert_allclose(study.predictions[target, split, layer], whole)
            np.testing.assert_allclose(study.within[target, split, layer], within)


@pytest.mark.parametrize(("target", "split"), CASES)
def test_a_shuffled_target_has_its_main_score_only(study, toy, frames, expected, target, split):
    for layer, x in features(toy, frames, study.targets[target].l).items():
        parts = expected[target, split]
        found = rows_of(study, target=target, split=split, features="shuffled target", layer=layer)
        assert list(found["subset"]) == ["all"]
        assert_scored(found.iloc[0], parts.of_shuffled(x)(parts.blank()))


@pytest.mark.parametrize(("target", "split"), CASES)
def test_random_directions_are_scored_by_the_mean_of_four(
    study, toy, frames, expected, target, split
):
    for layer, x in features(toy, frames, study.targets[target].l).items():
        parts = expected[target, split]
        found = rows_of(study, target=target, split=split, features="random direction", layer=layer)
        assert list(found["subset"]) == ["all"]
        assert_scored(found.iloc[0], parts.of_directions(x)(parts.blank()))


@pytest.mark.parametrize(("target", "split"), CASES)
def test_charges_within_the_cutoff_bear_no_penalty_alone_or_beside_a_layer(
    study, toy, frames, expected, target, split
):
    order, parts = study.targets[target].l, expected[target, split]
    local = electrostatics(study, toy, frames, target)
    alone = rows_of(study, target=target, split=split, features="local electrostatics")
    wanted, _, _ = parts.of([local], covariates=12)
    assert sorted(alone["subset"]) == ["all", "bulk", "surface"]
    for _, row in alone.iterrows():
        assert_scored(row, wanted[row["subset"]], tolerance=1e-6)
        assert (row["width"], row["block"]) == (12, "formal charges")
    for kind, name in BESIDE.items():
        rows = rows_of(study, target=target, split=split, features=name)
        (row,) = (row for _, row in rows.iterrows())
        x = features(toy, frames, order)[1]
        members = [x] if kind == "model" else random_features(toy, frames, order, 1)
        both = [np.concatenate([local, member], axis=1) for member in members]
        found, _, _ = parts.of(both, covariates=12)
        blank, main = parts.blank(), parts.main
        main = {main: getattr(found["all"], main)}
        whole = replace(blank, spread=found["all"].spread, **main)
        # What these features tell is nearly a sum over neighbours too: penalties are the smallest.
        assert_scored(row, whole, tolerance=1e-3)
        assert (row["layer"], row["width"], row["subset"]) == (1, 12 + x.shape[1], "all")


@pytest.mark.parametrize(("target", "split"), CASES)
def test_local_geometry_is_described_within_the_models_cutoff(
    study, toy, frames, expected, target, split
):
    order = study.targets[target].l
    if order == 0:
        described = {
            "SOAP": soap(frames, toy.cutoff, seed=7, width=SOAP_WIDTH),
            "radial densities": radial_densities(frames, toy.cutoff),
        }
        widths = [1, SCALARS]
    else:
        described = {"neighbour vectors": neighbour_vectors(frames, toy.cutoff)}
        widths = [VECTORS]
    wanted = dict(described)
    for name, x in described.items():
        wanted |= {(f"{name}, same width", w): random_projection(x, w, 7) for w in widths}
    local = rows_of(study, target=target, split=split, layer=None, subset="all")
    local = local[~local["features"].isin(["species mean", "chosen layer", "local electrostatics"])]
    assert len(local) == len(wanted)
    for _, row in local.iterrows():
        name = row["features"]
        x = wanted[(name, row["width"]) if name.endswith("width") else name]
        scores, _, _ = expected[target, split].of([x])
        assert_scored(row, scores["all"], tolerance=1e-5)
        assert (row["width"], row["block"]) == (x.shape[1], "")


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("target", TARGETS[:3])
def test_the_species_mean_is_scored_as_it_is_and_is_zero_within_kinds(
    study, frames, scorer, target, split
):
    y, cut = study.true[target], split_of(split, frames)
    numbers = np.concatenate([f.numbers for f in frames])
    scores = scorer.score(y, label_means(y[:, None], numbers, cut)[:, 0], cut.scored)
    row = rows_of(study, target=target, split=split, features="species mean", subset="all").iloc[0]
    for metric in ("r2", "mae"):
        estimate = getattr(scores, metric)
        found = row[[metric, f"{metric}_low", f"{metric}_high"]].tolist()
        assert found == pytest.approx([estimate.value, *estimate.interval()], rel=1e-9, abs=1e-9)
    if target not in study.trivial:
        assert row["r2_within"] == pytest.approx(0, abs=1e-12)
    assert (row["width"], row["block"], row["n_atoms"]) == (0, "", scores.n_atoms)
    assert pd.isna(row["layer"])
    by_domain = rows_of(study, target=target, split=split, features="species mean")
    assert sorted(by_domain["subset"]) == ["all", "bulk", "surface"]


def of_random_seeds(seeds, frames, toy, **settings):
    """A study, and the seeds of the random models made for it."""
    made, randomised = [], toy.randomised
    watched = Layered(A, B)
    watched.randomised = lambda seed: (made.append(seed), randomised(seed))[1]
    settings = replace(SETTINGS, random_seeds=seeds, **settings)
    return mpprobe.probe(watched, frames, layers=1, settings=settings), made


def test_there_are_five_assignments_and_five_random_models_unless_said(toy, frames):
    default = Settings()
    assert (default.n_assignments, default.random_seeds) == (5, 5)
    study, made = of_random_seeds(
        default.random_seeds, frames, toy, n_assignments=default.n_assignments
    )
    assert made == [7, 8, 9, 10, 11]
    cuts = [split_of("structure", frames, r) for r in range(5)]
    y, kind = study.true["potential"], kinds(frames)
    for name in ("model", "random weights"):
        values = []
        for r, cut in enumerate(cuts):
            x = features(toy if name == "model" else toy.randomised(7 + r), frames, 0)[1]
            found = cross_predict(x, y[:, None], cut, kinds=kind).predictions[:, 0]
            levels = label_means(y[:, None], kind, cut)[:, 0]
            values.append(1 - squares_within(y - found, kind) / squares_within(y - levels, kind))
        row = rows_of(study, features=name, layer=1, subset="all").iloc[0]
        found = row[["r2_within", "spread_low", "spread_high"]].tolist()
        assert found == pytest.approx([np.mean(values), min(values), max(values)], abs=1e-9)
        assert min(values) < max(values)


def squares_within(residual, kind):
    """About the mean of each kind."""
    return ((residual - kind_means(residual, kind)) ** 2).sum()


def test_without_random_models_there_is_nothing_of_them(toy, frames):
    study, made = of_random_seeds(0, frames, toy)
    assert made == []
    assert not study.scores["features"].str.contains("random weights").any()
    assert not (study.differences["control"] == "random weights").any()
    assert study.conditional["features"].tolist() == ["model"]
    assert study.conditional["above_random"].isna().all()
    assert all(readings(study))


@pytest.mark.parametrize("split", SPLITS)
def test_predictions_within_kinds_are_what_is_scored_there(toy, frames, split):
    settings = replace(SETTINGS, n_assignments=1, random_seeds=0)
    study = mpprobe.probe(toy, frames, splits=split, settings=settings)
    kind, cut = kinds(frames), split_of(split, frames)
    rows, y = cut.scored, study.true["potential"]
    levels = label_means(y[:, None], kind, cut)[:, 0]
    for layer in (0, 1):
        residual = y - study.within["potential", split, layer]
        score = 1 - (squares_within(residual[rows], kind[rows])
                     / squares_within((y - levels)[rows], kind[rows]))  # fmt: skip
        row = rows_of(study, features="model", layer=layer, subset="all").iloc[0]
        assert row["r2_within"] == pytest.approx(score, abs=1e-9)
        assert row["spread_low"] == row["spread_high"] == row["r2_within"]
        whole = study.predictions["potential", split, layer]
        assert row["mae"] == pytest.approx(np.abs(y - whole)[rows].mean(), abs=1e-9)


def one_score(study, target, split, name, layer=None):
    rows = rows_of(study, target=target, split=split, features=name, layer=layer, subset="all")
    return rows.iloc[0]["r2_within" if study.targets[target].l == 0 else "r2"]


def test_what_a_layer_adds_is_the_difference_of_two_scores(study):
    table = study.conditional
    assert len(table) == len(CASES) * 2
    gains = table.set_index(["target", "split", "features"])["gain"]
    for row in table[~table["target"].isin(study.trivial)].itertuples():
        case = row.target, row.split
        alone = one_score(study, *case, "local electrostatics")
        together = one_score(study, *case, BESIDE[row.features], row.layer)
        assert (row.alone, row.together) == (alone, together)
        assert row.gain == pytest.approx(together - alone, abs=1e-12)
        assert row.gain_low < row.gain < row.gain_high
        if row.features == "model":
            above = gains[(*case, "model")] - gains[(*case, "random weights")]
            assert row.above_random == pytest.approx(above, abs=1e-12)
            assert row.above_random_low < row.above_random < row.above_random_high
    assert (
        table["above_random"].isna().tolist()
        == ((table["features"] != "model") | table["target"].isin(study.trivial)).tolist()
    )


# Which layer


def test_the_only_layer_is_the_chosen_one(study, toy, frames):
    for target, split in CASES:
        assert study.choices[target, split] == {1: 1.0}
        assert study.best_layer(target, split) == 1
        if target in study.trivial:
            continue
        chosen, own = (
            rows_of(study, target=target, split=split, features=name, layer=layer, subset="all")
            for name, layer in (("chosen layer", None), ("model", 1))
        )
        columns = ["interval", "n_atoms", "n_structures", "n_units"]
        assert chosen[columns].values.tolist() == own[columns].values.tolist()
        main = "r2" if target == "field" else "r2_within"
        numbers = [main, f"{main}_low", f"{main}_high", "spread_low", "spread_high"]
        np.testing.assert_allclose(chosen[numbers], own[numbers], atol=1e-9)
        assert chosen[["mae", "code_length", *{"r2", "r2_within"} - {main}]].isna().all(axis=None)
    alone = mpprobe.probe(toy, frames, layers=0, settings=ONCE)
    assert alone.choices == {("potential", "structure"): {0: 1.0}}


@pytest.fixture(scope="module")
def rivals():
    """Atoms, a target, and four layers that read it about equally well, so that folds differ."""
    rng, frames = np.random.default_rng(1), salts(15)
    y = rng.normal(size=sum(len(f) for f in frames))
    layers = [
        Source("model", t, "", np.column_stack([y + 2 * rng.normal(size=y.shape),
                                                rng.normal(size=(len(y), 2))]))
        for t in range(4)
    ]  # fmt: skip
    return frames, y, layers


def fits_of(frames, y, n_assignments):
    cuts = [split_of("structure", frames, r) for r in range(n_assignments)]
    scorer = Scorer.from_frames(frames, n_resamples=10)
    return Fits(y[:, None], kinds(frames), np.full(len(y), "bulk"), cuts, scorer, 0, SERIAL)


def test_a_folds_layer_is_chosen_without_a_look_at_what_it_holds_out(rivals):
    frames, y, layers = rivals

    def chosen(y):
        fits = fits_of(frames, y, 2)
        return fits.chosen([fits.fit([layer]) for layer in layers], 0)[1]

    before, others = chosen(y), []
    assert len(np.unique(before)) > 1
    rng = np.random.default_rng(2)
    for r in range(2):
        cut = split_of("structure", frames, r)
        for k in range(3):
            spoilt = y.copy()
            spoilt[cut.test == k] = 5 * rng.permutation(y[cut.test == k])
            after = chosen(spoilt)
            assert after[r, k] == before[r, k]
            others.append((after != before).any())
    assert any(others)  # what a fold is trained on does decide


def test_the_chosen_layer_scores_what_each_folds_choice_predicts(rivals):
    frames, y, layers = rivals
    fits = fits_of(frames, y, 1)
    fitted = [fits.fit([layer]) for layer in layers]
    scores, picks = fits.chosen(fitted, 0)
    cut, kind = split_of("structure", frames), kinds(frames)
    within = np.empty(len(y))
    for k, pick in enumerate(picks[0]):
        within[cut.test == k] = fitted[pick].within[cut.test == k, 0]
        errors = [layer.errors[0, k, 0] for layer in fitted]
        assert errors[pick] == min(errors)
    levels = label_means(y[:, None], kind, cut)[:, 0]
    value = 1 - squares_within(y - within, kind) / squares_within(y - levels, kind)
    assert scores.r2_within.value == pytest.approx(value, abs=1e-9)
    low, high = scores.r2_within.interval()
    assert low < value < high
    assert scores.r2_within.resampling == Jackknife(len(np.unique(cut.cells)))


# What may not change the numbers


class Elsewhere:
    """Another process, as far as pickling goes."""

    in_process = False

    def map(self, function, items):
        there = pickle.loads(pickle.dumps(function))
        return (pickle.loads(pickle.dumps(there(pickle.loads(pickle.dumps(x))))) for x in items)


def assert_same(one, other, **how):
    for name in ("scores", "differences", "conditional"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(other, name), **how)
    assert one.choices == other.choices


def test_neither_a_second_run_nor_a_single_thread_changes_a_bit(study, toy, frames, monkeypatch):
    monkeypatch.setattr("mpprobe.probes.run.THREADS", 1)
    again = mpprobe.probe(toy, frames, targets=TARGETS, splits=SPLITS, settings=SETTINGS)
    assert_same(again, study, check_exact=True)
    assert list(again.predictions) == list(study.predictions)
    for key, values in study.predictions.items():
        np.testing.assert_array_equal(again.predictions[key], values)
        np.testing.assert_array_equal(again.within[key], study.within[key])


def test_one_target_alone_is_the_same_on_any_number_of_threads(toy, frames, monkeypatch):
    """Sums over a single column are added up in another order than those over several."""
    monkeypatch.setattr("mpprobe.probes.run.os.cpu_count", lambda: 8)
    found = []
    for threads in (1, 4):
        monkeypatch.setattr("mpprobe.probes.run.THREADS", threads)
        found.append(mpprobe.probe(toy, frames, settings=ONCE))
    assert_same(*found, check_exact=True)


def test_which_thread_is_done_first_does_not_matter(study, toy, frames, monkeypatch):
    """The first layer comes last: rows, predictions and so the columns of files stay in order."""
    whole = Run._probe_group

    def first_is_last(*arguments):
        group = arguments[-1]
        if group[0].kind == "model" and group[0].layer == 0:
            time.sleep(0.3)
        return whole(*arguments)

    monkeypatch.setattr(Run, "_probe_group", first_is_last)
    again = mpprobe.probe(toy, frames, splits=SPLITS, settings=SETTINGS)
    keys = [("potential", split, layer) for split in SPLITS for layer in (0, 1)]
    assert list(again.predictions) == list(again.within) == keys
    one, other = rows_of(study, target="potential"), again.scores
    columns = ["split", "features", "layer", "width", "subset"]
    pd.testing.assert_frame_equal(one[columns].reset_index(drop=True), other[columns])


def test_elements_in_every_structure_are_not_scored(toy):
    """Sodium is in every one; chlorine and bromine are held out in turn."""
    frames = []
    for k, frame in enumerate(rattled(12)):
        atoms = frame.atoms.copy()
        if k % 4 > 1:
            atoms.numbers[atoms.numbers == 17] = 35
        frames.append(mpprobe.Frame.from_atoms(atoms, frame.source))
    study = mpprobe.probe(toy, frames, layers=1, splits="element", settings=ONCE)
    halides = sum(int((f.numbers != 11).sum()) for f in frames)
    rows = rows_of(study, subset="all")
    assert set(rows["n_atoms"]) == {halides}
    assert set(rows["n_structures"]) == {12}
    main_only = {"shuffled target", "random direction", "chosen layer", *BESIDE.values()}
    assert (rows["mae"].isna() == rows["features"].isin(main_only)).all()
    assert np.isfinite(rows["r2_within"]).all()
    assert {"shuffled target", "random direction", "chosen layer"} <= set(rows["features"])
    assert set(rows["interval"]) == {"bootstrap, maps fixed"}
    assert set(rows["n_units"]) == {2}
    assert rows["code_length"].isna().all()


def test_blocks_and_units_are_those_of_features_and_targets(study):
    blocks = {(0, 0): "1x0e", (0, 1): f"{SCALARS}x0e", (1, 1): f"{VECTORS}x1o"}
    own = rows_of(study, features="model")
    found = set(zip(own["l"], own["layer"], own["block"], own["unit"], strict=True))
    units = {"potential": "V", SHELL: "V", "charge:formal": "e"}
    scalar = {(0, t, blocks[0, t], units[n]) for t in (0, 1) for n in TARGETS[:3]}
    assert found == scalar | {(1, 1, blocks[1, 1], "V/Å")}
    assert set(study.scores["model"]) == {"toy"}


def test_a_layer_stands_against_every_control(study):
    common = {"random weights", "shuffled target", "random direction", "local electrostatics"}
    local = {n + end for n in ("SOAP", "radial densities") for end in ("", ", same width")}
    vectors = {"neighbour vectors", "neighbour vectors, same width"}
    assert set(study.differences["model"]) == {"toy"}
    for (target, layer), rows in study.differences.groupby(["target", "layer"]):
        expected = common | local | {"species mean", f"layer {1 - layer}"}
        if target == "field":
            expected = common | vectors
        for split in SPLITS:
            assert sorted(rows[rows["split"] == split]["control"]) == sorted(expected)


def test_true_values_are_those_of_the_targets(study, frames, toy):
    for name in TARGETS:
        target = mpprobe.get_target(name)
        expected = np.concatenate(target.values(frames, toy.cutoff))
        np.testing.assert_allclose(study.true[name], expected, rtol=1e-9)
        assert study.targets[name].unit == target.unit
    assert study.trivial == ("charge:formal",)
    assert list(study.targets) == TARGETS
    assert study.layers == (0, 1)


def test_a_shell_ends_at_the_models_cutoff(toy, frames):
    study = mpprobe.probe(toy, frames, layers=1, targets="potential:shell-1", settings=ONCE)
    expected = mpprobe.get_target("potential:shell-1").values(frames, toy.cutoff)
    np.testing.assert_allclose(study.true["potential:shell-1"], np.concatenate(expected))


def test_maps_are_of_the_models_scalars(study, toy, frames):
    assert set(study.maps) == {0, 1}
    for layer, x in features(toy, frames, 0).items():
        np.testing.assert_allclose(study.maps[layer], principal_components(x), atol=1e-9)


def test_what_identifies_the_result_is_recorded(study, toy, frames):
    record = study.provenance
    names = {"model", "structures", "targets", "settings", "versions", "near_duplicates"}
    assert set(record) == names
    assert record["near_duplicates"] == 0
    assert record["model"] == {
        "name": "toy", "cutoff": toy.cutoff, "layers": [asdict(layer) for layer in toy.layers],
        "dtype": "torch.float64", "device": "cpu",
    }  # fmt: skip
    assert record["structures"] == {
        "n_structures": 12, "n_atoms": 96, "sha256": structures_sha256(frames),
    }  # fmt: skip
    assert record["settings"] == asdict(USED)
    assert record["versions"] == versions()
    assert record["targets"] == {
        n: {"unit": t.unit, "l": t.l, "description": t.description}
        for n, t in study.targets.items()
    }


def test_progress_counts_up_to_all_there_is(study, calls):
    told = {}
    for what, done, total in calls:
        told.setdefault(what, []).append((done, total))
    counts = {
        "target potential": (12, 12),
        "target charge:formal": (12, 12),
        f"target {SHELL}": (12, 12),
        "target field": (12, 12),
        "node features of toy": (96, 96),
        f"probing {', '.join(TARGETS[:3])} by structure": (10, 20),
        f"probing {', '.join(TARGETS[:3])} by domain": (20, 20),
        "probing field by structure": (4, 8),
        "probing field by domain": (8, 8),
    }
    assert {what: steps[-1] for what, steps in told.items() if what in counts} == counts
    probing = told["probing field by structure"] + told["probing field by domain"]
    assert probing == [(i, 8) for i in range(1, 9)]
    # Three descriptors of one batch each: two of scalars, and then one of vectors.
    assert told["local-geometry baseline"] == [(1, 2), (2, 2), (1, 1)]
    known = {*counts, "local-geometry baseline"}
    assert [what for what in told if what not in known] == []


def test_targets_of_many_structures_are_computed_in_pieces(toy):
    calls = []
    mpprobe.probe(
        toy, rattled(30), layers=1, settings=ONCE, progress=lambda *call: calls.append(call)
    )
    # A piece holds 200 atoms, and each structure has eight.
    steps = [call[1:] for call in calls if call[0] == "target potential"]
    assert steps == [(25, 30), (30, 30)]


def test_one_domain_is_not_scored_apart(toy, frames):
    study = mpprobe.probe(toy, frames[::2], layers=1, settings=ONCE)
    assert set(study.scores["subset"]) == {"all"}
    assert pd.unique(study.scores["split"]).tolist() == ["structure"]
    assert pd.unique(study.scores["target"]).tolist() == ["potential"]


def test_vectors_alone_have_no_species_mean(toy, frames):
    study = mpprobe.probe(toy, frames, targets="field", splits="structure", settings=ONCE)
    assert "species mean" not in set(study.scores["features"])
    assert set(study.maps) == {0, 1}


class TestAPlan:
    def test_it_holds_what_was_asked_for(self, toy, frames):
        plan = make_plan(
            toy, frames, layers=[1], targets=["field", "potential", "field"],
            splits=["domain", "structure", "domain"], settings=SETTINGS,
        )  # fmt: skip
        assert plan.model is toy
        assert (plan.layers, plan.settings, plan.store) == ((1,), USED, None)
        assert [t.name for t in plan.targets] == ["field", "potential"]
        assert [[s.name for s in split] for split in plan.splits] == [
            ["domain", "domain"], ["structure", "structure"],
        ]  # fmt: skip
        for assignments in plan.splits:
            for r, split in enumerate(assignments):
                expected = split_of(split.name, frames, r)
                np.testing.assert_array_equal(split.test, expected.test)
                np.testing.assert_array_equal(split.cells, expected.cells)
            assert (assignments[0].test != assignments[1].test).any()
        assert plan.frames == frames
        assert plan.n_near_duplicates == 0

    def test_a_split_by_domain_is_trained_where_the_settings_say(self, toy, frames):
        settings = Settings(n_folds=3, seed=7, in_domain=("surface",))
        (assignments,) = make_plan(toy, frames, splits="domain", settings=settings).splits
        surface = np.array([f.domain == "surface" for f in frames]).repeat(8)
        for split in assignments:
            np.testing.assert_array_equal(split.test == 3, ~surface)

    def test_what_is_left_out_is_the_potential_by_structure(self, toy, frames):
        plan = make_plan(toy, frames)
        assert [t.name for t in plan.targets] == ["potential"]
        assert [s.name for split in plan.splits for s in split] == ["structure"] * 5
        assert (plan.layers, plan.settings) == ((0, 1), Settings(within="kind", atoms="all"))
        assert (Settings().n_assignments, Settings().random_seeds) == (5, 5)
        assert Settings().near_duplicates == "together"

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            ({"n_assignments": 0}, "give at least one assignment to folds"),
            ({"random_seeds": -1}, "no fewer than zero seeds"),
            ({"near_duplicates": "away"}, "^near duplicates 'away': choose together or apart$"),
        ],
    )
    def test_settings_that_say_nothing_are_refused(self, toy, frames, wrong, message):
        with pytest.raises(ProbeError, match=message):
            make_plan(toy, frames, settings=replace(SETTINGS, **wrong))

    @pytest.mark.parametrize("lacking", [{"structures": []}, {"targets": []}, {"splits": []}])
    def test_nothing_to_probe_is_refused(self, toy, frames, lacking):
        given = {"structures": frames, **lacking}
        message = "^nothing to probe: give structures, at least one target and one split$"
        with pytest.raises(ProbeError, match=message):
            make_plan(toy, **given)

    def test_no_structures_at_all_are_refused(self, toy):
        with pytest.raises(ProbeError, match=r"^nothing to probe"):
            make_plan(toy)

    def test_layers_without_vectors_are_named(self, toy, frames):
        message = (
            "^target 'field' has l = 1, and layer 0 of toy holds no l = 1 features; "
            "layers that do: 1$"
        )
        with pytest.raises(ProbeError, match=message):
            make_plan(toy, frames, layers=0, targets=["potential", "field"])

    def test_atoms_on_top_of_each_other_are_refused(self, toy, frames):
        atoms = frames[1].atoms.copy()
        atoms.positions[1] = atoms.positions[0]
        with pytest.raises(mpprobe.MPProbeError, match="structure@0: "):
            make_plan(toy, atoms)

    def test_structures_that_the_model_can_not_take_are_refused(self, toy, frames):
        unknown, lone = frames[1].atoms.copy(), frames[1].atoms[:1]
        unknown.symbols[3] = "K"
        lone.pbc = False
        for atoms, said in ((unknown, "does not know K"), (lone, "no two atoms are within")):
            with pytest.raises(mpprobe.MPProbeError, match=said):
                make_plan(toy, [*frames, atoms])

    def test_what_a_target_does_not_resolve_is_trivial(self, toy, frames):
        rng = np.random.default_rng(0)

        def noisy(frame, cutoff):
            return np.sign(14 - frame.numbers) + 1e-4 * rng.normal(size=len(frame))

        plan = make_plan(toy, frames, layers=1, settings=ONCE)
        for resolution, trivial in ((1e-2, ("noisy",)), (1e-5, ())):
            target = Target("noisy", "e", 0, noisy, "", resolution=resolution)
            assert replace(plan, targets=(target,)).run().trivial == trivial
        for function, resolution in (
            (noisy, 10),
            (lambda *given: 1e10 + noisy(*given), 0.0),
            (lambda *given: 0.0 * noisy(*given), 0.0),
        ):
            flat = Target("flat", "e", 0, function, "", resolution=resolution)
            with pytest.raises(ProbeError, match="is the same for every atom"):
                replace(plan, targets=(flat,)).run()

    def test_a_flat_target_is_refused_when_it_is_computed(self, toy, frames):
        message = (
            "^target 'array:flat' is the same for every atom of these structures "
            r"\(to rounding\), so there is nothing to find; choose another target or other "
            "structures$"
        )
        flat = []
        for frame in frames:
            atoms = frame.atoms.copy()
            atoms.arrays["flat"] = np.tile([1.0, 2.0, 3.0], (len(atoms), 1))
            flat.append(atoms)
        plan = make_plan(toy, flat, targets="array:flat")
        with pytest.raises(ProbeError, match=message):
            plan.run()


@pytest.fixture(scope="module")
def store(toy, frames, tmp_path_factory):
    """The same features on disk."""
    store = Store.create(
        tmp_path_factory.mktemp("store"), toy, frames, max_atoms=20, random_seeds=3, seed=7
    )
    store.extract(toy)
    return store


class TestAStore:
    def test_the_scores_are_the_same(self, store, study):
        stored = mpprobe.probe(store, targets=TARGETS, splits=SPLITS, settings=SETTINGS)
        ends = ("", "_low", "_high")
        numbers = [m + end for m in ("r2", "mae") for end in ends]
        # The store is of single precision.
        pd.testing.assert_frame_equal(
            stored.scores[numbers], study.scores[numbers], rtol=1e-3, atol=1e-3
        )
        # Float32 doesn't hold what random weights add to the local sums here, a small rest.
        whole = (study.scores["subset"] == "all") & ~study.scores["features"].isin(BESIDE.values())
        np.testing.assert_allclose(
            stored.scores["r2_within"][whole], study.scores["r2_within"][whole], atol=1e-3
        )
        names = ["features", "layer", "block", "width", "subset"]
        pd.testing.assert_frame_equal(stored.scores[names], study.scores[names])

    def test_only_the_layers_asked_for_and_layer_0_are_read(self, store):
        stored = mpprobe.probe(store, layers=1, settings=ONCE)
        assert stored.layers == (1,)
        own = rows_of(stored, features="model", subset="all")
        assert own["layer"].tolist() == [0, 1]

    def test_the_record_says_where_the_features_come_from(self, store):
        stored = mpprobe.probe(store, layers=0, settings=ONCE)
        configuration = store.configuration
        assert stored.provenance["store"] == {
            "sha256": configuration.sha256,
            "dtype": configuration.dtype_store,
            "random_weights_seeds": [7, 8, 9],
            "max_atoms": 20,
            "n_left_out": 0,
            "versions": configuration.versions,
        }

    def test_an_executor_changes_nothing(self, store):
        asked = {"targets": "potential", "splits": SPLITS, "settings": ONCE}
        here, there = (
            mpprobe.probe(store, **asked, **more) for more in ({}, {"executor": Elsewhere()})
        )
        assert_same(there, here, rtol=0, atol=1e-9)

    def test_other_structures_are_refused(self, store, frames):
        message = f"^{store.folder}: a store has its own structures; give no others$"
        with pytest.raises(ProbeError, match=message):
            mpprobe.probe(store, frames)

    def test_an_unfinished_one_is_refused(self, toy, frames, tmp_path):
        store = Store.create(tmp_path, toy, frames, max_atoms=2, random_seeds=1)
        store.extract(toy, [0])
        n = len(store.shards)
        assert n > 2
        message = f": {n - 1} of {n} shards are missing; finish it with `mpprobe extract`, or join"
        with pytest.raises(ProbeError, match=message):
            mpprobe.probe(store)


def test_rows_are_those_of_the_structures(study, frames):
    expected = Rows.of(frames)
    np.testing.assert_array_equal(study.rows.frame, expected.frame)
    np.testing.assert_array_equal(study.rows.species, expected.species)
    assert study.frames == frames


# Near duplicates


class Detailed(torch.nn.Module):
    """So many functions of the distances that every one of a few dozen atoms is told from all."""

    def forward(self, batch) -> torch.Tensor:
        start, end = batch.edge_index
        length = batch.edge_vectors().norm(dim=1, keepdim=True)
        fade = 0.5 * (1 + torch.cos(np.pi * length / CUTOFF))
        sign = 1 - 2 * (batch.numbers[end] != 11).to(length)[:, None]
        centres = torch.linspace(2.2, 4.8, DETAILS).to(length)
        terms = sign * fade * torch.exp(-200 * (length - centres) ** 2)
        return torch.zeros(batch.n_atoms, DETAILS).to(length).index_add(0, start, terms)


DETAILS = 100


class Detail(Layered):
    """A potential of such features."""

    irreps = ("1x0e", f"{DETAILS}x0e")

    def __init__(self) -> None:
        super().__init__(A, B)
        self.module = torch.nn.Sequential(Detailed(), torch.nn.Identity())


def of_random_numbers(n, copies, apart=0.0):
    """Crystals, each some times over, and a random number for every atom, the same in copies."""
    rng, frames = np.random.default_rng(0), []
    for b, frame in enumerate(rattled(n, seed=3)):
        number = rng.normal(size=len(frame))
        for k in range(copies):
            atoms = frame.atoms.copy()
            atoms.positions += apart * rng.normal(size=atoms.positions.shape)
            atoms.arrays["number"] = number
            frames.append(mpprobe.Frame.from_atoms(atoms, f"run {b}@{k}"))
    return frames


def random_numbers(frames, near_duplicates):
    """The score within kinds of a model, and the study."""
    settings = Settings(n_resamples=10, n_assignments=1, random_seeds=0,
                        near_duplicates=near_duplicates)  # fmt: skip
    study = mpprobe.probe(Detail(), frames, layers=1, targets="array:number", settings=settings)
    return one_score(study, "array:number", "structure", "model", 1), study


@pytest.mark.parametrize("apart", [0.0, 1e-3])
def test_random_numbers_are_not_read_from_copies_of_structures(apart):
    frames = of_random_numbers(6, 6, apart)
    assert make_plan(Detail(), frames, targets="array:number").n_near_duplicates == 30
    kept, study = random_numbers(frames, "together")
    assert abs(kept) < 0.1
    assert study.provenance["near_duplicates"] == 30
    assert readings(study)[-1] == (
        "30 structures are copies or neighbouring frames of earlier ones; such structures are kept "
        "on one side of every split"
    )
    leaked, study = random_numbers(frames, "apart")
    assert leaked > 0.9
    assert study.provenance["near_duplicates"] == 30
    assert readings(study)[-1].endswith(
        "may fall on both sides of a split, as asked: scores can be too high"
    )


def test_as_many_structures_that_differ_are_no_duplicates():
    frames = of_random_numbers(24, 1)
    found, study = random_numbers(frames, "apart")
    assert abs(found) < 0.1
    assert study.provenance["near_duplicates"] == 0
    assert len(readings(study)) == 1
