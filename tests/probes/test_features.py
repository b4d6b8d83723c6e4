"""Where a study's node features come from: this process, workers, or a store; they are the same."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

import mpprobe
from interventions.toy import SCALARS, VECTORS, Layered, rattled
from mpprobe.activations import MODEL, Store, random_kind
from mpprobe.errors import ProbeError, StoreError
from mpprobe.probes import features
from mpprobe.probes.executor import SERIAL
from mpprobe.probes.features import (
    check_recipe,
    check_shared,
    extracted_features,
    features_by_workers,
    fill_store,
    stored_features,
)


class Hands:
    """Workers that are this process after all, and a note of what they were given."""

    in_process = False

    def __init__(self):
        self.given = []

    def map(self, function, items):
        items = list(items)
        self.given.append(items)
        return map(function, items)


@pytest.fixture
def toy(monkeypatch):
    """A toy that workers can load."""
    toy = Layered(np.arange(SCALARS), np.arange(VECTORS))
    toy.recipe = {"name": "toy", "dtype": "float64"}
    toy.name = "toy one"

    def load(name, dtype):
        assert (name, dtype) == ("toy", "float64")
        return toy

    monkeypatch.setattr(features, "load", load)
    # What worker processes keep from one shard to the next.
    monkeypatch.setattr(features, "_store", lru_cache(features._store.__wrapped__))
    monkeypatch.setattr(features, "_potential", lru_cache(features._potential.__wrapped__))
    return toy


@pytest.fixture(scope="module")
def frames():
    return rattled(5)


def silent(what, done, total):
    pass


def here(toy, frames, folder, **options):
    given = {"seed": 3, "random_seeds": 2, "max_atoms": 16, "progress": silent, **options}
    return extracted_features(toy, frames, [1], folder, **given)


def test_features_computed_here_are_those_of_the_model_and_of_each_seed(toy, frames, tmp_path):
    calls = []
    found = here(toy, frames, tmp_path, progress=lambda *call: calls.append(call))
    models = {MODEL: toy, **{random_kind(s): toy.randomised(s) for s in (3, 4)}}
    assert list(found) == list(models) == [MODEL, "random weights 3", "random weights 4"]
    for kind, model in models.items():
        expected = mpprobe.extract(model, frames, layers=1)[1].values
        assert found[kind].layers == (0, 1)
        np.testing.assert_allclose(found[kind][1].values[:], expected, rtol=1e-12)
        np.testing.assert_array_equal(found[kind].rows.frame, np.repeat(np.arange(5), 8))
    assert {what for what, *_ in calls} == {"node features of toy one", "node features of toy"}
    assert calls[-1] == ("node features of toy", 40, 40)
    folders = sorted(path.name for path in tmp_path.iterdir())
    assert folders == ["model", "random-weights-3", "random-weights-4"]
    values = [found[kind][1].values[:] for kind in found]
    assert not any(np.allclose(a, b) for i, a in enumerate(values) for b in values[:i])


def test_a_model_of_random_weights_has_no_others(toy, frames, tmp_path):
    toy.provenance["random_weights_seed"] = "0"
    assert list(here(toy, frames, tmp_path)) == [MODEL]


def test_no_random_weights_where_none_are_asked_for(toy, frames, tmp_path):
    assert list(here(toy, frames, tmp_path, random_seeds=0)) == [MODEL]
    none = features_by_workers(
        toy, frames, [1], tmp_path / "there", seed=3, random_seeds=0, max_atoms=2,
        executor=Hands(), progress=silent,
    )  # fmt: skip
    assert list(none) == [MODEL]


def test_features_by_workers_are_the_same(toy, frames, tmp_path):
    hands, calls = Hands(), []
    there = features_by_workers(
        toy, frames, [1], tmp_path / "there", seed=3, random_seeds=2, max_atoms=2, executor=hands,
        progress=lambda *call: calls.append(call),
    )  # fmt: skip
    expected = here(toy, frames, tmp_path / "here")
    assert list(there) == list(expected)
    for kind, acts in expected.items():
        assert there[kind].layers == acts.layers
        for t in acts.layers:
            np.testing.assert_allclose(there[kind][t].values[:], acts[t].values[:], rtol=1e-6)
    # Structures of eight atoms, of which each shard holds one.
    assert hands.given == [[0, 1, 2, 3, 4]]
    assert calls == [("node features of toy one", 8 * n, 40) for n in (1, 2, 3, 4, 5)]


class TestFillingAStore:
    @pytest.fixture
    def store(self, toy, frames, tmp_path):
        return Store.create(tmp_path, toy, frames, max_atoms=2, seed=3)

    def test_some_of_its_shards_and_then_the_others(self, toy, store):
        steps = []
        fill_store(store, toy, SERIAL, lambda *step: steps.append(step), shards=iter([1, 3]))
        assert store.missing() == (0, 2, 4)
        assert steps == [(8, 16), (16, 16)]
        with pytest.raises(StoreError, match="3 of 5 shards missing"):
            stored_features(store, [1])
        fill_store(store, toy, SERIAL)
        assert store.missing() == ()
        assert stored_features(store, [])[MODEL].layers == (0,)

    def test_what_killed_processes_left_is_gone(self, toy, store):
        left = store.file(0).path.with_name("0.unfinished")
        swept = []
        store.sweep = lambda: swept.append(left)
        fill_store(store, toy, SERIAL)
        assert swept == [left]

    def test_workers_are_told_where_it_is_whatever_folder_they_run_in(
        self, toy, store, monkeypatch
    ):
        monkeypatch.chdir(store.folder.parent)
        store.folder = Path(store.folder.name)
        opened = []
        monkeypatch.setattr(features, "_store", lambda folder: opened.append(folder) or store)
        fill_store(store, toy, SERIAL, shards=[0])
        assert opened == [Path.cwd() / store.folder.name]

    def test_a_worker_builds_the_model_of_each_seed_once(self, toy, store):
        made, randomised = [], toy.randomised
        toy.randomised = lambda seed=0: made.append(seed) or randomised(seed)
        fill_store(store, toy, SERIAL)
        assert len(store.shards) == 5
        assert made == [3, 4, 5, 6, 7]

    def test_a_potential_that_no_worker_can_load_is_refused(self, toy, store):
        del toy.recipe
        message = (
            "^toy one: workers can load only what mpprobe.load gave; load the potential with it, "
            "or leave out the executor$"
        )
        with pytest.raises(ProbeError, match=message):
            fill_store(store, toy, SERIAL)
        assert len(store.missing()) == 5


def test_the_recipe_is_what_the_potential_was_loaded_by(toy):
    assert check_recipe(toy) is toy.recipe


def test_every_folder_is_looked_for_many_times(tmp_path):
    hands = Hands()
    check_shared([tmp_path, tmp_path.parent], hands)
    assert hands.given == [[tmp_path] * 64, [tmp_path.parent] * 64]


def test_a_folder_that_workers_do_not_see_is_named(tmp_path):
    lost = tmp_path / "lost"
    message = (
        f"^{lost}: not every worker sees this folder; put results and store on a file system "
        "that they share$"
    )
    with pytest.raises(ProbeError, match=message):
        check_shared([tmp_path, lost], Hands())


class TestAStudyByWorkers:
    SETTINGS = mpprobe.Settings(n_folds=2, n_resamples=10)

    def test_it_is_the_study_of_this_process(self, toy, frames, tmp_path):
        hands = Hands()
        there, alone = (
            mpprobe.probe(
                toy, frames, layers=1, targets="field", settings=self.SETTINGS, folder=tmp_path,
                executor=executor,
            )
            for executor in (hands, SERIAL)
        )  # fmt: skip
        numbers = ["r2", "r2_low", "mae", "mae_high"]
        np.testing.assert_allclose(there.scores[numbers], alone.scores[numbers], rtol=1e-3)
        assert there.scores["features"].tolist() == alone.scores["features"].tolist()
        # First of all workers look for the folder of the study, which lies in the one given.
        assert len(hands.given[0]) == 64
        assert hands.given[0][0].parent == tmp_path
        assert list(tmp_path.iterdir()) == []

    def test_a_model_that_no_worker_can_load_is_refused_before_any_work(self, toy, frames):
        del toy.recipe
        told = []
        with pytest.raises(ProbeError, match="workers can load only"):
            mpprobe.probe(toy, frames, executor=Hands(), progress=lambda *call: told.append(call))
        assert told == []

    def test_workers_look_for_the_store_too(self, toy, frames, tmp_path):
        store = Store.create(tmp_path, toy, frames, max_atoms=20)
        store.extract(toy)
        hands = Hands()
        mpprobe.probe(store, layers=1, targets="field", settings=self.SETTINGS, executor=hands)
        assert hands.given[1] == [store.folder] * 64
