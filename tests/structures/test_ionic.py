"""The built-in set `ionic` keeps what its datasheet promises, and its recipe makes it."""

import hashlib
import importlib
import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from ase.io import read as ase_read
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import pdist, squareform

from mpprobe.structures import builtin_sets, check, read
from mpprobe.structures.check import closest_pair

RECIPE = Path(__file__).parents[2] / "data" / "ionic"
IONIC = builtin_sets()["ionic"]
# SevenNet-0 and MACE-MP-0 know the elements up to Pu but for Po, At, Rn, Fr and Ra.
KNOWN = set(range(1, 95)) - {84, 85, 86, 87, 88}


@pytest.fixture(scope="module")
def frames():
    return read("ionic:all")


@pytest.fixture(scope="module")
def part(frames):
    return [f for f in frames if f.atoms.info["split_part"] == "default"]


@pytest.fixture(scope="module")
def recipe():
    """The modules of data/ionic: make, domains, compounds."""
    if not (RECIPE / "make.py").exists():
        pytest.skip("the recipe is in the checkout only")
    sys.path.insert(0, str(RECIPE))
    names = ("make", "domains", "compounds")
    yield {name: importlib.import_module(name) for name in names}
    sys.path.remove(str(RECIPE))
    for name in names:
        del sys.modules[name]


def test_size(frames, part):
    assert 280 <= len(frames) <= 340
    assert 130 <= len(part) <= 170
    assert 6500 <= sum(map(len, part)) <= 7500
    assert all(8 <= len(f) <= 100 for f in frames)
    assert IONIC.path.stat().st_size < 1_500_000


def test_the_default_part_holds_every_compound_and_domain(frames, part):
    assert len({f.compound for f in frames}) >= 22
    assert {f.compound for f in part} == {f.compound for f in frames}
    assert {f.domain for f in part} == {f.domain for f in frames} == set(IONIC.domains)
    assert Counter((f.compound, f.domain) for f in part).most_common(1)[0][1] == 1


def test_every_structure_can_be_used(frames):
    check(frames, species=KNOWN, cutoff=5.0, needs_ewald=True)


def test_every_element_is_in_two_compounds(frames):
    compounds = defaultdict(set)
    for frame in frames:
        for symbol in frame.atoms.symbols:
            compounds[symbol].add(frame.compound)
    assert min(map(len, compounds.values())) >= 2


def test_compounds_are_named_by_their_reduced_formula(frames):
    for frame in frames:
        named, _ = ase_formula(frame.compound).reduce()
        found, _ = frame.atoms.symbols.formula.reduce()
        assert named == found, frame.source


def ase_formula(text):
    from ase.formula import Formula

    return Formula(text)


def test_formal_charges_are_neutral_and_follow_the_species(frames):
    of_species = defaultdict(set)
    for frame in frames:
        charges = frame.atoms.arrays["charge_formal"]
        assert charges.sum() == pytest.approx(0.0, abs=1e-9), frame.source
        for symbol, charge in zip(frame.atoms.symbols, charges, strict=True):
            of_species[symbol].add(charge)
    assert all(len(charges) == 1 for charges in of_species.values())


def test_atoms_keep_their_distance(frames):
    for frame in frames:
        assert closest_pair(frame.atoms, 1.0) is None, frame.source


def test_boundary_conditions_by_domain(frames):
    for frame in frames:
        pbc = frame.atoms.pbc.tolist()
        if frame.domain == "cluster":
            assert pbc == [False] * 3
        elif frame.domain == "surface":
            assert pbc == [True, True, False]
            assert frame.atoms.cell[2, 2] - np.ptp(frame.atoms.positions[:, 2]) >= 12.0
        else:
            assert pbc == [True] * 3


def test_clusters_are_in_one_piece(frames):
    for frame in frames:
        if frame.domain == "cluster":
            distances = squareform(pdist(frame.atoms.positions))
            pieces, _ = connected_components(distances < 4.5)
            assert pieces == 1, frame.source


def test_groups_are_single_draws_except_two_snapshots_of_a_melt(frames):
    groups = Counter((f.group, f.domain) for f in frames)
    assert len(groups) == len({f.group for f in frames})
    assert {n for (_, domain), n in groups.items() if domain != "melt"} == {1}
    assert {n for (_, domain), n in groups.items() if domain == "melt"} == {2}


def test_melts_have_lost_their_sites(frames):
    melts = [f for f in frames if f.domain == "melt"]
    assert len({f.compound for f in melts}) >= 10
    # Crystals melt when atoms move by about 0.1 to 0.15 of the shortest distance (Lindemann).
    assert min(f.atoms.info["displacement"] for f in melts) > 0.3


def test_checksums():
    sums = RECIPE / "SHA256SUMS"
    if not sums.exists():
        pytest.skip("the checksums are in the checkout only")
    for line in sums.read_text().splitlines():
        expected, name = line.split()
        assert hashlib.sha256((RECIPE / name).read_bytes()).hexdigest() == expected
    assert IONIC.path.name in sums.read_text()


def same(structures, frames):
    assert len(structures) == len(frames)
    for atoms, frame in zip(structures, frames, strict=True):
        assert atoms.info == frame.atoms.info
        assert atoms.numbers.tolist() == frame.atoms.numbers.tolist()
        # The last decimal of the file may differ where another machine rounds otherwise.
        assert np.allclose(atoms.positions, frame.atoms.positions, atol=2e-5)
        assert np.allclose(atoms.cell.array, frame.atoms.cell.array, atol=2e-5)


def test_the_recipe_makes_the_first_compounds(recipe, frames, monkeypatch):
    make = recipe["make"]
    first = make.COMPOUNDS[:2]
    monkeypatch.setattr(make, "COMPOUNDS", first)
    names = {c.name for c in first}
    same(make.build(ase_read(make.MELTS, ":")), [f for f in frames if f.compound in names])


@pytest.mark.slow
def test_the_recipe_makes_the_set(recipe, frames):
    make = recipe["make"]
    same(make.build(ase_read(make.MELTS, ":")), frames)


def test_the_datasheet_holds_the_counts(recipe, frames):
    table = recipe["make"].tables([f.atoms for f in frames])
    assert table in (RECIPE / "README.md").read_text()


def test_slabs_have_no_dipole_before_they_are_rattled(recipe):
    domains = recipe["domains"]
    for compound in recipe["compounds"].COMPOUNDS:
        unit = compound.unit_cell()
        for facet in compound.facets:
            slab = domains.slab(unit, facet, 7.0, 64)
            charges = slab.arrays["charge_formal"]
            assert charges.sum() == 0.0
            assert charges @ slab.positions[:, 2] == pytest.approx(0.0, abs=1e-6)
            # Cutting breaks no bond lengths: the slab is still the crystal.
            shortest = domains.shortest_distance(unit)
            assert domains.shortest_distance(slab) == pytest.approx(shortest, abs=1e-6)


def test_the_step_of_a_slab_is_the_mean_potential_of_its_planes(recipe):
    domains = recipe["domains"]
    compounds = {c.name: c for c in recipe["compounds"].COMPOUNDS}
    for name, facet in (("TiO2", (1, 1, 0)), ("Al2O3", (0, 0, 1)), ("MgO", (1, 0, 0))):
        cut = domains._cut(domains._oriented(compounds[name].unit_cell(), facet))
        area, height = cut.cell.areas()[2], cut.cell.volume / cut.cell.areas()[2]
        z = cut.get_scaled_positions(wrap=False)[:, 2] * height
        # A plane of charge q has the potential −2πkq|z|/A; here averaged over the slab.
        grid = (np.arange(200_000) + 0.5) / 200_000 * height
        planes = sum(
            -2 * np.pi * 14.399645 * q / area * np.mean(np.abs(grid - zi))
            for q, zi in zip(cut.arrays["charge_formal"], z, strict=True)
        )
        step = domains.slab(compounds[name].unit_cell(), facet, 7.0, 64).info["step"]
        assert step == pytest.approx(planes, abs=0.01)
        assert (abs(step) > 1.0) == (name != "MgO")


def test_default_slabs_are_flat(part):
    slabs = [f for f in part if f.domain == "surface"]
    assert len(slabs) > 20
    assert all(abs(f.atoms.info["step"]) < 0.5 for f in slabs)


# Shortest cation-anion distances, which the structure tables give apart from cell parameters (Å).
BONDS = {"NaCl": 2.82, "CsCl": 3.57, "ZnS": 2.34, "ZnO": 1.97, "CaF2": 2.37, "TiO2": 1.95,
         "SrTiO3": 1.95, "Al2O3": 1.86, "SiO2": 1.61, "Li3N": 1.94, "MgAl2O4": 1.92,
         "Mg2SiO4": 1.66}  # fmt: skip


def test_crystals_have_the_bond_lengths_of_the_literature(recipe):
    domains = recipe["domains"]
    compounds = {c.name: c.unit_cell() for c in recipe["compounds"].COMPOUNDS}
    found = {name: domains.shortest_distance(compounds[name]) for name in BONDS}
    assert found == pytest.approx(BONDS, abs=0.015)
