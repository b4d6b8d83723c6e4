"""Erasing's tables: each column is what it says, put together from its parts."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest

import mpprobe
from interventions.toy import Layered, rattled
from mpprobe.activations.evaluate import Evaluator
from mpprobe.activations.journal import Journal
from mpprobe.errors import InterventionError
from mpprobe.interventions import (
    MEASURES,
    PARTS,
    Effects,
    Whitening,
    block_columns,
    block_rows,
    erase,
    fit_erasure,
    make_erasing,
    random_erasures,
)
from mpprobe.interventions.concepts import concept_of, species_columns
from mpprobe.interventions.erasing import erased_layers, linear_r2
from mpprobe.probes import Scorer, make_split
from mpprobe.probes.baselines import label_means
from mpprobe.probes.chosen import kinds
from mpprobe.probes.crossfit import cross_predict
from mpprobe.provenance import structures_sha256, versions

SETTINGS = mpprobe.Settings(n_folds=3, n_resamples=60, seed=5, in_domain=("bulk",))
A, B = np.array([1.0, -0.5, 0.3, 0.2, -0.8, 0.4]), np.array([0.7, -0.4, 0.2, 0.1])
DOMAINS = ["bulk", "surface", "in domain", "out of domain", "all"]


@pytest.fixture(scope="module")
def frames():
    return rattled(10)


@pytest.fixture(scope="module")
def model():
    return Layered(A, B)


class Noted(Journal):
    """A journal that notes what it is asked for."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def part(self, name, make):
        self.asked.append(name)
        return super().part(name, make)


@pytest.fixture(scope="module", params=["whole", "within"])
def part(request):
    return request.param


@pytest.fixture(scope="module")
def journal(part):
    return Noted()


@pytest.fixture(scope="module")
def calls(part):
    return []


@pytest.fixture(scope="module")
def found(model, frames, part, journal, calls):
    return erase(
        model, frames, layers=[1, 0], part=part, draws=21, settings=SETTINGS, max_atoms=40,
        progress=lambda *call: calls.append(call), journal=journal,
    )  # fmt: skip


class Alone:
    """Erasing in one model, put together from its parts."""

    def __init__(
        self, name, potential, frames, found, *, part="whole", layers=(0, 1), target="potential"
    ):
        self.name, self.found, self.layers = name, found, layers
        self.target = mpprobe.get_target(target, frames)
        self.evaluator = Evaluator(potential, frames)
        self.columns = {t: block_columns(potential.layer(t), self.target.l) for t in layers}
        self.concept = concept_of(self.target, frames, potential.cutoff, part)
        self.kind = kinds(frames) if part == "within" else None
        self.unedited = self.evaluator.run(layers=list(layers))
        self.effects = Effects(frames, self.unedited, in_domain=["bulk"], n_resamples=60, seed=5)
        self.frames = frames

    def features(self, layer, edits):
        return block_rows(self.evaluator.features([layer], edits)[layer], self.columns[layer])

    @property
    def concepts(self):
        """What each edit but the random ones erases, and the kinds within which it does."""
        return {"target": (self.concept, self.kind),
                "species means": (species_columns(self.frames), None)}  # fmt: skip

    def edits(self, name):
        edits = {}
        for layer in self.layers:
            x = self.features(layer, edits)
            edits[layer] = fit_erasure(layer, self.columns[layer], x, *self.concepts[name])
        return edits

    def drawn(self, edits):
        seeds = np.random.SeedSequence(5).spawn(len(self.layers))
        whitened = [
            Whitening.of(self.features(t, earlier(edits, t)), self.kind) for t in self.layers
        ]
        each = [
            random_erasures(edits[t], whitening, 21, seed)
            for t, whitening, seed in zip(self.layers, whitened, seeds, strict=True)
        ]
        return [
            dict(zip(self.layers, together, strict=True)) for together in zip(*each, strict=True)
        ]

    def rows_of(self, table):
        return table[table["model"] == self.name].drop(columns="model")


def earlier(edits, layer):
    return {t: edit for t, edit in edits.items() if t < layer}


@pytest.fixture(scope="module", params=["trained", "random weights"])
def one(request, model, frames, found, part):
    potential = model if request.param == "trained" else model.randomised(5)
    return Alone(request.param, potential, frames, found, part=part)


def assert_effects(rows, effects):
    assert rows["domain"].tolist() == DOMAINS
    for (_, row), effect in zip(rows.iterrows(), effects, strict=True):
        assert {name: row[name] for name in effect} == pytest.approx(effect, nan_ok=True)


def test_tables_have_their_columns(found):
    about = ["model", "edit", "draw", "domain", "n_structures", "n_atoms"]
    assert list(found.effects) == [*about, *MEASURES]
    assert list(found.summary) == [
        "model", "domain", "n_structures", "measure", "value", "low", "high", "median", "lowest",
        "highest", "p",
    ]  # fmt: skip
    assert list(found.erasures) == [
        "model", "edit", "layer", "rank", "removed", "r2_before", "r2_after",
    ]  # fmt: skip
    assert list(found.decoding) == [
        "model", "layer", "erased", "before", "before_low", "before_high", "after", "after_low",
        "after_high",
    ]  # fmt: skip


def test_effects_are_of_every_edit(one, found):
    rows, edits = one.rows_of(found.effects), one.edits("target")
    for name, edit in (("target", edits), ("species means", one.edits("species means"))):
        own = rows[rows["edit"] == name]
        assert own["draw"].isna().all()
        assert_effects(own, one.effects.rows(one.evaluator.run(edit)))
    random = rows[rows["edit"] == "random subspace"]
    for k, drawn in enumerate(one.drawn(edits)):
        own = random[random["draw"] == k]
        assert_effects(own, one.effects.rows(one.evaluator.run(drawn)))
    assert len(rows) == len(DOMAINS) * (2 + 21)


def test_the_summary_sets_the_target_against_random_subspaces(one, found):
    rows, effects = one.rows_of(found.summary), one.rows_of(found.effects)
    edited = one.evaluator.run(one.edits("target"))
    intervals = one.effects.intervals(edited)
    own = effects[effects["edit"] == "target"].set_index("domain")
    random = effects[effects["edit"] == "random subspace"]
    measured = [
        "change", "relative_change", "energy_change", "coulomb_slope", "coulomb_correlation",
    ]  # fmt: skip
    assert rows["measure"].tolist() == measured * len(DOMAINS)
    for _, row in rows.iterrows():
        measure, value = row["measure"], own.loc[row["domain"], row["measure"]]
        drawn = random.loc[random["domain"] == row["domain"], measure].to_numpy(float)
        sized = np.abs if measure.startswith("coulomb") else np.asarray
        expected = [
            value, *intervals[row["domain"]][measure], np.median(drawn), drawn.min(), drawn.max(),
            (1 + (sized(drawn) >= sized(value)).sum()) / 22,
        ]  # fmt: skip
        names = ["value", "low", "high", "median", "lowest", "highest", "p"]
        np.testing.assert_allclose(row[names].astype(float), expected, atol=1e-9)
        assert row["n_structures"] == own.loc[row["domain"], "n_structures"]


def test_erasures_say_what_they_take_layer_by_layer(one, found):
    rows = one.rows_of(found.erasures)
    expected = [(e, t) for e in ("target", "species means") for t in (0, 1)]
    assert list(zip(rows["edit"], rows["layer"], strict=True)) == expected
    for _, row in rows.iterrows():
        concept, kind = one.concepts[row["edit"]]
        edits = one.edits(row["edit"])
        x = one.features(row["layer"], earlier(edits, row["layer"]))
        edit = edits[row["layer"]]
        assert row["rank"] == edit.rank
        assert row["removed"] == pytest.approx(Whitening.of(x, kind).removed(edit))
        assert row["r2_before"] == pytest.approx(linear_r2(x, concept, kind=kind))
        after = linear_r2(edit.apply(x), concept, before=x, kind=kind)
        assert row["r2_after"] == pytest.approx(after, abs=1e-9)


def test_decoding_is_that_of_probes_before_and_after(one, found, frames):
    rows = one.rows_of(found.decoding)
    assert rows["layer"].tolist() == [0, 1]
    assert rows["erased"].all()
    edited = one.evaluator.run(one.edits("target"), layers=[0, 1])
    y = np.concatenate(one.target.values(frames, one.evaluator.potential.cutoff))
    split = make_split("structure", frames, n_folds=3, seed=5)
    scorer = Scorer.from_frames(frames, n_resamples=60, seed=5)
    # The whole target is read by a map of the whole, what differs within kinds by one within them.
    whole = found.provenance["part"] == "whole"
    kind = None if whole else scorer.kind
    levels = None if whole else label_means(y[:, None], kind, split)[:, 0]
    for _, row in rows.iterrows():
        for when, run in (("before", one.unedited), ("after", edited)):
            x = block_rows(run.features[row["layer"]], one.columns[row["layer"]])[:, :, 0]
            predicted = cross_predict(x, y[:, None], split, kinds=kind).predictions[:, 0]
            scores = scorer.score(y, predicted, split.scored, levels=levels)
            score = scores.r2 if whole else scores.r2_within
            names = [when, f"{when}_low", f"{when}_high"]
            expected = [score.value, *score.interval()]
            np.testing.assert_allclose(row[names].astype(float), expected, atol=1e-7)


@pytest.mark.usefixtures("found")
def test_random_subspaces_are_kept_by_name_and_counted(journal, calls):
    names = [
        f"potential | {m} | draw {k}" for m in ("trained", "random weights") for k in range(21)
    ]
    assert journal.asked == names
    steps = [("random subspaces for potential in toy", k, 21) for k in range(1, 22)]
    assert calls == steps * 2


def test_what_identifies_the_result_is_recorded(found, frames, part):
    assert found.provenance == {
        "model": {"name": "toy"},
        "target": "potential",
        "target_l": 0,
        "part": part,
        "part_is": PARTS[part],
        "layers": [0, 1],
        "draws": 21,
        "settings": asdict(SETTINGS),
        "structures_sha256": structures_sha256(frames),
        "versions": versions(),
    }


def test_vectors_have_no_species_means_and_are_decoded_by_r2(model, frames):
    found = erase(
        model, frames, layers="all", target="field", part="whole", draws=21, settings=SETTINGS,
        random_weights=False,
    )  # fmt: skip
    one = Alone("trained", model, frames, found, layers=(1,), target="field")
    assert set(found.effects["edit"]) == {"target", "random subspace"}
    assert found.erasures["layer"].tolist() == [1]
    y = np.concatenate(one.target.values(frames, model.cutoff))
    split = make_split("structure", frames, n_folds=3, seed=5)
    x = block_rows(one.unedited.features[1], one.columns[1])
    predicted = cross_predict(x, y[..., None], split).predictions[..., 0]
    scorer = Scorer.from_frames(frames, n_resamples=60, seed=5)
    (row,) = found.decoding.to_dict("records")
    assert row["before"] == pytest.approx(scorer.score(y, predicted, split.scored).r2.value)


def test_later_layers_are_decoded_too_and_said_not_to_be_erased(model, frames):
    told = []
    found = erase(
        model, frames, layers=0, target="potential:shell-1", part="whole", random_weights=False,
        settings=SETTINGS, progress=lambda *call: told.append(call),
    )  # fmt: skip
    what = "random subspaces for potential:shell-1 in toy"
    assert told == [(what, k + 1, 20) for k in range(20)]
    rows = found.decoding
    assert list(zip(rows["layer"], rows["erased"], strict=True)) == [(0, True), (1, False)]


class TestWhichLayers:
    @pytest.mark.parametrize("asked", ["all", "ALL", ["All"]])
    @pytest.mark.parametrize(
        ("target", "part", "expected"),
        [
            ("potential", "within", (1,)),
            ("potential", "whole", (0, 1)),
            ("field", "whole", (1,)),
        ],
    )
    def test_all_are_those_that_hold_something_of_it(self, model, asked, target, part, expected):
        assert erased_layers(model, asked, mpprobe.get_target(target), part) == expected

    @pytest.mark.parametrize(("asked", "expected"), [(0, (0,)), ("1", (1,)), ([1, 0], (0, 1))])
    def test_those_asked_for_are_taken_ascending(self, model, asked, expected):
        assert erased_layers(model, asked, mpprobe.get_target("potential"), "within") == expected

    def test_one_that_holds_nothing_of_it_is_named(self, model):
        with pytest.raises(InterventionError, match="layer 0 has no l = 1 features"):
            erased_layers(model, [0, 1], mpprobe.get_target("field"), "whole")


class TestAPlan:
    def test_what_is_left_out(self, model, frames):
        plan = make_erasing(model, frames, layers=1)
        assert (plan.target.name, plan.part, plan.draws) == ("potential", "within", 20)
        assert (plan.layers, plan.settings) == ((1,), mpprobe.Settings())
        assert plan.random_weights is True
        expected = make_split("structure", frames, n_folds=5, seed=0)
        np.testing.assert_array_equal(plan.split.test, expected.test)
        assert make_erasing(model, frames, layers="all").layers == (1,)
        assert make_erasing(model, frames, layers="all", part="whole").layers == (0, 1)

    def test_the_same_is_left_out_of_a_run(self, model, frames):
        journal = Noted()
        found = erase(model, frames, layers=1, random_weights=False, settings=SETTINGS,
                      journal=journal)  # fmt: skip
        record = found.provenance
        assert (record["target"], record["part"]) == ("potential", "within")
        assert len(journal.asked) == 20

    def test_an_array_of_vectors_is_known_by_its_shape(self, model, frames):
        atoms = [frame.atoms.copy() for frame in frames]
        for image in atoms:
            image.arrays["arrow"] = image.positions - image.positions.mean(axis=0)
        plan = make_erasing(model, atoms, layers="all", target="array:arrow", part="whole")
        assert (plan.target.l, plan.layers) == (1, (1,))

    def test_folds_and_seed_are_those_of_the_settings(self, model, frames):
        plan = make_erasing(model, frames, layers=1, settings=SETTINGS)
        expected = make_split("structure", frames, n_folds=3, seed=5)
        np.testing.assert_array_equal(plan.split.test, expected.test)

    @pytest.mark.parametrize("draws", [0, 19])
    def test_too_few_draws(self, model, frames, draws):
        message = f"^{draws} draws: give at least 20, or p says too little$"
        with pytest.raises(InterventionError, match=message):
            make_erasing(model, frames, layers=1, draws=draws)

    def test_no_structures(self, model):
        with pytest.raises(InterventionError, match=r"^nothing to erase from: give structures$"):
            make_erasing(model, [], layers=1)

    def test_structures_that_the_model_does_not_know(self, model, frames):
        atoms = frames[0].atoms.copy()
        atoms.symbols[3] = "K"
        with pytest.raises(mpprobe.MPProbeError, match="does not know K"):
            make_erasing(model, [atoms], layers=1)

    def test_structures_without_a_pair_of_neighbours(self, model, frames):
        atoms = frames[0].atoms[:1]
        atoms.pbc = False
        with pytest.raises(mpprobe.MPProbeError, match="no two atoms are within"):
            make_erasing(model, [atoms], layers=1)


class TestLinearR2:
    def test_within_kinds_it_is_that_of_least_squares_with_a_constant_for_each(self):
        rng = np.random.default_rng(0)
        kind = rng.integers(4, size=60) + 3
        constants = (kind[:, None] == np.unique(kind)).astype(float)
        x = rng.normal(size=(60, 3)) + constants @ rng.normal(size=(4, 3)) * 10
        noise = rng.normal(size=(60, 2))
        y = x @ rng.normal(size=(3, 2)) + noise + constants @ [[1], [2], [9], [4]]
        within = y - constants @ np.linalg.lstsq(constants, y, rcond=None)[0]
        given = np.hstack([x, constants])
        left = y - given @ np.linalg.lstsq(given, y, rcond=None)[0]
        expected = 1 - (left**2).sum(axis=0) / (within**2).sum(axis=0)
        assert linear_r2(x[:, :, None], y, kind=kind) == pytest.approx(expected.mean())
        assert linear_r2(x[:, :, None], y) != pytest.approx(expected.mean(), abs=0.05)

    def test_it_is_that_of_least_squares(self):
        rng = np.random.default_rng(0)
        x, y = rng.normal(size=(40, 3)), rng.normal(size=(40, 2)) + 5
        one = np.hstack([x, np.ones((40, 1))])
        left = y - one @ np.linalg.lstsq(one, y, rcond=None)[0]
        expected = 1 - (left**2).sum(axis=0) / ((y - y.mean(axis=0)) ** 2).sum(axis=0)
        assert linear_r2(x[:, :, None], y) == pytest.approx(expected.mean())

    @pytest.mark.parametrize("unit", [1.0, 1e4])
    def test_rounding_is_what_is_small_beside_the_features_before(self, unit):
        x = unit * np.random.default_rng(0).normal(size=(30, 2, 1))
        assert linear_r2(1e-7 * x, x[:, 0]) == pytest.approx(1)
        assert linear_r2(1e-7 * x, x[:, 0], before=x) == 0

    def test_vectors_have_no_bias(self):
        rng = np.random.default_rng(0)
        x, y = rng.normal(size=(40, 2, 3)) + 1, rng.normal(size=(40, 3, 1)) + 2
        rows, flat = np.swapaxes(x, 1, 2).reshape(-1, 2), y.reshape(-1)
        left = flat - rows @ np.linalg.lstsq(rows, flat, rcond=None)[0]
        expected = 1 - (left**2).sum() / (flat**2).sum()
        assert linear_r2(x, y) == pytest.approx(expected)

    def test_columns_that_are_nothing_and_directions_of_rounding_are_left_out(self):
        rng = np.random.default_rng(0)
        x = rng.normal(size=(40, 2))
        y = np.stack([x[:, 0], np.ones(40)], axis=1)
        twice = np.hstack([x, x[:, :1] * (1 + 1e-14)])
        assert linear_r2(twice[:, :, None], y) == pytest.approx(1)
