"""Steering's tables: each column is what it says, worked out without the code that fills it."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest

import mpprobe
from interventions.toy import Curved, PointCharges, rattled
from mpprobe.activations.evaluate import Evaluator
from mpprobe.errors import InterventionError
from mpprobe.interventions import (
    MEASURES,
    Effects,
    Steering,
    Whitening,
    block_columns,
    block_rows,
    fit_direction,
    make_steering,
    random_directions,
    steer,
)
from mpprobe.interventions.concepts import concept_of
from mpprobe.interventions.steering import BIN, _analytic, _follows_coulomb
from mpprobe.probes.chosen import kinds
from mpprobe.provenance import structures_sha256, versions
from mpprobe.targets import charges_of

SETTINGS = mpprobe.Settings(n_resamples=60, seed=5, in_domain=("bulk",))
A, B = np.array([1.0, -0.5, 0.3, 0.2, -0.8, 0.4]), np.array([0.7, -0.4, 0.2, 0.1])
DOSES = (-0.5, 0.5, 1.0)


@pytest.fixture(scope="module")
def frames():
    return rattled(8)


@pytest.fixture(scope="module")
def model():
    return Curved(A, B)


@pytest.fixture(scope="module")
def calls():
    return []


@pytest.fixture(scope="module")
def found(model, frames, calls):
    return steer(
        model, frames, layer=1, doses=[0.5, -0.5], delta=0.3, draws=21, settings=SETTINGS,
        max_atoms=40, progress=lambda *call: calls.append(call),
    )  # fmt: skip


@pytest.fixture(scope="module", params=["trained", "random weights"])
def one(request, model, frames, found):
    """One of the models: its name, its evaluator, its features and direction, and its rows."""
    potential = model if request.param == "trained" else model.randomised(5)
    return Alone(request.param, potential, frames, found)


class Alone:
    """What steering one model takes, put together from its parts."""

    def __init__(self, name, potential, frames, found, target="potential"):
        self.name, self.frames = name, frames
        self.evaluator = Evaluator(potential, frames)
        found_target = mpprobe.get_target(target, frames)
        self.columns = block_columns(potential.layer(1), found_target.l)
        self.unedited = self.evaluator.run(layers=[1])
        self.x = block_rows(self.unedited.features[1], self.columns)
        concept = concept_of(found_target, frames, potential.cutoff, "within")
        group = np.arange(len(frames)).repeat([len(f) for f in frames])
        kind = kinds(frames)
        self.own = fit_direction(1, self.columns, self.x, concept, group, kind)
        self.drawn = random_directions(self.own, Whitening.of(self.x, kind), 21, 5)
        self.effects = Effects(frames, self.unedited, in_domain=["bulk"], n_resamples=60, seed=5)

    def change(self, direction, dose):
        edited = self.evaluator.run({1: Steering(direction, gain=dose)})
        return edited.forces - self.unedited.forces

    def slopes(self, direction):
        return self.evaluator.slopes(1, self.columns, direction.step)

    def rms(self, direction):
        return np.sqrt((direction.read(self.x) ** 2).sum(axis=1).mean())

    def rows_of(self, table):
        return table[table["model"] == self.name].drop(columns="model")


def test_tables_have_their_columns(found):
    about = ["model", "direction", "draw", "dose", "shift", "domain", "n_structures", "n_atoms"]
    assert list(found.doses) == [*about, *MEASURES]
    assert list(found.atoms) == [
        "model", "structure", "domain", "atom", "species", "slope", "analytic",
    ]  # fmt: skip
    assert list(found.distances) == ["model", "shift", "from", "to", "n_atoms", "change"]
    assert list(found.summary) == [
        "model", "measure", "value", "low", "high", "median", "lowest", "highest", "p", "analytic",
    ]  # fmt: skip


def test_every_dose_of_every_direction_has_its_effects(one, found):
    rows = one.rows_of(found.doses)
    expected = [("probe", None, dose, one.own) for dose in DOSES]
    expected += [("random direction", k, 1.0, d) for k, d in enumerate(one.drawn)]
    domains = ["bulk", "surface", "in domain", "out of domain", "all"]
    assert len(rows) == len(expected) * len(domains)
    for kind, draw, dose, direction in expected:
        same = rows[(rows["direction"] == kind) & (rows["dose"] == dose)]
        same = same[same["draw"].isna() if draw is None else same["draw"] == draw]
        assert same["domain"].tolist() == domains
        np.testing.assert_allclose(same["shift"], abs(dose) * one.rms(direction))
        edited = one.evaluator.run({1: Steering(direction, gain=dose)})
        for (_, row), effect in zip(same.iterrows(), one.effects.rows(edited), strict=True):
            numbers = {name: row[name] for name in effect}
            assert numbers == pytest.approx(effect, nan_ok=True)


def test_every_atom_has_its_slope_and_that_of_point_charges(one, found, frames):
    rows = one.rows_of(found.atoms)
    np.testing.assert_allclose(rows["slope"], one.slopes(one.own)[:, 0])
    numbers = np.concatenate([f.numbers for f in frames])
    np.testing.assert_array_equal(rows["analytic"], np.where(numbers == 11, 0.5, -0.5))
    symbols = [s for f in frames for s in f.atoms.get_chemical_symbols()]
    assert rows["species"].tolist() == symbols
    assert rows["structure"].tolist() == [f.source for f in frames for _ in range(8)]
    assert rows["domain"].tolist() == [f.domain for f in frames for _ in range(8)]
    assert rows["atom"].tolist() == list(range(8)) * 8


def of_a_line(y, x):
    return {"slope": (x * y).sum() / (x * x).sum(),
            "correlation": (x * y).sum() / np.sqrt((x * x).sum() * (y * y).sum())}  # fmt: skip


def measures(one, direction, doses):
    """What the summary is about, of the data set."""
    changes = np.array([one.change(direction, dose) for dose in doses])
    full = changes[list(doses).index(1.0)]
    slopes = one.slopes(direction)[:, 0]
    analytic = np.concatenate([np.where(f.numbers == 11, 0.5, -0.5) for f in one.frames])
    lines = {"energy": of_a_line(slopes, analytic), "force": of_a_line(full, one.effects.coulomb)}
    found = {f"{what}_{k}": v for what, line in lines.items() for k, v in line.items()}
    fit = np.tensordot(doses, changes, axes=1) / np.square(doses).sum()
    left = changes - np.multiply.outer(doses, fit)
    linearity = 1 - (left**2).sum() / (changes**2).sum()
    assert len(doses) == 1 or linearity < 0.9999
    return found | {"change": np.abs(full).mean(), "linearity": linearity}


def test_the_summary_sets_the_probe_against_random_directions(one, found):
    rows = one.rows_of(found.summary).set_index("measure")
    own = measures(one, one.own, DOSES)
    drawn = [measures(one, d, (1.0,)) for d in one.drawn]
    assert list(rows.index) == list(own)
    for measure, value in own.items():
        row = rows.loc[measure]
        assert row["value"] == pytest.approx(value)
        assert row["low"] <= row["high"]
        if measure == "linearity":
            assert row[["median", "lowest", "highest", "p"]].isna().all()
        else:
            others = np.array([d[measure] for d in drawn])
            expected = [np.median(others), others.min(), others.max()]
            np.testing.assert_allclose(row[["median", "lowest", "highest"]].astype(float), expected)
            # All slopes are multiples of the same energies: their correlations tie.
            as_large = 1 + (np.abs(others) > abs(value) * (1 - 1e-6)).sum()
            assert row["p"] == pytest.approx(as_large / 22)
        expected = np.nan if measure == "change" else 1.0
        np.testing.assert_equal(row["analytic"], expected)


def test_intervals_of_the_summary_are_of_resampled_structures(one, found):
    rows = one.rows_of(found.summary).set_index("measure")
    change = np.abs(one.change(one.own, 1.0)).reshape(8, -1).mean(axis=1)
    rng = np.random.default_rng(5)
    means = [change[rng.integers(8, size=8)].mean() for _ in range(60)]
    expected = np.quantile(means, [0.025, 0.975])
    np.testing.assert_allclose(rows.loc["change", ["low", "high"]].astype(float), expected)


def test_one_atom_is_shifted_and_the_others_feel_it_by_their_distance(one, found, frames):
    rng = np.random.default_rng(5)
    chosen = [int(rng.integers(8)) for _ in frames]
    shifts = np.zeros((64, 1))
    shifts[np.arange(8) * 8 + chosen] = 0.3
    edited = one.evaluator.run({1: Steering(one.own, shifts)})
    change = np.linalg.norm(edited.forces - one.unedited.forces, axis=1)
    distance = np.concatenate(
        [f.atoms.get_all_distances(mic=True)[i] for f, i in zip(frames, chosen, strict=True)]
    )
    assert change.max() > 1e-3
    rows = one.rows_of(found.distances)
    assert rows["from"].tolist() == [BIN * k for k in range(len(rows))]
    assert (rows["shift"] == 0.3).all()
    assert rows["n_atoms"].sum() == 64
    for _, row in rows.iterrows():
        near = (distance >= row["from"]) & (distance < row["to"])
        assert row["to"] == row["from"] + BIN
        assert row["n_atoms"] == near.sum()
        assert row["change"] == pytest.approx(change[near].mean())


def test_a_shift_that_is_not_given_is_as_large_as_what_is_read(model, frames):
    found = steer(model, frames, layer=1, random_weights=False, settings=SETTINGS)
    one = Alone("trained", model, frames, found)
    np.testing.assert_allclose(found.distances["shift"], one.rms(one.own))
    assert set(found.doses["model"]) == {"trained"}
    assert sorted(set(found.doses["dose"])) == [-1, -0.5, 0.5, 1]


def test_one_dose_says_nothing_of_linearity(model, frames):
    found = steer(model, frames, layer=1, doses=[1.0], random_weights=False, settings=SETTINGS)
    assert "linearity" not in set(found.summary["measure"])
    two = steer(model, frames, layer=1, doses=[0.5], random_weights=False, settings=SETTINGS)
    assert "linearity" in set(two.summary["measure"])


def test_few_structures_have_no_intervals(model, frames):
    found = steer(model, frames[:4], layer=1, random_weights=False, settings=SETTINGS)
    assert found.summary[["low", "high"]].isna().all().all()
    assert found.summary["value"].notna().all()


def test_five_structures_have_intervals(model, frames):
    found = steer(model, frames[:5], layer=1, random_weights=False, settings=SETTINGS)
    assert found.summary[["low", "high"]].notna().all().all()


class TestOtherTargets:
    def test_a_charge_has_the_potential_at_its_place_as_slope(self, frames):
        found = steer(
            PointCharges(), frames, layer=1, target="charge:formal", part="whole",
            random_weights=False, settings=SETTINGS,
        )  # fmt: skip
        potential = np.concatenate(mpprobe.get_target("potential").values(frames))
        np.testing.assert_allclose(found.atoms["analytic"], potential)
        measures = set(found.summary["measure"])
        assert {"energy_slope", "energy_correlation"} <= measures
        # A larger charge is not a larger force: that grows with its square.
        assert not {"force_slope", "force_correlation"} & measures

    def test_other_charges_have_their_own_potential(self, frames):
        plan = make_steering(PointCharges(), frames, layer=1, target="potential@eeq")
        expected = np.concatenate([charges_of(f, "eeq") for f in frames]) / 2
        np.testing.assert_allclose(_analytic(plan.target, frames), expected)

    def test_vectors_have_lengths_of_slopes_and_no_energy_to_compare_with(self, model, frames):
        found = steer(
            model, frames, layer=1, target="field", part="whole", draws=21, random_weights=False,
            settings=SETTINGS,
        )  # fmt: skip
        one = Alone("trained", model, frames, found, target="field")
        slopes = one.slopes(one.own)
        assert slopes.shape == (64, 3)
        np.testing.assert_allclose(found.atoms["slope"], np.linalg.norm(slopes, axis=1))
        assert found.atoms["analytic"].isna().all()
        assert set(found.summary["measure"]) == {"change", "linearity"}
        assert set(found.doses["coulomb_slope"].notna()) == {True}

    def test_the_potential_of_any_charges_moves_forces_as_charges_do(self, frames):
        follows = {
            name: _follows_coulomb(mpprobe.get_target(name))
            for name in ("potential", "potential@eeq", "charge:formal", "potential:shell-1")
        }
        assert [name for name, does in follows.items() if does] == ["potential", "potential@eeq"]

    def test_unknown_charges_have_no_analytic_slope(self, model):
        bare = []
        for frame in rattled(6):
            atoms = frame.atoms.copy()
            del atoms.arrays["charge_formal"]
            atoms.numbers[:] = 11
            atoms.arrays["known"] = np.random.default_rng(0).normal(size=8)
            bare.append(atoms)
        found = steer(model, bare, layer=1, target="array:known", part="whole",
                      random_weights=False, settings=SETTINGS)  # fmt: skip
        assert found.atoms["analytic"].isna().all()
        assert set(found.summary["measure"]) == {"change", "linearity"}
        # Nothing is formal there, but other charges are known.
        found = steer(model, bare, layer=1, target="potential@known", part="whole",
                      random_weights=False, settings=SETTINGS)  # fmt: skip
        assert "energy_slope" in set(found.summary["measure"])
        assert "force_slope" not in set(found.summary["measure"])


def test_what_identifies_the_result_is_recorded(found, model, frames):
    assert found.provenance == {
        "model": {"name": "toy"},
        "target": "potential",
        "unit": "V",
        "target_l": 0,
        "part": "within",
        "layer": 1,
        "doses": list(DOSES),
        "delta": 0.3,
        "draws": 21,
        "settings": asdict(SETTINGS),
        "structures_sha256": structures_sha256(frames),
        "versions": versions(),
    }


@pytest.mark.usefixtures("found")
def test_progress_counts_the_random_directions_of_each_model(calls):
    steps = [(k, 21) for k in range(1, 22)]
    assert [call[1:] for call in calls] == steps * 2
    assert {call[0] for call in calls} == {"random directions in toy"}


class TestAPlan:
    def test_what_is_left_out(self, model, frames):
        plan = make_steering(model, frames, layer=1)
        assert (plan.target.name, plan.part, plan.draws) == ("potential", "within", 20)
        assert (plan.doses, plan.delta) == ((-1.0, -0.5, 0.5, 1.0), None)
        assert (plan.settings, plan.random_weights) == (mpprobe.Settings(), True)
        assert plan.potential is model

    def test_a_shell_ends_at_the_models_cutoff(self, model, frames):
        plan = make_steering(model, frames, layer=1, target="potential:shell-1", part="whole")
        expected = mpprobe.get_target("potential:shell-1").values(frames, model.cutoff)
        np.testing.assert_array_equal(plan.concept[:, 0], np.concatenate(expected))

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"part": "other"}, "^part 'other': steering takes within or whole$"),
            ({"part": "species"}, "^part 'species': steering takes within or whole$"),
            ({"doses": [0.5, np.nan]}, "^doses: give finite numbers other than zero$"),
            ({"doses": [np.inf]}, "^doses: give finite numbers other than zero$"),
            ({"delta": np.inf}, "^delta: give a finite number other than zero$"),
            ({"delta": 0}, "^delta: give a finite number other than zero$"),
            ({"draws": 19}, "^19 draws: give at least 20, or p says too little$"),
        ],
    )
    def test_what_cannot_be_is_refused(self, model, frames, options, message):
        with pytest.raises(InterventionError, match=message):
            make_steering(model, frames, layer=1, **options)

    def test_no_structures(self, model):
        with pytest.raises(InterventionError, match=r"^nothing to steer: give structures$"):
            make_steering(model, [], layer=1)

    def test_a_layer_without_vectors(self, model, frames):
        with pytest.raises(InterventionError, match="layer 0 has no l = 1 features"):
            make_steering(model, frames, layer=0, target="field", part="whole")

    def test_structures_that_the_model_does_not_know(self, model, frames):
        atoms = frames[0].atoms.copy()
        atoms.symbols[3] = "K"
        with pytest.raises(mpprobe.MPProbeError, match="does not know K"):
            make_steering(model, [atoms], layer=1)

    def test_structures_without_a_pair_of_neighbours(self, model, frames):
        atoms = frames[0].atoms[:1]
        atoms.pbc = False
        with pytest.raises(mpprobe.MPProbeError, match="no two atoms are within"):
            make_steering(model, [atoms], layer=1)
