"""What is probed: blocks of a layer, and baselines that are described in batches, into files."""

from __future__ import annotations

import numpy as np
import pytest

from interventions.toy import rattled
from mpprobe.activations import Activations, LayerFeatures, Rows
from mpprobe.models.potential import Layer
from mpprobe.probes.baselines import (
    Weights,
    batches,
    local_electrostatics,
    neighbour_vectors,
    radial_densities,
    random_projection,
    soap,
)
from mpprobe.probes.sources import (
    ELECTROSTATICS,
    WITH_LAYER,
    Source,
    electrostatic_source,
    layer_sources,
    local_sources,
    probed_blocks,
    probed_columns,
)


@pytest.fixture
def frames(monkeypatch):
    """Six structures of eight atoms, of which three, two and one are described at a time.

    Potassium is only in the last.
    """
    monkeypatch.setattr("mpprobe.probes.baselines.BATCH_ATOMS", 20)
    frames = rattled(6)
    frames[5].atoms.symbols[frames[5].numbers == 11] = "K"
    return frames


@pytest.mark.parametrize(
    ("irreps", "l", "blocks", "columns"),
    [
        ("2x0e+1x0o", 0, ["2x0e"], [[0], [1]]),
        ("1x0o", 0, [], np.empty((0, 1))),
        ("1x1e+1x1o", 1, ["1x1o"], [[3, 4, 5]]),
        ("1x0e+2x1e", 1, ["2x1e"], [[1, 2, 3], [4, 5, 6]]),  # as SevenNet labels its vectors
        ("3x0e", 1, [], np.empty((0, 3))),
    ],
)
def test_true_scalars_and_vectors_are_probed(irreps, l, blocks, columns):
    layer = Layer(1, irreps, 5.0)
    assert [str(block) for block in probed_blocks(layer, l)] == blocks
    np.testing.assert_array_equal(probed_columns(layer, l), columns)


def test_the_blocks_of_a_layer_are_probed_together():
    layer = Layer(1, "3x0e+2x1o+2x0e", 5.0)
    values = np.random.default_rng(0).normal(size=(8, layer.dim))
    acts = Activations(Rows.of(rattled(1)), {1: LayerFeatures(layer, values)})
    (source,) = layer_sources(acts, "model", 0)
    assert (source.kind, source.layer, source.block, source.width) == ("model", 1, "3x0e+2x0e", 5)
    np.testing.assert_array_equal(source.values[:], values[:, [0, 1, 2, 9, 10]])


def test_a_batch_is_of_about_as_many_atoms(frames):
    assert [list(batch) for batch in batches(frames)] == [[0, 1, 2], [3, 4], [5]]


@pytest.mark.parametrize("l", [0, 1])
def test_batches_are_put_together(frames, l, tmp_path, monkeypatch):
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "features"
    elsewhere.mkdir()
    folder.mkdir()
    monkeypatch.chdir(elsewhere)
    told = []
    found = local_sources(
        frames, 4.0, l, [3, 2, 3], seed=5, folder=folder,
        progress=lambda *call: told.append(call),
    )  # fmt: skip
    sources = list(found)
    described = {
        0: {"SOAP": soap(frames, 4.0, seed=5), "radial densities": radial_densities(frames, 4.0)},
        1: {"neighbour vectors": neighbour_vectors(frames, 4.0)},
    }[l]
    expected = []
    for name, values in described.items():
        expected += [(name, values)]
        expected += [(f"{name}, same width", random_projection(values, w, 5)) for w in (2, 3)]
    assert [source.kind for source in sources] == [name for name, _ in expected]
    for source, (_, values) in zip(sources, expected, strict=True):
        np.testing.assert_allclose(source.values[:], values, atol=1e-9)
        assert (source.layer, source.block) == (None, "")
    assert len(list(folder.iterdir())) == 3 * len(expected)
    assert list(elsewhere.iterdir()) == []
    assert told == [(i + 1, 3 * len(described)) for i in range(3 * len(described))]


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("l", [0, 1])
def test_local_electrostatics_are_put_together_too(frames, l, relative, tmp_path):
    rng = np.random.default_rng(0)
    weights = Weights("charges of array a/b", [rng.normal(size=len(f)) for f in frames], relative)
    source = electrostatic_source(frames, 4.0, weights, l, folder=tmp_path)
    assert (source.kind, source.layer, source.block) == (ELECTROSTATICS, None, weights.name)
    assert source.width == source.covariates == 12  # none of them bears a penalty
    np.testing.assert_array_equal(source.values[:], local_electrostatics(frames, 4.0, weights, l))
    assert len(list(tmp_path.iterdir())) == 3


def test_sums_of_several_charges_and_orders_lie_side_by_side(frames, tmp_path):
    made = {}
    for name in ("formal charges", "eeq charges"):
        weights = Weights(name, [np.full(len(f), len(name) * 1.0) for f in frames])
        for l in (0, 1):
            expected = local_electrostatics(frames, 4.0, weights, l)
            made[name, l] = electrostatic_source(frames, 4.0, weights, l, folder=tmp_path), expected
    for source, expected in made.values():
        np.testing.assert_array_equal(source.values[:], expected)


def test_features_beside_a_layer_are_its_covariates(frames):
    rng = np.random.default_rng(0)
    local, layer = rng.normal(size=(48, 12)), rng.normal(size=(48, 5)).astype(np.float32)
    one = Source(ELECTROSTATICS, None, "formal charges", local, covariates=12)
    both = one.beside(Source("model", 3, "5x0e", layer), WITH_LAYER)
    assert (both.kind, both.layer, both.block) == (WITH_LAYER, 3, "5x0e")
    assert (both.width, both.covariates) == (17, 12)
    np.testing.assert_array_equal(both.values[10:20], np.hstack([local, layer])[10:20])
