"""Features of one structure in another: what must come over, and what can't."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

import mpprobe
from interventions.toy import Toy, rattled
from mpprobe.activations.evaluate import Evaluator
from mpprobe.errors import InterventionError
from mpprobe.interventions import (
    Patch,
    Whitening,
    block_columns,
    block_rows,
    fit_erasure,
    patch,
    random_erasures,
)
from mpprobe.interventions.concepts import concept_of
from mpprobe.interventions.erasing import RANDOM
from mpprobe.interventions.patch import EVERYTHING, SUBSPACE
from mpprobe.probes.chosen import kinds
from mpprobe.provenance import structures_sha256, versions

A, B = np.array([1.0, -0.5, 0.3, 0.2, -0.8, 0.4]), np.array([0.7, -0.4, 0.2, 0.1])


@pytest.fixture(scope="module")
def frames():
    return rattled(8)


@pytest.fixture(scope="module")
def toy():
    return Toy(A, B)


def test_in_the_last_layer_the_whole_site_energy_comes_over(toy, frames):
    found = patch(toy, frames[0], frames[2], layer=1, atoms=[1, 4])
    own = found.atoms[found.atoms["patched"]]
    np.testing.assert_allclose(own["after"], own["source"])
    others = found.atoms[~found.atoms["patched"]]
    np.testing.assert_allclose(others["after"], others["into"])
    (row,) = found.summary.to_dict("records")
    assert row["patch"] == EVERYTHING
    assert row["share"] == pytest.approx(1)
    assert row["energy_change"] == pytest.approx((own["source"] - own["into"]).sum())
    assert (own["distance"] == 0).all()
    assert (others["distance"] > 2).all()


def test_the_subspace_that_the_energy_depends_on_brings_all(frames):
    linear = Toy(A, 0 * B)
    images = []
    for frame in frames:
        atoms = frame.atoms.copy()
        features = linear.run(linear.batch(frame), [1], energies=False).features[1].numpy()
        atoms.arrays["known"] = features[:, :6] @ A
        images.append(mpprobe.Frame.from_atoms(atoms, frame.source))
    found = patch(linear, frames[0], frames[2], layer=1, atoms=[1], target="array:known",
                  part="whole", structures=images)  # fmt: skip
    rows = found.summary.set_index("patch")
    assert rows.loc[SUBSPACE, "share"] == pytest.approx(1)
    assert len(rows.loc[RANDOM]) == 20
    assert np.median(rows.loc[RANDOM, "share"]) < 0.9


def test_what_an_erasure_leaves_is_left(toy, frames):
    columns = block_columns(toy.layer(1), 0)
    features = Evaluator(toy, frames).features([1])[1]
    erasure = fit_erasure(1, columns, block_rows(features, columns), features[:, :1])
    values = features[8:10]
    edited = Patch(np.array([0, 3]), values, erasure)(torch.as_tensor(features[:8])).numpy()
    np.testing.assert_array_equal(edited[[1, 2]], features[[1, 2]])
    np.testing.assert_array_equal(edited[[0, 3], 6:], features[[0, 3], 6:])
    own, before = (torch.as_tensor(f) for f in (edited[[0, 3]], features[[0, 3]]))
    np.testing.assert_allclose(erasure(own).numpy(), erasure(before).numpy(), atol=1e-10)
    taken = torch.as_tensor(values)
    np.testing.assert_allclose(own - erasure(own), taken - erasure(taken), atol=1e-10)


def test_features_keep_their_precision():
    features = torch.zeros(3, 2, dtype=torch.float32)
    patched = Patch(np.array([1]), np.array([[1.0, 2.0]]))(features)
    assert patched.dtype == torch.float32
    assert patched.tolist() == [[0, 0], [1, 2], [0, 0]]


def test_a_structure_patched_with_itself_stays(sevenn_0, frames):
    found = patch(sevenn_0, frames[0], frames[0], layer=3, atoms=range(8))
    (row,) = found.summary.to_dict("records")
    assert row["energy_change"] == pytest.approx(0, abs=1e-5)
    assert row["force_change"] == 0
    assert np.isnan(row["share"])


class TestTables:
    """Every column put together from its parts."""

    SETTINGS = mpprobe.Settings(seed=5)

    @pytest.fixture(scope="class", params=["whole", "within"])
    @classmethod
    def part(cls, request):
        return request.param

    @pytest.fixture(scope="class")
    @classmethod
    def found(cls, toy, frames, part):
        return patch(
            toy, frames[0], frames[2], layer=1, atoms=[4, 1, 1], target="potential:shell-1",
            part=part, structures=frames, draws=20, settings=cls.SETTINGS,
        )  # fmt: skip

    @pytest.fixture(scope="class")
    @classmethod
    def subspaces(cls, toy, frames, part):
        columns = block_columns(toy.layer(1), 0)
        x = block_rows(Evaluator(toy, frames).features([1])[1], columns)
        shell = mpprobe.get_target("potential:shell-1")
        concept = concept_of(shell, frames, toy.cutoff, part)
        kind = kinds(frames) if part == "within" else None
        own = fit_erasure(1, columns, x, concept, kind)
        found = [own, *random_erasures(own, Whitening.of(x, kind), 20, 5)]
        # Any mean will do: it drops out of the difference that is put in.
        return [None, *(replace(erasure, mean=x[17, :, 0]) for erasure in found)]

    def runs(self, toy, frames, subspace):
        """The structure patched with its own features, and with those of the other."""
        into = Evaluator(toy, [frames[2]])
        atoms = np.array([1, 4])
        features = [Evaluator(toy, [f]).features([1])[1][atoms] for f in (frames[2], frames[0])]
        return [into.run({1: Patch(atoms, values, subspace)}) for values in features]

    def test_the_summary(self, found, toy, frames, subspaces):
        rows = found.summary
        assert list(rows) == ["patch", "draw", "energy_change", "share", "force_change"]
        assert rows["patch"].tolist() == [EVERYTHING, SUBSPACE, *[RANDOM] * 20]
        assert rows["draw"][2:].tolist() == list(range(20))
        assert rows["draw"][:2].isna().all()
        site = Evaluator(toy, [frames[0]]).run().site_energies[[1, 4]]
        for subspace, (_, row) in zip(subspaces, rows.iterrows(), strict=True):
            before, after = self.runs(toy, frames, subspace)
            change = after.site_energies - before.site_energies
            assert row["energy_change"] == pytest.approx(change.sum())
            assert row["force_change"] == pytest.approx(np.abs(after.forces - before.forces).mean())
            wanted = site - before.site_energies[[1, 4]]
            share = (change[[1, 4]] * wanted).sum() / (wanted**2).sum()
            assert row["share"] == pytest.approx(share)

    def test_the_atoms(self, found, toy, frames, subspaces):
        assert list(found.atoms) == [
            "patch", "atom", "species", "patched", "distance", "into", "source", "after",
            "force_change",
        ]  # fmt: skip
        site = Evaluator(toy, [frames[0]]).run().site_energies
        distances = frames[2].atoms.get_all_distances(mic=True)[[1, 4]].min(axis=0)
        patched = np.isin(np.arange(8), [1, 4])
        for name, subspace in zip((EVERYTHING, SUBSPACE), subspaces, strict=False):
            rows = found.atoms[found.atoms["patch"] == name]
            before, after = self.runs(toy, frames, subspace)
            assert rows["atom"].tolist() == list(range(8))
            assert rows["species"].tolist() == frames[2].atoms.get_chemical_symbols()
            np.testing.assert_array_equal(rows["patched"], patched)
            np.testing.assert_allclose(rows["distance"], distances)
            np.testing.assert_allclose(rows["into"], before.site_energies)
            np.testing.assert_allclose(rows["after"], after.site_energies)
            np.testing.assert_allclose(rows["source"], np.where(patched, site, np.nan))
            change = np.linalg.norm(after.forces - before.forces, axis=1)
            np.testing.assert_allclose(rows["force_change"], change, atol=1e-12)
        assert set(found.atoms["patch"]) == {EVERYTHING, SUBSPACE}

    def test_the_record(self, found, frames, part):
        assert found.provenance == {
            "model": {"name": "toy"},
            "source": "toy@0",
            "into": "toy@2",
            "layer": 1,
            "atoms": [1, 4],
            "target": "potential:shell-1",
            "part": part,
            "draws": 20,
            "settings": asdict(self.SETTINGS),
            "structures_sha256": structures_sha256([frames[0], frames[2]]),
            "versions": versions(),
        }

    def test_the_record_without_a_target(self, toy, frames):
        record = patch(toy, frames[0], frames[2], layer=1, atoms=[1]).provenance
        assert (record["target"], record["part"], record["draws"]) == (None, None, 0)
        assert record["settings"] == asdict(mpprobe.Settings())

    def test_images_of_a_crystal_are(self, toy, frames):
        atoms = frames[2].atoms * (3, 1, 1)
        found = patch(toy, atoms, atoms, layer=1, atoms=[0])
        near = atoms.get_all_distances(mic=True)[0]
        np.testing.assert_allclose(found.atoms["distance"], near)
        assert not np.allclose(near, atoms.get_all_distances()[0])

    def test_images_of_a_cluster_are_not_near(self, toy, frames):
        atoms = frames[2].atoms.copy()
        atoms.pbc = False
        found = patch(toy, frames[0], atoms, layer=1, atoms=[1])
        np.testing.assert_allclose(found.atoms["distance"], atoms.get_all_distances()[1])

    def test_an_array_of_vectors_is_known_by_its_shape(self, toy, frames):
        images = []
        for frame in frames:
            atoms = frame.atoms.copy()
            atoms.arrays["arrow"] = np.random.default_rng(0).normal(size=(len(atoms), 3))
            images.append(mpprobe.Frame.from_atoms(atoms, frame.source))
        found = patch(toy, frames[0], frames[2], layer=1, atoms=[1], target="array:arrow",
                      part="whole", structures=images)  # fmt: skip
        assert SUBSPACE in set(found.summary["patch"])

    def test_a_part_that_is_left_out_is_the_one_within_species(self, toy, frames):
        found = patch(toy, frames[0], frames[2], layer=1, atoms=[1], target="potential",
                      structures=frames)  # fmt: skip
        assert found.provenance["part"] == "within"


@pytest.mark.parametrize(
    ("atoms", "options", "said"),
    [
        ([], {}, "^no atom to patch: give one or more indices$"),
        ([1, 8], {}, "^toy@0: has atoms 0 to 7, not all of 1, 8$"),
        ([-1], {}, "^toy@0: has atoms 0 to 7, not all of -1$"),
        (
            [0],
            {"target": "potential"},
            "^target potential: give the structures to fit its subspace",
        ),
        ([0], {"target": "potential", "structures": []}, "give the structures to fit"),
        ([0], {"target": "potential", "draws": 2}, "at least 20"),
    ],
)
def test_refusals(toy, frames, atoms, options, said):
    with pytest.raises(InterventionError, match=said):
        patch(toy, frames[0], frames[2], layer=1, atoms=atoms, **options)


def test_another_species(toy, frames):
    other = frames[2].atoms.copy()
    other.numbers = other.numbers[::-1]
    message = "^structure@0: atom 0 is Cl, and in toy@0 it is Na; patch atoms of one species$"
    with pytest.raises(InterventionError, match=message):
        patch(toy, frames[0], other, layer=1, atoms=[0])


@pytest.mark.parametrize("which", ["source", "into", "structures"])
def test_structures_that_the_model_can_not_take(toy, frames, which):
    unknown, lone = frames[0].atoms.copy(), frames[0].atoms[:1]
    unknown.symbols[3] = "K"
    lone.pbc = False
    for atoms, said in ((unknown, "does not know K"), (lone, "no two atoms are within")):
        given = {"source": frames[0], "into": frames[2], "structures": frames[2:]}
        given[which] = [atoms] if which == "structures" else atoms
        with pytest.raises(mpprobe.MPProbeError, match=said):
            patch(toy, **given, layer=1, atoms=[0], target="potential")
