"""Site potentials of point charges against references made of them."""

from __future__ import annotations

import numpy as np
import pytest

import mpprobe
from mpprobe.errors import TargetError
from mpprobe.explain import potential_rulers
from mpprobe.structures import Frame


@pytest.fixture(scope="module")
def frames():
    """Rattled crystals whose stored potential is half of their formal charges', shifted."""
    made = []
    for frame in mpprobe.read("ionic:bulk", limit=8):
        atoms = frame.atoms.copy()
        (ewald,) = mpprobe.get_target("potential").values(frame)
        atoms.arrays["site_pot"] = 0.5 * ewald + 3.0 * atoms.numbers - 40.0
        made.append(Frame.from_atoms(atoms, frame.source))
    return made


def test_the_charges_it_was_made_of_are_found_with_their_screening(frames):
    table = potential_rulers(frames, ["formal", "eeq"]).set_index(["charges", "atoms"])
    for atoms in ("all", "cations", "anions"):
        row = table.loc["formal", atoms]
        assert row["correlation"] == pytest.approx(1)
        assert row["slope"] == pytest.approx(0.5)
        assert row["slope_low"] == pytest.approx(0.5)
    assert table.loc[("eeq", "all"), "correlation"] < 0.9999
    assert table.loc[("formal", "all"), "n_atoms"] == sum(map(len, frames))
    parts = table.loc["formal"]["n_atoms"]
    assert parts["cations"] + parts["anions"] == parts["all"]


def test_noise_has_no_slope(frames):
    rng = np.random.default_rng(0)
    noisy = []
    for frame in frames:
        atoms = frame.atoms.copy()
        atoms.arrays["site_pot"] = rng.normal(size=len(atoms))
        noisy.append(Frame.from_atoms(atoms, frame.source))
    row = potential_rulers(noisy, ["formal"]).iloc[0]
    assert abs(row["correlation"]) < 0.3
    assert row["correlation_low"] < 0 < row["correlation_high"]


def test_an_array_of_the_users(frames):
    for frame in frames:
        frame.atoms.arrays["mine"] = 2 * frame.atoms.arrays["charge_formal"]
    row = potential_rulers(frames, ["mine"]).iloc[0]
    assert row["slope"] == pytest.approx(0.25)


def test_structures_without_what_is_needed(frames):
    with pytest.raises(TargetError):
        potential_rulers(mpprobe.read("ionic", limit=1))
    with pytest.raises(TargetError, match="nothing to compare"):
        potential_rulers(Frame.from_atoms(frames[0].atoms[[0]], "one"), ["formal"])


def test_bader_charges_of_the_built_in_set():
    table = potential_rulers(mpprobe.read("dft:bulk,strained"))
    assert set(table["charges"]) == {"formal", "eeq", "dft"}
    cations = table[table["atoms"] == "cations"].set_index("charges")
    assert (cations["correlation"] > 0.5).all()
