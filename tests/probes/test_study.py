"""The main job: every control is there, and the numbers are those of the structures alone."""

from __future__ import annotations

import tempfile
import zlib
from dataclasses import replace
from functools import cache, partial

import numpy as np
import pandas as pd
import pytest
from ase.io import read as read_atoms
from pandas.testing import assert_frame_equal
from scipy.spatial.transform import Rotation

import mpprobe
from mpprobe.errors import MissingPackageError, MPProbeError, ProbeError, StructureError
from mpprobe.probes import Settings
from mpprobe.probes.baselines import soap
from mpprobe.report.readings import reading
from mpprobe.targets import registry

COMPOUNDS = {"NaCl", "KCl", "LiF", "MgO", "CaO", "MgF2", "Li2O", "Na2O"}
QUICK = Settings(n_resamples=100, n_assignments=2, random_seeds=2)
ONCE = replace(QUICK, n_assignments=1, random_seeds=1)
SOAP_WIDTH = 32
NOISE = ("noise", "noise 1", "noise 2", "noise 3")
METRICS = ["r2", "r2_within", "mae"]
COLUMNS = [m + end for m in METRICS for end in ("", "_low", "_high")]
LAYERWISE = ("random weights", "random direction", "shuffled target")
ELECTROSTATICS = "local electrostatics"
BESIDE = (f"{ELECTROSTATICS} + layer", f"{ELECTROSTATICS} + random weights")


def probe(*asked, **options):
    """Probe with a SOAP vector that is short, for what doesn't turn on its length."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mpprobe.probes.sources.soap", partial(soap, width=SOAP_WIDTH))
        return mpprobe.probe(*asked, **options)


def selected(table, **values):
    for column, value in values.items():
        table = table[table[column] == value]
    return table


def score(study, target, split, features, layer=None, metric="r2_within"):
    rows = selected(study.scores, target=target, split=split, features=features, subset="all")
    rows = rows[rows["layer"].isna() if layer is None else rows["layer"] == layer]
    assert len(rows) == 1
    return rows[metric].iloc[0]


@pytest.fixture(scope="module")
def own_targets(sevenn_0):
    """Register what is planted in layer 2, and noise; take them back afterwards."""
    before = dict(registry._REGISTERED)
    weights = np.random.default_rng(0).normal(size=128)

    @mpprobe.register_target("planted", unit="e")
    def planted(frame, cutoff):
        return mpprobe.extract(sevenn_0, frame, layers=2)[2].block(l=0)[:, :, 0] @ weights

    def noise(name, frame, cutoff):
        seed = zlib.crc32((frame.source + name.removeprefix("noise")).encode())
        return np.random.default_rng(seed).normal(size=len(frame))

    for name in NOISE:
        mpprobe.register_target(name, unit="e")(partial(noise, name))

    yield
    registry._REGISTERED.clear()
    registry._REGISTERED.update(before)


@pytest.fixture(scope="module")
def study(sevenn_0, own_targets):
    """SevenNet-0 on sixteen small structures of eight compounds, all layers."""
    frames = [f for f in mpprobe.read("ionic:strained,cluster") if f.compound in COMPOUNDS]
    frames = [f for f in frames if f.atoms.info["split_part"] == "default"]
    return probe(
        sevenn_0,
        frames,
        targets=["potential", "charge:formal", "planted", *NOISE, "field"],
        splits=["structure", "compound"],
        settings=Settings(n_resamples=200, n_assignments=1, random_seeds=1),
    )


@pytest.fixture(scope="module")
def few():
    """Twelve structures of what the small MACE models know."""
    frames = mpprobe.read("ionic:strained,cluster")
    return [f for f in frames if set(f.numbers) <= {8, 11, 12, 17}]


def loaded(file, dtype):
    """A potential that makes its random twins once: they take longer than a study."""
    potential = mpprobe.load(file, dtype=dtype, trust_checkpoint=True)
    vars(potential)["randomised"] = cache(potential.randomised)
    return potential


@pytest.fixture(scope="module")
def mace(mace_file):
    return loaded(mace_file("8x0e+8x1o"), "float64")


@pytest.fixture(scope="module")
def once(mace, few):
    """One study that others are compared with."""
    return probe(mace, few, targets=["potential", "field"], settings=QUICK)


# What stands beside each score


@pytest.mark.parametrize("split", ["structure", "compound"])
@pytest.mark.parametrize("target", ["potential", "charge:formal", "planted", "noise"])
def test_scalar_targets_stand_beside_every_control(study, target, split):
    rows = selected(study.scores, target=target, split=split, subset="all")
    layers = [None if t is pd.NA else t for t in rows["layer"]]
    found = list(zip(rows["features"], layers, rows["width"], strict=True))
    expected = {(f, t, 128) for f in ("model", *LAYERWISE) for t in range(6)}
    expected |= {("SOAP, same width", None, 128), ("radial densities, same width", None, 128)}
    expected |= {("species mean", None, 0), ("chosen layer", None, 0), (ELECTROSTATICS, None, 12)}
    expected |= {(name, t, 12 + 128) for name in BESIDE for t in range(1, 6)}
    n_species = len({z for f in study.frames for z in f.numbers})
    expected |= {("radial densities", None, 11 * n_species), ("SOAP", None, SOAP_WIDTH + n_species)}
    assert len(found) == len(expected)
    assert set(found) == expected


@pytest.mark.parametrize("split", ["structure", "compound"])
def test_vector_targets_are_probed_where_there_are_vectors(study, split):
    rows = selected(study.scores, target="field", split=split, subset="all")
    layers = {name: sorted(group["layer"].dropna()) for name, group in rows.groupby("features")}
    assert layers == {
        **{name: [1, 2, 3, 4] for name in ("model", *LAYERWISE, *BESIDE)},
        "neighbour vectors": [],
        "neighbour vectors, same width": [],
        ELECTROSTATICS: [],
        "chosen layer": [],
    }
    own = selected(rows, features="model")
    assert set(own["block"]) == {"64x1e"}
    assert set(selected(rows, features="neighbour vectors, same width")["width"]) == {64}
    assert rows["r2_within"].isna().all()
    assert rows["r2"].notna().all()


def test_differences_name_every_control_of_every_layer(study):
    local = ["SOAP", "SOAP, same width", "radial densities", "radial densities, same width"]
    common = {*LAYERWISE, *local, "species mean", ELECTROSTATICS}
    vectors = {*LAYERWISE, "neighbour vectors", "neighbour vectors, same width", ELECTROSTATICS}
    for (target, split, layer), rows in study.differences.groupby(["target", "split", "layer"]):
        controls, layers = (vectors, range(1, 5)) if target == "field" else (common, range(6))
        expected = controls | {f"layer {t}" for t in layers if t != layer}
        assert set(rows["control"]) == expected, (target, split)
        assert len(rows) == len(set(rows["control"]))
    assert len(study.differences) == 7 * 2 * 6 * (9 + 5) + 2 * 4 * (6 + 3)


def test_differences_are_those_of_the_scores(study):
    whole = selected(study.scores, subset="all")
    whole = whole[~whole["features"].str.endswith("same width") | (whole["l"] == 1)
                  | (whole["width"] == 128)]  # fmt: skip
    scores = {
        (row.target, row.split, row.features, None if row.layer is pd.NA else row.layer): row
        for row in whole.itertuples()
    }
    assert len(scores) == len(whole)
    for row in study.differences.itertuples():
        name, layer = row.control, row.layer
        if name.startswith("layer "):
            name, layer = "model", int(name.removeprefix("layer "))
        elif name not in LAYERWISE:
            layer = None
        own = getattr(scores[row.target, row.split, "model", row.layer], row.metric)
        other = getattr(scores[row.target, row.split, name, layer], row.metric)
        # What varies between kinds only is measured by R², which these two controls don't have.
        defined = row.metric != "r2" or row.target == "field" or name not in LAYERWISE[1:]
        assert np.isfinite([own, other, row.difference, row.low, row.high]).all() == defined
        if defined:
            assert row.difference == pytest.approx(own - other, abs=1e-12)
            assert row.low <= row.high
        assert row.above == (row.low > 1e-9 and round(row.difference, 2) > 0)
    assert len(study.differences) > 1000


def test_intervals_hold_the_values(study):
    own = selected(study.scores, features="model", subset="all")
    own = own[own["target"].isin(["potential", "planted"])]
    assert (own["mae_low"] < own["mae"]).all()
    assert (own["mae"] < own["mae_high"]).all()
    gaps = study.differences[study.differences["difference"].abs() > 1e-9]
    inside = (gaps["low"] <= gaps["difference"]) & (gaps["difference"] <= gaps["high"])
    assert inside.mean() > 0.99


def test_domains_are_scored_apart_and_make_up_the_whole(study):
    rows = selected(study.scores, target="potential", split="structure", features="model", layer=2)
    assert set(rows["subset"]) == {"all", "strained", "cluster"}
    whole, parts = (rows[(rows["subset"] == "all") == is_all] for is_all in (True, False))
    assert parts["n_atoms"].sum() == whole["n_atoms"].iloc[0] == len(study.rows)
    mean = (parts["mae"] * parts["n_atoms"]).sum() / parts["n_atoms"].sum()
    assert mean == pytest.approx(whole["mae"].iloc[0])


def test_predictions_are_out_of_fold_values_of_every_atom(study):
    true, decoded = study.true["potential"], study.predictions["potential", "structure", 2]
    assert np.isfinite(decoded).all()
    error = np.abs(true - decoded).mean()
    assert error == pytest.approx(score(study, "potential", "structure", "model", 2, "mae"))
    vectors = study.predictions["field", "structure", 3]
    assert vectors.shape == study.true["field"].shape == (len(study.rows), 3)


# What the numbers mean


@pytest.mark.parametrize("split", ["structure", "compound"])
def test_a_planted_signal_is_found_in_its_layer(study, split):
    assert score(study, "planted", split, "model", 2) > 0.95
    others = [score(study, "planted", split, "model", t) for t in (0, 1, 3, 4, 5)]
    assert max(others) < score(study, "planted", split, "model", 2) - 0.05
    assert score(study, "planted", split, "shuffled target", 2) < 0.05
    assert score(study, "planted", split, "random weights", 2) < 0.8


@pytest.mark.parametrize("split", ["structure", "compound"])
def test_noise_is_not_found_anywhere_and_nothing_is_claimed(study, split):
    # A score is as likely to lie above zero as below, by 0.02 or so with four hundred atoms.
    rows = selected(study.scores, split=split, subset="all")
    rows = rows[rows["target"].isin(NOISE)]
    names = ["features", "layer", "width"]
    assert rows.groupby(names, dropna=False)["r2_within"].mean().max() < 0.03
    for name in NOISE:
        assert reading(study, name, split).endswith("not clear above zero, so not read")


def test_charges_that_the_species_fix_are_called_trivial(study):
    assert study.trivial == ("charge:formal",)
    assert score(study, "charge:formal", "structure", "model", 0, "r2") > 0.9
    assert "say nothing about the environment" in reading(study, "charge:formal", "structure")


def test_the_species_embedding_knows_nothing_within_a_species(study):
    # One compound is tested by one map if compounds are held out, else by one a fold.
    for features in ("model", *LAYERWISE):
        assert score(study, "potential", "compound", features, 0) == pytest.approx(0, abs=1e-9)
        assert score(study, "potential", "structure", features, 0) < 0.02
    assert score(study, "potential", "compound", "species mean") == pytest.approx(0, abs=1e-9)


def test_trained_layers_decode_the_field_and_one_direction_does_not(study):
    assert score(study, "field", "structure", "model", 1, "r2") > 0.4
    assert score(study, "field", "structure", "random direction", 1, "r2") < 0.15
    assert score(study, "field", "structure", "shuffled target", 1, "r2") < 0.1


def test_everything_that_identifies_the_result_is_recorded(study, sevenn_0):
    record = study.provenance
    assert record["model"]["sha256"] == sevenn_0.provenance["sha256"]
    assert record["structures"]["n_atoms"] == len(study.rows)
    assert record["settings"] == {
        "n_folds": 5, "n_resamples": 200, "seed": 0, "in_domain": ("bulk", "strained"),
        "n_assignments": 1, "random_seeds": 1, "near_duplicates": "together",
        "within": "kind", "atoms": "all", "n_cutoffs": 1,
    }  # fmt: skip
    assert record["near_duplicates"] == 0
    assert {"python", "mpprobe", "torch", "e3nn", "sevenn", "numpy"} <= set(record["versions"])
    assert record["targets"]["field"] == {
        "unit": "V/Å", "l": 1, "description": study.targets["field"].description,
    }  # fmt: skip


# What may not change them


def test_one_seed_gives_one_table_and_another_seed_another(once, mace, few):
    again = probe(mace, few, targets=["potential", "field"], settings=QUICK)
    for table in ("scores", "differences", "conditional"):
        assert_frame_equal(getattr(again, table), getattr(once, table), check_exact=True)
    assert again.choices == once.choices
    other = probe(mace, few, settings=replace(QUICK, seed=1))
    for features in ("model", "random weights", "shuffled target", "random direction"):
        both = [selected(s.scores, target="potential", features=features) for s in (once, other)]
        assert not np.allclose(*(rows["r2_within"].iloc[1:] for rows in both)), features
    assert other.provenance["settings"]["seed"] == 1


@pytest.mark.parametrize("max_atoms", [1, 10_000])
def test_the_batch_size_changes_nothing(once, mace, few, max_atoms):
    study = probe(mace, few, settings=QUICK, max_atoms=max_atoms)
    expected = selected(once.scores, target="potential")
    assert_frame_equal(study.scores, expected.reset_index(drop=True), rtol=0, atol=1e-6)


def turned(frame, seed):
    atoms, matrix = frame.atoms.copy(), Rotation.random(random_state=seed).as_matrix()
    atoms.set_cell(atoms.cell.array @ matrix.T)
    atoms.positions = atoms.positions @ matrix.T
    return replace(frame, atoms=atoms)


@pytest.mark.parametrize(("dtype", "tolerance"), [
    ("float64", 1e-6), pytest.param("float32", 1e-3, marks=pytest.mark.slow),
])  # fmt: skip
def test_turning_every_structure_its_own_way_changes_nothing(mace_file, few, dtype, tolerance):
    potential = loaded(mace_file("8x0e+8x1o"), dtype)
    still, moved = (
        mpprobe.probe(potential, frames, targets=["potential", "field"], settings=ONCE).scores
        for frames in (few, [turned(frame, i) for i, frame in enumerate(few)])
    )
    assert set(selected(still, features="SOAP")["width"]) == {512 + 4}
    # A vector moved to an atom of another structure would have to be turned with it.
    kept = (still["features"] != "shuffled target") | (still["l"] == 0)
    assert_frame_equal(moved.loc[kept, COLUMNS], still.loc[kept, COLUMNS], rtol=0, atol=tolerance)


def test_the_order_of_the_structures_changes_only_what_is_shuffled(once, mace, few):
    study = probe(mace, few[::-1], targets=["potential", "field"], settings=QUICK)
    kept = once.scores["features"] != "shuffled target"
    assert_frame_equal(
        study.scores.loc[kept, COLUMNS], once.scores.loc[kept, COLUMNS], rtol=0, atol=1e-6
    )


def test_structures_are_not_changed(mace, few):
    atoms = [frame.atoms.copy() for frame in few]
    probe(mace, few, layers=1, settings=ONCE)
    assert all(frame.atoms == before for frame, before in zip(few, atoms, strict=True))


# How it is asked for


def test_a_random_model_has_no_second_random_control(mace_file, few):
    potential = mpprobe.load(f"random:{mace_file('8x0e')}:3", trust_checkpoint=True)
    study = probe(potential, few, settings=ONCE)
    kinds = {"model", "random direction", "shuffled target", "species mean"}
    assert kinds <= set(study.scores["features"])
    assert "random weights" not in set(study.scores["features"]) | set(study.differences["control"])
    assert study.provenance["model"]["random_weights_seed"] == "3"


def test_layer_0_is_scored_beside_the_layers_asked_for(mace, few):
    study = probe(mace, few, layers=[2], settings=ONCE)
    own = selected(study.scores, features="model", subset="all")
    assert own["layer"].tolist() == [0, 2]
    assert set(study.differences["layer"]) == {2}
    assert study.layers == (2,)


def test_spellings_of_one_target_are_one_target(mace, few):
    names = ["potential", "Potential@formal", "potential"]
    study = probe(mace, few, layers=1, targets=names, settings=ONCE)
    assert list(study.targets) == ["potential"]
    assert not study.scores.duplicated(["features", "layer", "width", "subset"]).any()


def test_progress_is_told_from_first_to_last(mace, few):
    calls = []
    probe(mace, few, settings=ONCE, progress=lambda *call: calls.append(call))
    last = {what: (done, total) for what, done, total in calls}
    n_atoms = sum(len(f) for f in few)
    assert last[f"node features of {mace.name}"] == (n_atoms, n_atoms)
    assert last["target potential"] == (len(few), len(few))
    assert last["probing potential by structure"][0] == last["probing potential by structure"][1]
    assert all(0 <= done <= total for _, done, total in calls)


@pytest.mark.parametrize("interrupted", [False, True])
def test_the_memory_mapped_features_are_gone_afterwards(
    mace, few, tmp_path, monkeypatch, interrupted
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    seen = []

    def progress(what, done, total):
        if what.startswith("probing"):
            seen.extend(tmp_path.rglob("layer-*.npy"))
            if interrupted:
                raise KeyboardInterrupt

    try:
        probe(mace, few, settings=replace(ONCE, random_seeds=2), progress=progress)
    except KeyboardInterrupt:
        assert interrupted
    assert len(set(seen)) == 3 * 3  # the model and two with random weights, three layers each
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"targets": "potentail"}, r"did you mean 'potential'"),
        ({"targets": []}, r"at least one target"),
        ({"splits": "structures"}, r"unknown split 'structures': choose one of structure"),
        ({"splits": ()}, r"at least one target and one split"),
        ({"layers": 7}, r"layers 0 to 5"),
        ({"layers": []}, r"no layer chosen"),
        ({"layers": "two"}, r"give a whole number, or all"),
        ({"layers": 5, "targets": ["potential", "field"]},
         r"'field' has l = 1, and layer 5 of sevenn-0 .* layers that do: 1, 2, 3, 4$"),
        ({"splits": "domain", "settings": Settings(in_domain=("melt",))}, r"no structure is in"),
    ],
)  # fmt: skip
def test_what_cannot_be_probed_is_refused_before_any_work(sevenn_0, study, asked, message):
    def progress(what, done, total):
        raise AssertionError("work has begun")

    with pytest.raises(MPProbeError, match=message) as error:
        mpprobe.probe(sevenn_0, study.frames, progress=progress, **asked)
    assert "\n" not in str(error.value)


def test_scalar_models_have_no_vectors_to_probe(mace_file, few):
    potential = mpprobe.load(mace_file("8x0e"), trust_checkpoint=True)
    with pytest.raises(ProbeError, match=r"layers that do: none"):
        mpprobe.probe(potential, few, targets="field")


def test_no_structures_and_unknown_elements_are_refused(mace, few):
    with pytest.raises(ProbeError, match="give structures"):
        mpprobe.probe(mace, [])
    stranger = few[0].atoms.copy()
    stranger.symbols[0] = "K"
    with pytest.raises(StructureError, match=r"structure@0: the model does not know K"):
        mpprobe.probe(mace, stranger)


@pytest.mark.parametrize("shape", [(), (3,)])
def test_a_target_without_variation_is_refused(mace, few, shape):
    frames = []
    for frame in few:
        atoms = frame.atoms.copy()
        atoms.arrays["flat"] = np.ones((len(atoms), *shape))
        frames.append(replace(frame, atoms=atoms))
    with pytest.raises(ProbeError, match="'array:flat' is the same for every atom"):
        mpprobe.probe(mace, frames, targets="array:flat")


def test_a_missing_descriptor_library_is_named_before_any_work(mace, few, monkeypatch):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "featomic" else find(name, *a)
    )
    calls = []
    with pytest.raises(MissingPackageError, match=r'pip install "mpprobe\[soap\]"'):
        mpprobe.probe(mace, few, progress=lambda *call: calls.append(call))
    assert not calls


# At full length


def profile(study, target, split, features="model"):
    return np.array([score(study, target, split, features, t) for t in range(6)])


@pytest.mark.slow
def test_the_profile_of_sevennet_0_is_that_of_independent_fits(sevenn_0):
    """Two programs that share no line with this one found these scores, to 0.03 and less."""
    study = mpprobe.probe(
        sevenn_0,
        mpprobe.read("ionic"),
        targets=["potential", "charge:eeq", "field"],
        splits=["structure", "compound"],
        settings=Settings(n_resamples=200, n_assignments=2, random_seeds=2),
    )
    potential, charge = (profile(study, t, "structure")[1:] for t in ("potential", "charge:eeq"))
    assert potential == pytest.approx([0.73, 0.80, 0.77, 0.69, 0.57], abs=0.05)
    assert charge == pytest.approx([0.58, 0.66, 0.57, 0.46, 0.30], abs=0.07)
    trained = profile(study, "potential", "compound")[1:]
    untrained = profile(study, "potential", "compound", "random weights")[1:]
    assert trained == pytest.approx([0.67, 0.78, 0.76, 0.67, 0.56], abs=0.05)
    assert untrained.max() < 0.2
    assert (trained - untrained).min() > 0.3
    for target in ("potential", "charge:eeq"):
        for features in LAYERWISE[1:]:  # 1/rank of what the layer holds, and nothing
            assert np.abs(profile(study, target, "compound", features)).max() < 0.05
    assert score(study, "field", "structure", "model", 3, "r2") > 0.4
    assert score(study, "field", "structure", "random direction", 3, "r2") < 0.15


@pytest.mark.slow
def test_potentials_of_the_pilots_kinds_of_structure_are_decoded_as_well_as_there(sevenn_0):
    # The pilot had rattled, defective and slab cells; strain, clusters and melts are harder.
    frames = [f for f in mpprobe.read("ionic") if f.domain in ("bulk", "vacancy", "surface")]
    study = mpprobe.probe(
        sevenn_0, frames, splits=["structure", "compound"],
        settings=Settings(n_resamples=200, n_assignments=2, random_seeds=1),
    )  # fmt: skip
    for split in ("structure", "compound"):
        potential = profile(study, "potential", split)
        assert potential.argmax() in (2, 3)
        assert potential.max() >= 0.7


@pytest.mark.slow
def test_a_trained_third_party_mace_is_probed(shared_data):
    potential = mpprobe.load(shared_data / "mace-tutorial/mace01_swa.model", trust_checkpoint=True)
    atoms = read_atoms(shared_data / "mace-tutorial/solvent_xtb_test.extxyz.gz", index=":200")
    study = mpprobe.probe(potential, atoms, targets="charge:eeq", settings=QUICK)
    best = max(score(study, "charge:eeq", "structure", "model", t) for t in (1, 2))
    assert best > 0.3
