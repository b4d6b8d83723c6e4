"""Scores against slow plain definitions, and intervals that hold the truth."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from ase import Atoms
from scipy import stats
from sklearn.metrics import mean_absolute_error, r2_score

from mpprobe.errors import ProbeError
from mpprobe.probes.chosen import kinds
from mpprobe.probes.scores import Bootstrap, Estimate, Jackknife, Scorer, kind_means
from mpprobe.structures.frame import Frame


def made(n_structures=60, seed=0):
    rng = np.random.default_rng(seed)
    formulas = ["NaCl", "Mg2O2", "Na3F3", "SiO2", "Cu"]
    frames = [
        Frame(Atoms(formulas[i % 5]), str(i), formulas[i % 5], "bulk", f"g{i // 2}")
        for i in range(n_structures)
    ]
    numbers = np.concatenate([f.numbers for f in frames])
    y = numbers + rng.normal(size=len(numbers))
    return frames, numbers, y, y + 0.5 * rng.normal(size=len(y)) + 0.1 * numbers


def compounds(frames):
    return np.repeat([f.compound for f in frames], [len(f) for f in frames])


def slow_within(y, prediction, numbers, compound, levels=0.0):
    """1 − S(y−ŷ)/S(y−levels), S being squares about the mean of each species in a compound."""
    table = pd.DataFrame({"e": y - prediction, "y": y - levels, "z": numbers, "c": compound})
    groups = table.groupby(["z", "c"])
    e, y = ((table[name] - groups[name].transform("mean")) for name in "ey")
    return 1 - (e**2).sum() / (y**2).sum()


def test_what_is_left_out_is_a_thousand_resamples():
    scorer = Scorer.from_frames(made(8)[0])
    assert scorer.bootstrap == Bootstrap(4, n_resamples=1000, seed=0)


@pytest.mark.parametrize("unit", [1e-9, 1e9])
def test_the_unit_does_not_matter(unit):
    frames, _, y, p = made()
    scorer, scored = Scorer.from_frames(frames, n_resamples=20), np.full(len(y), True)
    one, other = (scorer.score(y * u, p * u, scored) for u in (1.0, unit))
    assert other.r2.value == pytest.approx(one.r2.value)
    assert other.r2_within.value == pytest.approx(one.r2_within.value)
    assert other.mae.value == pytest.approx(one.mae.value * unit)


@pytest.mark.parametrize("share", [0.7, 0.08])  # of so few atoms, some are alone of their kind
def test_agree_with_plain_definitions(share):
    frames, numbers, y, p = made()
    where = np.random.default_rng(1).random(len(y)) < share
    scores = Scorer.from_frames(frames).score(y, p, where)
    assert scores.r2.value == pytest.approx(r2_score(y[where], p[where]), abs=1e-12)
    assert scores.mae.value == pytest.approx(mean_absolute_error(y[where], p[where]))
    expected = slow_within(y[where], p[where], numbers[where], compounds(frames)[where])
    assert scores.r2_within.value == pytest.approx(expected, abs=1e-12)
    assert scores.n_atoms == where.sum()
    structure = np.repeat(np.arange(60), [len(f) for f in frames])
    assert scores.n_structures == len(set(structure[where]))


@pytest.mark.parametrize("share", [1.0, 0.2])  # of so few atoms, some are alone of their kind
def test_replicates_are_the_scores_of_resampled_structures(share):
    frames, numbers, y, p = made()
    scorer = Scorer.from_frames(frames, n_resamples=4, seed=2)
    where = np.random.default_rng(1).random(len(y)) < share
    scores = scorer.score(y, p, where)
    for replicate, counts in enumerate(scorer.bootstrap.counts):
        rows = np.repeat(np.arange(len(y)), counts[scorer.unit] * where)
        compound = compounds(frames)[rows]
        assert scores.r2.replicates[replicate] == pytest.approx(r2_score(y[rows], p[rows]))
        expected = slow_within(y[rows], p[rows], numbers[rows], compound)
        assert scores.r2_within.replicates[replicate] == pytest.approx(expected)
        mae = mean_absolute_error(y[rows], p[rows])
        assert scores.mae.replicates[replicate] == pytest.approx(mae)


def test_groups_are_drawn_whole_and_as_many_as_there_are():
    frames, *_ = made()
    scorer = Scorer.from_frames(frames)
    assert scorer.bootstrap.n_groups == 30
    assert (scorer.bootstrap.counts.sum(axis=1) == 30).all()
    np.testing.assert_allclose(scorer.bootstrap.counts.mean(axis=0), 1.0, atol=0.15)


def test_knowing_the_composition_earns_nothing_within():
    frames, numbers, y, _ = made()
    table = pd.DataFrame({"y": y, "z": numbers, "c": compounds(frames)})
    means = table.groupby(["z", "c"])["y"].transform("mean").to_numpy()
    scores = Scorer.from_frames(frames).score(y, means)
    assert scores.r2.value > 0.9
    assert scores.r2_within.value == pytest.approx(0.0, abs=1e-12)


def test_an_offset_of_the_target_changes_no_score():
    frames, _, y, p = made()
    scorer = Scorer.from_frames(frames)
    plain, shifted = scorer.score(y, p), scorer.score(y + 1e5, p + 1e5)
    assert shifted.r2.interval() == pytest.approx(plain.r2.interval(), abs=1e-9)
    assert shifted.r2_within.interval() == pytest.approx(plain.r2_within.interval(), abs=1e-9)


def test_interval_holds_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    held, n_sets, n_groups = 0, 200, 40
    group = np.repeat(np.arange(n_groups), 6)
    bootstrap = Bootstrap(n_groups, 400)
    for _ in range(n_sets):
        y, noise = rng.normal(size=(2, len(group)))
        # Errors shared by the atoms of a structure: an interval over atoms would be too narrow.
        error = np.sqrt(0.05) * noise + np.sqrt(0.15) * rng.normal(size=n_groups)[group]
        low, high = Scorer(group, group, 0 * group, bootstrap).score(y, y - error).r2.interval()
        held += low < 0.8 < high
    assert 0.86 < held / n_sets < 0.99


def test_interval_shrinks_with_the_root_of_the_number_of_structures():
    widths = []
    for n in (50, 800):
        frames, _, y, p = made(n)
        low, high = Scorer.from_frames(frames).score(y, p).mae.interval()
        widths.append(high - low)
    assert widths[0] / widths[1] == pytest.approx(4.0, rel=0.4)


def test_a_difference_counts_what_two_scores_share():
    frames, _, y, p = made()
    scorer = Scorer.from_frames(frames)
    worse = p + 0.05 * np.sign(p - y)
    first, second = scorer.score(y, p).mae, scorer.score(y, worse).mae
    gap = second - first
    assert gap.value == pytest.approx(0.05)
    assert gap.interval() == pytest.approx((0.05, 0.05))
    assert first.interval()[1] > second.interval()[0]  # unpaired, they overlap
    same = first - first
    assert same.interval() == (0.0, 0.0)


def test_a_difference_between_domains_has_an_interval():
    frames, _, y, p = made()
    scorer = Scorer.from_frames(frames)
    half = scorer.structure < 30
    gap = scorer.score(y, p, half).r2 - scorer.score(y, p, ~half).r2
    low, high = gap.interval()
    assert low < gap.value < high


def test_vectors_are_scored_by_their_lengths_and_do_not_depend_on_direction():
    frames, *_ = made()
    scorer = Scorer.from_frames(frames)
    rng = np.random.default_rng(0)
    y = rng.normal(size=(len(scorer.structure), 3))
    p = y + 0.3 * rng.normal(size=y.shape)
    scores = scorer.score(y, p)
    assert scores.r2.value == pytest.approx(1 - ((y - p) ** 2).sum() / (y**2).sum())
    assert scores.mae.value == pytest.approx(np.linalg.norm(y - p, axis=1).mean())
    assert np.isnan(scores.r2_within.value)
    assert scorer.score(1e-8 * y, 1e-8 * p).r2.value == pytest.approx(scores.r2.value)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turned = scorer.score(y @ turn.T, p @ turn.T)
    assert turned.r2.interval() == pytest.approx(scores.r2.interval())


def test_a_target_decided_by_the_species_has_no_score_within():
    frames, numbers, _, p = made()
    scores = Scorer.from_frames(frames).score(numbers / 3, p)
    assert np.isnan(scores.r2_within.value)
    assert np.isnan(scores.r2_within.interval()).all()
    assert np.isfinite(scores.r2.value)
    for value in (0.0, 0.1):
        assert np.isnan(Scorer.from_frames(frames).score(np.full_like(p, value), p).r2.value)


def test_half_of_the_resamples_are_enough_for_an_interval():
    bootstrap = Scorer.from_frames(made()[0], n_resamples=4).bootstrap
    half = Estimate(0.5, np.array([0.4, np.nan, 0.6, np.nan]), bootstrap)
    assert half.interval(level=1) == (0.4, 0.6)
    fewer = Estimate(0.5, np.array([0.4, np.nan, 0.6, np.nan, np.nan]), bootstrap)
    assert np.isnan(fewer.interval()).all()


def test_few_structures_give_a_score_without_an_interval():
    frames, _, y, p = made()
    scorer = Scorer.from_frames(frames)
    scores = scorer.score(y, p, scorer.unit < 4)
    assert np.isfinite(scores.r2.value)
    assert np.isnan(scores.r2.interval()).all()
    assert np.isfinite(scorer.score(y, p, scorer.unit < 5).r2.interval()).all()
    # They can be subtracted from those of more structures.
    assert (scores.r2 - scorer.score(y, p).r2).replicates.shape == scores.r2.replicates.shape


def test_parts_of_the_atoms_are_scored_on_the_resamples_of_all():
    """As those of one domain: of the same groups as often, so that parts can be subtracted."""
    frames, numbers, y, p = made()
    scorer = Scorer.from_frames(frames, n_resamples=4)
    where, labels = y > np.median(y), np.where(scorer.structure % 2, "odd", "even")
    parts = {x: scorer.score(y, p, where & (labels == x)) for x in ("odd", "even")}
    for name, part in parts.items():
        rows = np.flatnonzero(where & (labels == name))
        assert part.r2.value == pytest.approx(r2_score(y[rows], p[rows]), abs=1e-12)
        expected = slow_within(y[rows], p[rows], numbers[rows], compounds(frames)[rows])
        assert part.r2_within.value == pytest.approx(expected, abs=1e-12)
        for replicate, counts in enumerate(scorer.bootstrap.counts):
            drawn = np.repeat(rows, counts[scorer.unit[rows]])
            assert part.r2.replicates[replicate] == pytest.approx(r2_score(y[drawn], p[drawn]))
    assert parts["odd"].n_atoms + parts["even"].n_atoms == where.sum()
    assert np.isfinite((parts["odd"].r2 - parts["even"].r2).interval()).all()


# --- within kinds: another map, and the training set's means ---------------------------------


def folds_and_levels(frames, y, seed=0):
    """A fold of each group of structures, and the mean of each kind over the others' rows."""
    kind = kinds(frames)
    group = np.repeat([int(f.group[1:]) for f in frames], [len(f) for f in frames])
    fold, levels = group % 3, np.empty_like(y)
    for k in range(3):
        for one in np.unique(kind):
            rows = (fold != k) & (kind == one)
            levels[(fold == k) & (kind == one)] = y[rows].mean() if rows.any() else y.mean()
    return fold, levels


def test_within_is_scored_by_its_own_predictions_against_the_means_of_training():
    frames, numbers, y, p = made()
    within = y + np.random.default_rng(3).normal(size=len(y)) + 7 * numbers
    fold, levels = folds_and_levels(frames, y)
    assert (np.abs(levels - y.mean()) > 0.1).any()
    scorer = Scorer.from_frames(frames, n_resamples=4)
    where = fold != 1
    scores = scorer.score(y, p, where, within=within, levels=levels)
    plain = scorer.score(y, p, where)
    assert (scores.r2.value, scores.mae.value) == (plain.r2.value, plain.mae.value)
    compound = compounds(frames)
    rows = np.flatnonzero(where)
    for found, drawn in [
        (scores.r2_within.value, rows),
        *(
            (scores.r2_within.replicates[i], np.repeat(rows, counts[scorer.unit[rows]]))
            for i, counts in enumerate(scorer.bootstrap.counts)
        ),
    ]:
        expected = slow_within(
            y[drawn], within[drawn], numbers[drawn], compound[drawn], levels[drawn]
        )
        assert found == pytest.approx(expected, abs=1e-10)


def test_the_means_of_training_score_zero_within_and_never_below():
    frames, _, y, p = made()
    scorer = Scorer.from_frames(frames)
    _, levels = folds_and_levels(frames, y)
    scores = scorer.score(y, p, within=levels, levels=levels)
    assert scores.r2_within.value == pytest.approx(0.0, abs=1e-12)
    np.testing.assert_allclose(scores.r2_within.interval(), 0.0, atol=1e-12)
    # From the mean over what is scored, which no probe knows, they would lie below zero.
    assert scorer.score(y, p, within=levels).r2_within.value < -1e-3


def test_a_constant_of_each_kind_costs_nothing_within():
    frames, _, y, p = made()
    scorer = Scorer.from_frames(frames)
    _, levels = folds_and_levels(frames, y)
    offset = 100 * np.random.default_rng(0).normal(size=99)[kinds(frames)]
    one, other = (scorer.score(y, p, within=p + c, levels=levels) for c in (0.0, offset))
    assert other.r2_within.interval() == pytest.approx(one.r2_within.interval(), abs=1e-9)


def test_a_missing_prediction_within_is_named():
    frames, _, y, p = made()
    scorer = Scorer.from_frames(frames)
    with pytest.raises(ProbeError, match="no prediction"):
        scorer.score(y, p, within=np.where(y > 5, np.nan, p))


def test_kind_means_are_those_of_a_group_by():
    frames, _, y, p = made()
    kind = kinds(frames)
    both = np.stack([y, p], axis=1)
    expected = pd.DataFrame(both).groupby(kind).transform("mean").to_numpy()
    np.testing.assert_allclose(kind_means(both, kind), expected)
    np.testing.assert_allclose(kind_means(y, kind), expected[:, 0])


# --- what is resampled -----------------------------------------------------------------------


def test_units_are_what_was_held_out():
    frames, numbers, y, p = made()
    elements = np.unique(numbers, return_inverse=True)[1]
    scorer = Scorer.from_frames(frames, unit=elements, n_resamples=50)
    n = len(set(numbers.tolist()))
    assert scorer.bootstrap.n_groups == n
    scores = scorer.score(y, p)
    assert (scores.n_units, scores.n_structures, scores.n_atoms) == (n, 60, len(y))
    for replicate, counts in enumerate(scorer.bootstrap.counts[:5]):
        rows = np.repeat(np.arange(len(y)), counts[elements])
        assert scores.r2.replicates[replicate] == pytest.approx(r2_score(y[rows], p[rows]))
    # Of too few there is no interval, however many atoms there are.
    few = scorer.score(y, p, elements < 3)
    assert few.n_units == 3
    assert np.isnan(few.r2.interval()).all()
    assert Scorer.from_frames(frames).score(y, p).n_units == 30


class TestJackknife:
    def of_a_mean(self, values):
        """The mean of values, and without each in turn."""
        n = len(values)
        return Estimate(values.mean(), (values.sum() - values) / (n - 1), Jackknife(n))

    @pytest.mark.parametrize("n", [5, 40])
    def test_of_a_mean_it_is_the_t_interval_of_the_textbook(self, n):
        values = np.random.default_rng(n).gamma(2.0, size=n)
        expected = stats.t.interval(0.9, n - 1, values.mean(), stats.sem(values))
        assert self.of_a_mean(values).interval(0.9) == pytest.approx(expected)

    def test_it_holds_the_truth_as_often_as_it_says(self):
        rng, held = np.random.default_rng(0), 0
        for _ in range(400):
            low, high = self.of_a_mean(rng.normal(size=8)).interval()
            held += low < 0 < high
        assert 0.92 < held / 400 < 0.98

    def test_a_difference_counts_what_two_have_in_common(self):
        values = np.random.default_rng(0).normal(size=20)
        one, other = self.of_a_mean(values + 0.1), self.of_a_mean(values)
        assert (one - other).interval() == pytest.approx((0.1, 0.1))
        assert one.interval()[0] < other.interval()[1]

    def test_a_cell_without_which_nothing_is_defined_leaves_no_interval(self):
        values = np.random.default_rng(0).normal(size=20)
        one = self.of_a_mean(values)
        one.replicates[3] = np.nan
        assert np.isnan(one.interval()).all()
        assert np.isnan(Estimate(np.nan, np.zeros(20), Jackknife(20)).interval()).all()

    def test_only_alike_resamples_can_be_subtracted(self):
        one = self.of_a_mean(np.arange(5.0))
        for other in (
            Estimate(0.0, np.zeros(6), Jackknife(6)), Estimate(0.0, np.zeros(5), Bootstrap(5, 5)),
        ):  # fmt: skip
            with pytest.raises(ProbeError, match="same structures"):
                _ = one - other

    def test_about_another_value_the_width_stays(self):
        one = self.of_a_mean(np.random.default_rng(0).normal(size=9))
        low, high = one.interval()
        moved = one.at(one.value + 3)
        assert moved.value == one.value + 3
        assert moved.interval() == pytest.approx((low + 3, high + 3))


def test_a_difference_can_be_subtracted_from():
    frames, _, y, p = made()
    scorer = Scorer.from_frames(frames)
    one, other = scorer.score(y, p).mae, scorer.score(y, y + 1).mae
    np.testing.assert_allclose(((one - other) - one).replicates, -other.replicates)


def test_the_last_digits_of_large_values_are_no_variance():
    frames, *_ = made()
    scorer = Scorer.from_frames(frames)
    y = 1e-5 * np.random.default_rng(0).normal(size=len(scorer.structure))
    for large in (1e6, -1e6):
        assert np.isnan(scorer.score(y + large, y + large).r2.value)
        assert scorer.score(1e4 * y + large, 1e4 * y + large).r2.value == 1
    assert scorer.score(y, y).r2.value == 1


def test_what_sums_over_all_atoms_round_away_is_no_variance_of_some():
    frames, *_ = made()
    scorer = Scorer.from_frames(frames)
    rng = np.random.default_rng(0)
    some = scorer.structure % 2 == 0
    y = np.where(some, 1.0, -1.0) + 1e-8 * rng.normal(size=len(some))
    assert np.isnan(scorer.score(y, y, some).r2.value)
    assert scorer.score(y, y).r2.value == 1


def test_mean_of_draws_is_taken_resample_by_resample():
    frames, _, y, p = made()
    scorer = Scorer.from_frames(frames)
    draws = [scorer.score(y, p).mae, scorer.score(y, y + 1).mae]
    mean = Estimate.mean(draws)
    assert mean.value == pytest.approx((draws[0].value + 1) / 2)
    np.testing.assert_allclose(mean.replicates, (draws[0].replicates + 1) / 2)


def test_the_seed_decides_the_resamples():
    frames, _, y, p = made()
    first, again, other = (
        Scorer.from_frames(frames, seed=s).score(y, p).r2.interval() for s in (0, 0, 1)
    )
    assert first == again != other


def test_mistakes_are_named():
    frames, _, y, p = made()
    scorer = Scorer.from_frames(frames)
    with pytest.raises(ProbeError, match="no atom to score"):
        scorer.score(y, p, y > 1e9)
    with pytest.raises(ProbeError, match="no prediction"):
        scorer.score(y, np.where(y > 5, np.nan, p))
    with pytest.raises(ProbeError, match="all atoms"):
        scorer.score(y[:-1], p[:-1])
    fewer = len(compounds(frames[:40]))
    with pytest.raises(ProbeError, match="same structures"):
        _ = scorer.score(y, p).r2 - Scorer.from_frames(frames[:40]).score(y[:fewer], p[:fewer]).r2
