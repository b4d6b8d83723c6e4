"""The response of whole models: point charges come back, metals and random weights have none."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from ase import Atoms
from ase.build import bulk

import mpprobe
from interventions.toy import PointCharges
from mpprobe.activations import Journal
from mpprobe.errors import StructureError, TargetError
from mpprobe.response import CRYSTALS, METAL, SITES, crystal, make_response, response
from mpprobe.targets.dielectric import dielectrics

SETTINGS = mpprobe.Settings(n_resamples=100)


@pytest.fixture(scope="module")
def cluster():
    """NaCl without periodicity: the toy sees all of it, since its cutoff is 30 Å."""
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True).repeat((3, 2, 2))
    atoms = Atoms(atoms.symbols, atoms.positions)
    atoms.arrays["charge_formal"] = np.where(atoms.numbers == 11, 1.0, -1.0)
    atoms.info["compound"] = "NaCl"
    return mpprobe.Frame.from_atoms(atoms, "cluster")


class TestPointCharges:
    @pytest.fixture(scope="class")
    @classmethod
    def found(cls, cluster):
        return response(
            PointCharges(0.49), cluster, atoms=[0, 1], nearest=10.0, shares=True, settings=SETTINGS
        )

    def test_charges_and_exponent_come_back(self, found):
        row = found.fits[found.fits["all"] & (found.fits["model"] == "trained")].iloc[0]
        assert row["charge:Na"] == pytest.approx(0.7, rel=0.01)
        assert row["charge:Cl"] == pytest.approx(-0.7, rel=0.01)
        assert row["strength"] == pytest.approx(0.49, rel=0.01)
        assert row["exponent"] == pytest.approx(3, abs=0.01)
        assert row["anisotropy"] == pytest.approx(1, abs=0.01)
        assert row["residual"] < 1e-4
        for name in ("strength", "exponent"):
            assert row[f"{name}_low"] <= row[name] <= row[f"{name}_high"]

    def test_half_of_each_pair_sits_on_the_two(self, found):
        own = found.shares[found.shares["model"] == "trained"]
        assert len(own) == 4
        np.testing.assert_allclose(own["on the two"], 1, atol=1e-3)
        np.testing.assert_allclose(own[list(SITES)].sum(axis=1), 1)

    def test_without_charges_there_is_no_law(self, found):
        row = found.fits[found.fits["all"] & (found.fits["model"] == "random weights")].iloc[0]
        assert abs(row["strength"]) < 0.01

    def test_published_values_stand_beside_it(self, found):
        known = dielectrics()["NaCl"]
        assert (found.fits["published"] == known.charge**2 / known.constant).all()
        assert found.fits["source"].iloc[0] == known.source

    def test_shells_say_what_each_asks_for(self, found):
        own = found.shells[found.shells["model"] == "trained"]
        sign = np.where(own["species"] == own["other"], 1, -1)
        np.testing.assert_allclose(own["ratio"], 0.49 * sign, rtol=0.01)
        assert own["n"].sum() == (found.pairs["model"] == "trained").sum()

    def test_the_same_seed_and_a_stopped_run_give_the_same_table(self, cluster, found, tmp_path):
        plan = make_response(PointCharges(0.49), cluster, atoms=[0, 1], nearest=10.0, shares=True,
                             settings=SETTINGS)  # fmt: skip

        def stop(what, done, total):
            if what.startswith("sites"):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            plan.run(journal=Journal(tmp_path / "parts"), progress=stop)
        journal = Journal(tmp_path / "parts")
        assert journal.found == 1
        again = plan.run(journal=journal)
        for name in ("pairs", "shells", "fits", "shares"):
            pd.testing.assert_frame_equal(getattr(again, name), getattr(found, name),
                                          check_exact=True)  # fmt: skip


class TestCrystals:
    @pytest.mark.parametrize("name", CRYSTALS)
    def test_they_are_neutral_and_long(self, name):
        frame = crystal(name)
        lengths = frame.atoms.cell.lengths()
        assert lengths[0] >= 25
        assert lengths[1:].min() >= 12
        assert frame.compound == name
        if frame.domain == METAL:
            assert not frame.atoms.has("charge_formal")
        else:
            assert frame.atoms.arrays["charge_formal"].sum() == 0
            assert mpprobe.Frame.from_atoms(frame.atoms, name).domain == "bulk"

    def test_twelve_of_them_and_more_have_published_values(self):
        known = [name for name in CRYSTALS if name in dielectrics()]
        assert len(known) >= 12
        for name in known:
            formal = CRYSTALS[name].charges
            assert dielectrics()[name].charges.keys() == formal.keys()
            for symbol, charge in dielectrics()[name].charges.items():
                assert np.sign(charge) == np.sign(formal[symbol])

    def test_another_is_refused(self):
        with pytest.raises(StructureError, match="choose among LiF, LiCl"):
            crystal("NaCI")


def test_a_real_model_has_signs_that_alternate():
    """A small cell of NaCl; the whole study of crystals is in analyses/."""
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True).repeat((3, 1, 1))
    atoms.arrays["charge_formal"] = np.where(atoms.numbers == 11, 1.0, -1.0)
    found = response(mpprobe.load("sevenn-0"), atoms, nearest=5.0, random_weights=False,
                     settings=SETTINGS)  # fmt: skip
    along = found.pairs[(found.pairs["species"] == "Na") & (found.pairs["distance"] > 8)]
    assert set(np.sign(along["K_along"]) == -np.sign(along["charge_j"])) == {True}


class TestRefusals:
    def test_one_line_each(self, cluster):
        potential = PointCharges()
        with pytest.raises(StructureError, match="no two atoms are farther apart than 30 Å"):
            make_response(potential, cluster)
        with pytest.raises(StructureError, match="there is no atom 400"):
            make_response(potential, cluster, atoms=[400], nearest=11.0)
        with pytest.raises(StructureError, match="give structures"):
            make_response(potential, [])
        bare = cluster.atoms.copy()
        bare.arrays["charge_formal"][:] = 0.0
        with pytest.raises(TargetError, match="all its formal charges are zero"):
            make_response(potential, bare, nearest=11.0)
