"""Effects of an edit: every measure is what its definition says, summed by hand."""

from __future__ import annotations

import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator

import mpprobe
from interventions.toy import PointCharges, rattled
from mpprobe.activations.evaluate import Evaluator
from mpprobe.interventions import MEASURES, Effects
from mpprobe.interventions.effects import ALL, IN_DOMAIN, OUT_OF_DOMAIN, p_value
from mpprobe.targets.electrostatics import point_forces

DOMAINS = ("bulk", "bulk", "surface", "surface", "wire", "bulk", "surface", "wire")


def made(reference=True, charges=True):
    """Structures of four and of eight atoms, the first two of one group."""
    frames = []
    for k, (frame, domain) in enumerate(zip(rattled(8), DOMAINS, strict=True)):
        atoms = frame.atoms[: 4 + 4 * (k % 2)]
        atoms.info |= {"domain": domain, "group": f"group {max(k, 1)}"}
        if reference:
            forces = np.random.default_rng(k).normal(size=(len(atoms), 3))
            atoms.calc = SinglePointCalculator(atoms, forces=forces, energy=0.0)
        if not charges:
            del atoms.arrays["charge_formal"]
            atoms.numbers[:] = 11
        frames.append(mpprobe.Frame.from_atoms(atoms, f"toy@{k}"))
    return frames


@pytest.fixture(scope="module")
def frames():
    return made()


@pytest.fixture(scope="module")
def runs(frames):
    """Of two models: as it is, and edited."""
    return [Evaluator(PointCharges(s), frames).run() for s in (1.0, 1.3)]


@pytest.fixture(scope="module")
def effects(frames, runs):
    return Effects(frames, runs[0], in_domain=["bulk", "wire"], n_resamples=300, seed=3)


@pytest.fixture(scope="module")
def coulomb(frames):
    """Forces of point charges, of each structure."""
    return [point_forces(f, np.where(f.numbers == 11, 1.0, -1.0)) for f in frames]


def by_hand(frames, runs, coulomb, chosen):
    """The measures over some structures."""
    ends = np.cumsum([0, *(len(f) for f in frames)])
    atom = np.concatenate([np.arange(ends[k], ends[k + 1]) for k in chosen])
    before, after = (run.forces[atom] for run in runs)
    reference = np.concatenate([frames[k].atoms.calc.results["forces"] for k in chosen])
    coulomb = np.concatenate([coulomb[k] for k in chosen])
    change = after - before
    energies = [abs(runs[1].energies[k] - runs[0].energies[k]) / len(frames[k]) for k in chosen]
    errors = [np.abs(f - reference).mean() for f in (before, after)]
    return {
        "change": np.abs(change).mean(),
        "relative_change": np.sqrt((change**2).mean() / (before**2).mean()),
        "mae_before": errors[0],
        "mae_after": errors[1],
        "mae_change": errors[1] - errors[0],
        "energy_change": 1000 * np.mean(energies),
        "coulomb_slope": (change * coulomb).sum() / (coulomb**2).sum(),
        "coulomb_correlation": (change * coulomb).sum()
        / np.sqrt((change**2).sum() * (coulomb**2).sum()),
    }


def subsets():
    domains = np.array(DOMAINS)
    inside = domains != "surface"
    found = {name: domains == name for name in ("bulk", "surface", "wire")}
    found |= {IN_DOMAIN: inside, OUT_OF_DOMAIN: ~inside, ALL: inside | True}
    return {name: np.flatnonzero(chosen) for name, chosen in found.items()}


def test_measures_of_every_domain_are_those_summed_by_hand(frames, runs, coulomb, effects):
    rows = effects.rows(runs[1])
    assert [row["domain"] for row in rows] == list(subsets())
    for row, chosen in zip(rows, subsets().values(), strict=True):
        assert list(row) == ["domain", "n_structures", "n_atoms", *MEASURES]
        assert row["n_structures"] == len(chosen)
        assert row["n_atoms"] == sum(len(frames[k]) for k in chosen)
        expected = by_hand(frames, runs, coulomb, chosen)
        assert {name: row[name] for name in MEASURES} == pytest.approx(expected)
        assert all(type(row[name]) is float for name in MEASURES)


def test_intervals_are_of_resampled_groups(frames, runs, coulomb, effects):
    found = effects.intervals(runs[1])
    assert list(found) == list(subsets())
    groups = [[0, 1], *([k] for k in range(2, 8))]
    rng = np.random.default_rng(3)
    drawn = [
        by_hand(frames, runs, coulomb, [k for g in rng.integers(7, size=7) for k in groups[g]])
        for _ in range(300)
    ]
    for measure, interval in found[ALL].items():
        expected = np.percentile([values[measure] for values in drawn], [2.5, 97.5])
        np.testing.assert_allclose(interval, expected, rtol=1e-9)
    assert set(found[ALL]) == set(MEASURES)


def test_few_groups_have_no_interval(runs, effects):
    found = effects.intervals(runs[1])
    for domain in ("bulk", "surface", "wire", OUT_OF_DOMAIN):
        assert np.isnan([*found[domain].values()]).all(), domain


@pytest.mark.parametrize("sign", [False, True])
def test_p_counts_draws_at_least_as_large_and_the_value_itself(sign):
    drawn = np.array([1.0, 2.0, 3.0])
    assert p_value(2.0, drawn, either_sign=sign) == 3 / 4
    assert p_value(-2.0, drawn, either_sign=sign) == (3 / 4 if sign else 1)
    assert p_value(2.0, -drawn, either_sign=sign) == (3 / 4 if sign else 1 / 4)
    assert p_value(9.0, drawn, either_sign=sign) == 1 / 4


@pytest.mark.parametrize("own", [0.8, -0.8])
def test_what_rounding_tells_apart_is_as_large(own):
    drawn = own * (1 + 1e-14 * np.arange(-10, 10))
    assert p_value(own, drawn, either_sign=False) == 1
    assert p_value(own, -drawn, either_sign=True) == 1
    assert p_value(own, own * np.full(20, 1 - 1e-6), either_sign=True) == 1 / 21
    assert p_value(0.0, np.zeros(20), either_sign=True) == 1


def test_five_groups_have_one(frames):
    five = frames[1:6]
    before, after = (Evaluator(PointCharges(s), five).run() for s in (1.0, 1.3))
    found = Effects(five, before, in_domain=["bulk"], n_resamples=60).intervals(after)
    assert np.isfinite(found[ALL]["change"]).all()


def test_one_kind_of_domain_is_not_set_against_another(frames, runs):
    for in_domain in (["bulk", "surface", "wire"], ["melt"]):
        effects = Effects(frames, runs[0], in_domain=in_domain)
        names = [row["domain"] for row in effects.rows(runs[1])]
        assert names == ["bulk", "surface", "wire", ALL]
    assert (effects.bootstrap.n_groups, effects.bootstrap.n_resamples) == (7, 1000)
    assert effects.bootstrap.seed == 0


def test_without_a_reference_or_charges_their_measures_are_absent(runs):
    frames = made(reference=False, charges=False)
    effects = Effects(frames, runs[0], in_domain=["bulk"])
    row = effects.rows(runs[1])[-1]
    absent = {name for name in MEASURES if np.isnan(row[name])}
    assert absent == {
        "mae_before", "mae_after", "mae_change", "coulomb_slope", "coulomb_correlation",
    }  # fmt: skip
    assert (effects.reference, effects.coulomb) == (None, None)


def test_an_edit_that_changes_nothing_has_no_effect(runs, effects):
    row = effects.rows(runs[0])[-1]
    assert row["change"] == row["relative_change"] == row["mae_change"] == 0
    assert row["energy_change"] == row["coulomb_slope"] == 0
