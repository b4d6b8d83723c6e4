"""All questions in one table: what it counts, what it supports, and that it can be stopped."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from ase.calculators.singlepoint import SinglePointCalculator

import mpprobe
from interventions.toy import Toy, rattled
from mpprobe.activations import Journal
from mpprobe.errors import InterventionError, ProbeError, StructureError
from mpprobe.explain import benjamini_hochberg, explain, make_explaining
from mpprobe.explain.study import (
    CORRELATION,
    ERASURE,
    HELD_OUT,
    IN_DOMAIN,
    MIXED,
    OUT_OF_DOMAIN,
)
from mpprobe.report.explaining import conclusion, explained_figure, paragraph

A, B = np.array([1.0, -0.5, 0.3, 0.2, -0.8, 0.4]), np.zeros(4)
SETTINGS = mpprobe.Settings(n_resamples=100, in_domain=("bulk",))
TARGETS = ["array:used", "array:unused"]


@pytest.fixture(scope="module")
def toy():
    return Toy(A, B)


@pytest.fixture(scope="module")
def frames(toy):
    """Three compounds by name; ``used`` is what the energy is made of, ``unused`` is orthogonal."""
    made = []
    for k, frame in enumerate(rattled(24)):
        atoms = frame.atoms.copy()
        output = toy.run(toy.batch(frame), [1], forces=True)
        x = output.features[1].numpy()[:, :6]
        atoms.arrays["used"] = x @ A
        atoms.arrays["unused"] = x @ np.array([0.5, 1.0, 0, 0, 0, 0])
        rng = np.random.default_rng(k)
        forces = output.forces.numpy() + 0.05 * rng.normal(size=(len(atoms), 3))
        atoms.calc = SinglePointCalculator(atoms, forces=forces, energy=0.0)
        atoms.info["compound"] = f"salt {k // 2 % 3}"
        made.append(mpprobe.Frame.from_atoms(atoms, frame.source))
    return made


@pytest.fixture(scope="module")
def found(toy, frames):
    return explain(toy, frames, targets=TARGETS, draws=20, settings=SETTINGS)


def test_every_question_is_answered_in_domain_and_out_of_it(found):
    effects = found.effects
    asked = effects.groupby(["question", "domain"]).size()
    # Two targets, twice with random weights, and the distance.
    for question in (CORRELATION, MIXED):
        assert asked[(question, IN_DOMAIN)] == asked[(question, OUT_OF_DOMAIN)] == 5
    assert asked[(HELD_OUT, OUT_OF_DOMAIN)] == asked[(HELD_OUT, "surface")] == 1
    assert asked[(ERASURE, IN_DOMAIN)] == asked[(ERASURE, OUT_OF_DOMAIN)] == 2
    assert len(effects) == 26
    assert (effects["n_structures"] == 12).all()
    assert (effects["n_atoms"] == 96).all()
    assert (effects["n_compounds"] == 3).all()


def test_p_is_corrected_for_all_that_was_tried(found):
    effects = found.effects
    np.testing.assert_allclose(effects["p_corrected"], benjamini_hochberg(effects["p"]))
    assert (effects["p_corrected"] >= effects["p"]).all()
    assert not effects.loc[effects["p_corrected"] >= 0.05, "supported"].any()
    assert f"Comparisons: {effects['p'].notna().sum()};" in paragraph(found)


def test_forces_miss_what_the_energy_is_made_of(found):
    own = found.effects[found.effects["question"] == ERASURE].set_index(["what", "domain"])
    for domain in (IN_DOMAIN, OUT_OF_DOMAIN):
        used, unused = own.loc[("array:used", domain)], own.loc[("array:unused", domain)]
        assert used["low"] > 0
        assert used["value"] > 2 * unused["value"]
        drawn = found.random.query(f"target == 'array:used' and domain == {domain!r}")["value"]
        assert len(drawn) == 20
        assert used["p"] == (1 + (drawn >= used["value"]).sum()) / 21


def test_erasures_are_those_of_erase(toy, frames, found):
    same = mpprobe.erase(toy, frames, layers="all", target="array:used", random_weights=False,
                         settings=SETTINGS)  # fmt: skip
    summary = same.summary.set_index(["domain", "measure"])
    own = found.effects[found.effects["question"] == ERASURE].set_index(["what", "domain"])
    for domain in (IN_DOMAIN, OUT_OF_DOMAIN):
        row = summary.loc[(domain, "mae_change")]
        for column, name in (("value", "value"), ("p", "p"), ("random_median", "median")):
            assert own.loc[("array:used", domain), column] == row[name]


def test_forces_that_are_wrong_at_random_are_not_explained(found):
    assert "don't support" in conclusion(found)


@pytest.mark.parametrize("missing", [None, CORRELATION, MIXED, HELD_OUT, ERASURE])
def test_only_all_three_together_are_called_an_explanation(found, monkeypatch, missing):
    effects = found.effects.assign(supported=found.effects["question"] != missing)
    monkeypatch.setitem(found.__dict__, "effects", effects)
    said = conclusion(found)
    if missing is None:
        assert "all hold for array:used, array:unused" in said
    else:
        assert "don't support" in said


def test_one_target_is_named_where_only_one_holds(found, monkeypatch):
    effects = found.effects.assign(supported=~found.effects["what"].str.contains("unused"))
    monkeypatch.setitem(found.__dict__, "effects", effects)
    assert "all hold for array:used:" in conclusion(found)


def test_few_draws_are_said_to_be_few(found, monkeypatch):
    assert "--draws" not in paragraph(found)
    own = found.effects["question"] == ERASURE
    effects = found.effects.assign(
        p=np.where(own, 1 / 21, found.effects["p"]), p_corrected=0.2, supported=False
    )
    monkeypatch.setitem(found.__dict__, "effects", effects)
    assert "20 random subspaces can't give a p below 0.048" in paragraph(found)


def test_a_run_that_was_stopped_goes_on_to_the_same_table(toy, frames, found, tmp_path):
    plan = make_explaining(toy, frames, targets=TARGETS, draws=20, settings=SETTINGS)

    def stop(what, done, total):
        if "subspaces" in what and "unused" in what and done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        plan.run(journal=Journal(tmp_path / "parts"), progress=stop)
    journal = Journal(tmp_path / "parts")
    assert journal.found == 23
    again = plan.run(journal=journal)
    assert len(journal.parts) == 40
    for name in ("effects", "domains", "random", "erasures", "decoding"):
        pd.testing.assert_frame_equal(getattr(again, name), getattr(found, name), check_exact=True)
    assert paragraph(again) == paragraph(found)


def test_the_figure_shows_each_question(found):
    association, prediction, use = explained_figure(found).axes
    assert [t.get_text() for t in association.get_yticklabels()] == [
        "array:used", "array:unused", "array:used, random weights", "array:unused, random weights",
        "distance",
    ]  # fmt: skip
    assert [t.get_text() for t in prediction.get_xticklabels()] == ["surface", "out of domain"]
    assert [t.get_text() for t in use.get_xticklabels()] == TARGETS
    grey = [line for line in use.get_lines() if line.get_color() == "0.75"]
    assert sum(len(line.get_xdata()) for line in grey) == 4 * 20


class TestRefusals:
    def test_what_can_not_be_asked_is_refused_before_any_work(self, toy, frames):
        with pytest.raises(ProbeError, match="at least one target"):
            make_explaining(toy, frames, targets=[])
        with pytest.raises(InterventionError, match="at least 20"):
            make_explaining(toy, frames, targets=TARGETS, draws=5, settings=SETTINGS)
        with pytest.raises(ProbeError, match="no structure is in domain"):
            make_explaining(toy, [f for f in frames if f.domain != "bulk"], targets=TARGETS,
                            settings=SETTINGS)  # fmt: skip
        with pytest.raises(StructureError, match="no reference forces"):
            make_explaining(toy, rattled(4), targets=["potential"], settings=SETTINGS)

    def test_too_few_compounds(self, toy, frames):
        own = [f for f in frames if f.compound == "salt 0"]
        with pytest.raises(ProbeError, match="too little to explain"):
            explain(toy, own, targets=TARGETS, draws=20, settings=SETTINGS)
