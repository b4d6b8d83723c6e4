"""A study of a model that takes no time: every number is what its parts give when put together."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest
from threadpoolctl import threadpool_limits

import mpprobe
from interventions.toy import SCALARS, VECTORS, Layered, rattled
from mpprobe.activations import Rows, Store
from mpprobe.errors import ProbeError
from mpprobe.probes import Scorer, Settings, make_plan, make_split
from mpprobe.probes.baselines import (
    neighbour_vectors,
    radial_densities,
    random_projection,
    soap,
    species_means,
)
from mpprobe.probes.controls import shuffle_within_species
from mpprobe.probes.crossfit import apply_maps, cross_predict, random_direction_maps
from mpprobe.probes.maps import principal_components
from mpprobe.probes.scores import Estimate
from mpprobe.provenance import structures_sha256, versions
from mpprobe.targets import Target

SETTINGS = Settings(n_folds=3, n_resamples=40, seed=7, in_domain=("bulk",))
SHELL = "potential:shell-1"
TARGETS, SPLITS = ["potential", SHELL, "charge:formal", "field"], ["structure", "domain"]
A, B = np.array([1.0, -0.5, 0.3, 0.2, -0.8, 0.4]), np.array([0.7, -0.4, 0.2, 0.1])


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """As the study itself fits: more threads wait for each other, most of all beside other work."""
    with threadpool_limits(limits=1, user_api="blas"):
        yield


@pytest.fixture(scope="module")
def toy():
    return Layered(A, B)


@pytest.fixture(scope="module")
def frames():
    return rattled(12)


@pytest.fixture(scope="module")
def calls():
    """What the study told of its progress."""
    return []


@pytest.fixture(scope="module")
def study(toy, frames, calls):
    return mpprobe.probe(
        toy, frames, targets=TARGETS, splits=SPLITS, settings=SETTINGS,
        progress=lambda *call: calls.append(call),
    )  # fmt: skip


@pytest.fixture(scope="module")
def scorer(frames):
    return Scorer.from_frames(frames, n_resamples=40, seed=7)


def split_of(name, frames):
    return make_split(name, frames, n_folds=3, seed=7, in_domain=("bulk",))


def features(model, frames, l):
    acts = mpprobe.extract(model, frames, layers=[0, 1])
    blocks = {t: acts[t].block(l=l) for t in acts.layers if l == 0 or t}
    return {t: x[:, :, 0] if l == 0 else x for t, x in blocks.items()}


def rows_of(study, **values):
    table = study.scores
    for column, value in values.items():
        column = table[column]
        table = table[column.isna() if value is None else column == value]
    return table


def assert_scored(row, *draws, tolerance=1e-9):
    """The metrics of a row are those of the scores; of several, averaged before the interval."""
    for metric in ("r2", "r2_within", "mae"):
        estimate = Estimate.mean([getattr(scores, metric) for scores in draws])
        found = [row[metric], row[f"{metric}_low"], row[f"{metric}_high"]]
        expected = [estimate.value, *estimate.interval()]
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)
    assert (row["n_atoms"], row["n_structures"]) == (draws[0].n_atoms, draws[0].n_structures)


CASES = [(target, split) for target in TARGETS for split in SPLITS]


@pytest.mark.parametrize(("target", "split"), CASES)
@pytest.mark.parametrize("kind", ["model", "random weights"])
def test_layers_score_what_a_probe_of_their_features_scores(
    study, toy, frames, scorer, target, split, kind
):
    model = toy if kind == "model" else toy.randomised(7)
    y, order = study.true[target], study.targets[target].l
    cut, domain = split_of(split, frames), np.array(["bulk", "surface"])
    domain = domain[np.arange(12) % 2].repeat([len(f) for f in frames])
    for layer, x in features(model, frames, order).items():
        predicted = cross_predict(x, y[..., None], cut).predictions[..., 0]
        found = rows_of(study, target=target, split=split, features=kind, layer=layer)
        expected = scorer.score_by(domain, y, predicted, cut.scored)
        expected["all"] = scorer.score(y, predicted, cut.scored)
        assert sorted(found["subset"]) == sorted(expected)
        for _, row in found.iterrows():
            assert_scored(row, expected[row["subset"]])
            assert row["width"] == x.shape[1]
        if kind == "model":
            np.testing.assert_allclose(study.predictions[target, split, layer], predicted)


@pytest.mark.parametrize(("target", "split"), CASES)
def test_a_shuffled_target_is_scored_by_the_mean_of_five(study, toy, frames, scorer, target, split):
    y, order, cut = study.true[target], study.targets[target].l, split_of(split, frames)
    numbers = np.concatenate([f.numbers for f in frames])
    for layer, x in features(toy, frames, order).items():
        draws = []
        for seed in (8, 9, 10, 11, 12):
            other = shuffle_within_species(y, numbers, seed)
            predicted = cross_predict(x, other[..., None], cut).predictions[..., 0]
            draws.append(scorer.score(other, predicted, cut.scored))
        found = rows_of(study, target=target, split=split, features="shuffled target", layer=layer)
        assert list(found["subset"]) == ["all"]
        assert_scored(found.iloc[0], *draws)


@pytest.mark.parametrize(("target", "split"), CASES)
def test_random_directions_are_scored_by_their_mean(study, toy, frames, scorer, target, split):
    y, order, cut = study.true[target], study.targets[target].l, split_of(split, frames)
    for layer, x in features(toy, frames, order).items():
        fit = cross_predict(x, y[..., None], cut)
        drawn = apply_maps(x, random_direction_maps(fit.probe, cut, seed=7), cut)
        draws = [scorer.score(y, drawn[..., k], cut.scored) for k in range(drawn.shape[-1])]
        found = rows_of(study, target=target, split=split, features="random direction", layer=layer)
        assert len(draws) == 20
        assert list(found["subset"]) == ["all"]
        assert_scored(found.iloc[0], *draws)


@pytest.mark.parametrize(("target", "split"), CASES)
def test_local_geometry_is_described_within_the_models_cutoff(
    study, toy, frames, scorer, target, split
):
    y, order, cut = study.true[target], study.targets[target].l, split_of(split, frames)
    if order == 0:
        described = {
            "SOAP": soap(frames, toy.cutoff, seed=7),
            "radial densities": radial_densities(frames, toy.cutoff),
        }
        widths = [1, SCALARS]
    else:
        described = {"neighbour vectors": neighbour_vectors(frames, toy.cutoff)}
        widths = [VECTORS]
    expected = dict(described)
    for name, x in described.items():
        expected |= {(f"{name}, same width", w): random_projection(x, w, 7) for w in widths}
    local = rows_of(study, target=target, split=split, layer=None, subset="all")
    local = local[local["features"] != "species mean"]
    assert len(local) == len(expected)
    for _, row in local.iterrows():
        name = row["features"]
        x = expected[(name, row["width"]) if name.endswith("width") else name]
        predicted = cross_predict(x, y[..., None], cut).predictions[..., 0]
        scores = scorer.score(y, predicted, cut.scored)
        assert_scored(row, scores, tolerance=1e-3)  # there are fewer atoms than columns of SOAP
        assert (row["width"], row["block"]) == (x.shape[1], "")


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("target", TARGETS[:3])
def test_the_species_mean_is_scored_as_it_is(study, frames, scorer, target, split):
    y, cut = study.true[target], split_of(split, frames)
    numbers = np.concatenate([f.numbers for f in frames])
    predicted = species_means(y[:, None], numbers, cut)[:, 0]
    row = rows_of(study, target=target, split=split, features="species mean", subset="all")
    assert_scored(row.iloc[0], scorer.score(y, predicted, cut.scored))
    assert row.iloc[0]["width"] == 0
    assert row["layer"].isna().all()
    assert row["block"].tolist() == [""]
    by_domain = rows_of(study, target=target, split=split, features="species mean")
    assert sorted(by_domain["subset"]) == ["all", "bulk", "surface"]


def test_elements_in_every_structure_are_not_scored(toy):
    """Sodium is in every one; chlorine and bromine are held out in turn."""
    frames = []
    for k, frame in enumerate(rattled(12)):
        atoms = frame.atoms.copy()
        if k % 4 > 1:
            atoms.numbers[atoms.numbers == 17] = 35
        frames.append(mpprobe.Frame.from_atoms(atoms, frame.source))
    study = mpprobe.probe(toy, frames, layers=1, splits="element", settings=SETTINGS)
    halides = sum(int((f.numbers != 11).sum()) for f in frames)
    rows = rows_of(study, subset="all")
    assert set(rows["n_atoms"]) == {halides}
    assert set(rows["n_structures"]) == {12}
    assert np.isfinite(rows["mae"]).all()
    assert {"shuffled target", "random direction"} <= set(rows["features"])


def test_blocks_and_units_are_those_of_features_and_targets(study):
    blocks = {(0, 0): "1x0e", (0, 1): f"{SCALARS}x0e", (1, 1): f"{VECTORS}x1o"}
    own = rows_of(study, features="model")
    found = set(zip(own["l"], own["layer"], own["block"], own["unit"], strict=True))
    units = {"potential": "V", SHELL: "V", "charge:formal": "e"}
    scalar = {(0, t, blocks[0, t], units[n]) for t in (0, 1) for n in TARGETS[:3]}
    assert found == scalar | {(1, 1, blocks[1, 1], "V/Å")}
    assert set(study.scores["model"]) == {"toy"}


def test_a_layer_stands_against_every_control(study):
    scalar = {"random weights", "shuffled target", "random direction", "species mean"}
    local = {n + end for n in ("SOAP", "radial densities") for end in ("", ", same width")}
    assert set(study.differences["model"]) == {"toy"}
    for (target, layer), rows in study.differences.groupby(["target", "layer"]):
        expected = scalar | local | ({"layer 0"} if layer else set())
        if target == "field":
            vectors = {"neighbour vectors", "neighbour vectors, same width"}
            expected = (scalar - {"species mean"}) | vectors
        for split in SPLITS:
            assert sorted(rows[rows["split"] == split]["control"]) == sorted(expected)


def test_true_values_are_those_of_the_targets(study, frames, toy):
    for name in TARGETS:
        target = mpprobe.get_target(name)
        expected = np.concatenate(target.values(frames, toy.cutoff))
        np.testing.assert_allclose(study.true[name], expected, rtol=1e-9)
        assert study.targets[name].unit == target.unit
    assert study.trivial == ("charge:formal",)
    assert list(study.targets) == TARGETS
    assert study.layers == (0, 1)


def test_a_shell_ends_at_the_models_cutoff(toy, frames):
    study = mpprobe.probe(toy, frames, layers=1, targets="potential:shell-1", settings=SETTINGS)
    expected = mpprobe.get_target("potential:shell-1").values(frames, toy.cutoff)
    np.testing.assert_allclose(study.true["potential:shell-1"], np.concatenate(expected))


def test_maps_are_of_the_models_scalars(study, toy, frames):
    assert set(study.maps) == {0, 1}
    for layer, x in features(toy, frames, 0).items():
        np.testing.assert_allclose(study.maps[layer], principal_components(x), atol=1e-9)


def test_what_identifies_the_result_is_recorded(study, toy, frames):
    record = study.provenance
    assert set(record) == {"model", "structures", "targets", "settings", "versions"}
    assert record["model"] == {
        "name": "toy", "cutoff": toy.cutoff, "layers": [asdict(layer) for layer in toy.layers],
        "dtype": "torch.float64", "device": "cpu",
    }  # fmt: skip
    assert record["structures"] == {
        "n_structures": 12, "n_atoms": 96, "sha256": structures_sha256(frames),
    }  # fmt: skip
    assert record["settings"] == asdict(SETTINGS)
    assert record["versions"] == versions()
    assert record["targets"] == {
        n: {"unit": t.unit, "l": t.l, "description": t.description}
        for n, t in study.targets.items()
    }


def test_progress_counts_up_to_all_there_is(study, calls):
    told = {}
    for what, done, total in calls:
        told.setdefault(what, []).append((done, total))
    counts = {
        "target potential": (12, 12),
        "target charge:formal": (12, 12),
        f"target {SHELL}": (12, 12),
        "target field": (12, 12),
        "node features of toy": (96, 96),
        f"probing {', '.join(TARGETS[:3])} by structure": (10, 20),
        f"probing {', '.join(TARGETS[:3])} by domain": (20, 20),
        "probing field by structure": (4, 8),
        "probing field by domain": (8, 8),
    }
    assert {what: steps[-1] for what, steps in told.items() if what in counts} == counts
    probing = told["probing field by structure"] + told["probing field by domain"]
    assert probing == [(i, 8) for i in (0, 1, 2, 3, 4, 4, 5, 6, 7, 8)]
    # Three descriptors of one batch each: two of scalars, and then one of vectors.
    assert told["local-geometry baseline"] == [(1, 2), (2, 2), (1, 1)]
    known = {*counts, "local-geometry baseline"}
    assert [what for what in told if what not in known] == []


def test_targets_of_many_structures_are_computed_in_pieces(toy):
    calls = []
    mpprobe.probe(
        toy, rattled(30), layers=1, settings=SETTINGS, progress=lambda *call: calls.append(call)
    )
    # A piece holds 200 atoms, and each structure has eight.
    steps = [call[1:] for call in calls if call[0] == "target potential"]
    assert steps == [(25, 30), (30, 30)]


def test_one_domain_is_not_scored_apart(toy, frames):
    study = mpprobe.probe(toy, frames[::2], layers=1, settings=SETTINGS)
    assert set(study.scores["subset"]) == {"all"}
    assert pd.unique(study.scores["split"]).tolist() == ["structure"]
    assert pd.unique(study.scores["target"]).tolist() == ["potential"]


def test_vectors_alone_have_no_species_mean(toy, frames):
    study = mpprobe.probe(toy, frames, targets="field", splits="structure", settings=SETTINGS)
    assert "species mean" not in set(study.scores["features"])
    assert set(study.maps) == {0, 1}


class TestAPlan:
    def test_it_holds_what_was_asked_for(self, toy, frames):
        plan = make_plan(
            toy, frames, layers=[1], targets=["field", "potential", "field"],
            splits=["domain", "structure", "domain"], settings=SETTINGS,
        )  # fmt: skip
        assert plan.model is toy
        assert (plan.layers, plan.settings, plan.store) == ((1,), SETTINGS, None)
        assert [t.name for t in plan.targets] == ["field", "potential"]
        assert [s.name for s in plan.splits] == ["domain", "structure"]
        for split in plan.splits:
            expected = split_of(split.name, frames)
            np.testing.assert_array_equal(split.test, expected.test)
        assert plan.frames == frames

    def test_a_split_by_domain_is_trained_where_the_settings_say(self, toy, frames):
        settings = Settings(n_folds=3, seed=7, in_domain=("surface",))
        (split,) = make_plan(toy, frames, splits="domain", settings=settings).splits
        surface = np.array([f.domain == "surface" for f in frames]).repeat(8)
        np.testing.assert_array_equal(split.test == 3, ~surface)

    def test_what_is_left_out_is_the_potential_by_structure(self, toy, frames):
        plan = make_plan(toy, frames)
        assert [t.name for t in plan.targets] == ["potential"]
        assert [s.name for s in plan.splits] == ["structure"]
        assert (plan.layers, plan.settings) == ((0, 1), Settings())

    @pytest.mark.parametrize("lacking", [{"structures": []}, {"targets": []}, {"splits": []}])
    def test_nothing_to_probe_is_refused(self, toy, frames, lacking):
        given = {"structures": frames, **lacking}
        message = "^nothing to probe: give structures, at least one target and one split$"
        with pytest.raises(ProbeError, match=message):
            make_plan(toy, **given)

    def test_no_structures_at_all_are_refused(self, toy):
        with pytest.raises(ProbeError, match=r"^nothing to probe"):
            make_plan(toy)

    def test_layers_without_vectors_are_named(self, toy, frames):
        message = (
            "^target 'field' has l = 1, and layer 0 of toy holds no l = 1 features; "
            "layers that do: 1$"
        )
        with pytest.raises(ProbeError, match=message):
            make_plan(toy, frames, layers=0, targets=["potential", "field"])

    def test_atoms_on_top_of_each_other_are_refused(self, toy, frames):
        atoms = frames[1].atoms.copy()
        atoms.positions[1] = atoms.positions[0]
        with pytest.raises(mpprobe.MPProbeError, match="structure@0: "):
            make_plan(toy, atoms)

    def test_structures_that_the_model_can_not_take_are_refused(self, toy, frames):
        unknown, lone = frames[1].atoms.copy(), frames[1].atoms[:1]
        unknown.symbols[3] = "K"
        lone.pbc = False
        for atoms, said in ((unknown, "does not know K"), (lone, "no two atoms are within")):
            with pytest.raises(mpprobe.MPProbeError, match=said):
                make_plan(toy, [*frames, atoms])

    def test_what_a_target_does_not_resolve_is_trivial(self, toy, frames):
        rng = np.random.default_rng(0)

        def noisy(frame, cutoff):
            return np.sign(14 - frame.numbers) + 1e-4 * rng.normal(size=len(frame))

        plan = make_plan(toy, frames, layers=1, settings=SETTINGS)
        for resolution, trivial in ((1e-2, ("noisy",)), (1e-5, ())):
            target = Target("noisy", "e", 0, noisy, "", resolution=resolution)
            assert replace(plan, targets=(target,)).run().trivial == trivial
        for function, resolution in (
            (noisy, 10),
            (lambda *given: 1e10 + noisy(*given), 0.0),
            (lambda *given: 0.0 * noisy(*given), 0.0),
        ):
            flat = Target("flat", "e", 0, function, "", resolution=resolution)
            with pytest.raises(ProbeError, match="is the same for every atom"):
                replace(plan, targets=(flat,)).run()

    def test_a_flat_target_is_refused_when_it_is_computed(self, toy, frames):
        message = (
            "^target 'array:flat' is the same for every atom of these structures "
            r"\(to rounding\), so there is nothing to find; choose another target or other "
            "structures$"
        )
        flat = []
        for frame in frames:
            atoms = frame.atoms.copy()
            atoms.arrays["flat"] = np.tile([1.0, 2.0, 3.0], (len(atoms), 1))
            flat.append(atoms)
        plan = make_plan(toy, flat, targets="array:flat")
        with pytest.raises(ProbeError, match=message):
            plan.run()


@pytest.fixture(scope="module")
def store(toy, frames, tmp_path_factory):
    """The same features on disk."""
    store = Store.create(tmp_path_factory.mktemp("store"), toy, frames, max_atoms=20, seed=7)
    store.extract(toy)
    return store


class TestAStore:
    def test_the_scores_are_the_same(self, store, study):
        stored = mpprobe.probe(store, targets=TARGETS, splits=SPLITS, settings=SETTINGS)
        numbers = ["r2", "r2_low", "r2_high", "mae", "mae_low", "mae_high"]
        # The store is of single precision.
        pd.testing.assert_frame_equal(
            stored.scores[numbers], study.scores[numbers], rtol=1e-3, atol=1e-3
        )
        names = ["features", "layer", "block", "width", "subset"]
        pd.testing.assert_frame_equal(stored.scores[names], study.scores[names])

    def test_only_the_layers_asked_for_and_layer_0_are_read(self, store):
        stored = mpprobe.probe(store, layers=1, settings=SETTINGS)
        assert stored.layers == (1,)
        own = rows_of(stored, features="model", subset="all")
        assert own["layer"].tolist() == [0, 1]

    def test_the_record_says_where_the_features_come_from(self, store):
        stored = mpprobe.probe(store, layers=0, settings=SETTINGS)
        configuration = store.configuration
        assert stored.provenance["store"] == {
            "sha256": configuration.sha256,
            "dtype": configuration.dtype_store,
            "random_weights_seed": 7,
            "max_atoms": 20,
            "n_left_out": 0,
            "versions": configuration.versions,
        }

    def test_other_structures_are_refused(self, store, frames):
        message = f"^{store.folder}: a store has its own structures; give no others$"
        with pytest.raises(ProbeError, match=message):
            mpprobe.probe(store, frames)

    def test_an_unfinished_one_is_refused(self, toy, frames, tmp_path):
        store = Store.create(tmp_path, toy, frames, max_atoms=2)
        store.extract(toy, [0])
        n = len(store.shards)
        assert n > 2
        message = f": {n - 1} of {n} shards are missing; finish it with `mpprobe extract`, or join"
        with pytest.raises(ProbeError, match=message):
            mpprobe.probe(store)


def test_rows_are_those_of_the_structures(study, frames):
    expected = Rows.of(frames)
    np.testing.assert_array_equal(study.rows.frame, expected.frame)
    np.testing.assert_array_equal(study.rows.species, expected.species)
    assert study.frames == frames
