"""The control of every result: the same architecture with weights that learned nothing."""

import numpy as np
import pytest
import torch
from ase import Atoms

import mpprobe

pytestmark = pytest.mark.usefixtures("quick_builds")

CRYSTAL = Atoms("NaCl", positions=[[0, 0, 0], [2.6, 0.1, 0.2]], cell=[5.2, 5.0, 5.1], pbc=True)


def features(potential):
    """Node features after the first message passing."""
    features = potential.run(potential.batch(CRYSTAL), layers=[1], energies=False).features
    return features[1].numpy()


def test_the_seed_decides(sevennet_file):
    path = sevennet_file()
    trained = mpprobe.load(path)
    first = features(mpprobe.load(f"Random:{path}:3"))
    np.testing.assert_array_equal(features(trained.randomised(3)), first)
    for other in (trained.randomised(4), trained):
        assert np.abs(features(other) - first).max() > 1e-2


def test_every_weight_of_the_real_model_is_drawn_anew(sevenn_0):
    before = torch.get_rng_state()
    fresh = sevenn_0.randomised(3)
    assert torch.equal(torch.get_rng_state(), before)
    assert fresh.name == "random:sevenn-0:3"
    assert fresh.provenance["random_weights_seed"] == "3"
    assert (fresh.layers, fresh.cutoff) == (sevenn_0.layers, sevenn_0.cutoff)
    old = sevenn_0.module.state_dict()
    same = {k for k, v in fresh.module.state_dict().items() if torch.equal(v, old[k])}
    statistics = ("shift", "scale", "denominator")
    constants = ("output_mask", "_w3j")
    assert {k for k in old if k.endswith(statistics)} <= same
    assert {k for k in old if k.endswith("weight")}.isdisjoint(
        k for k in same if old[k].numel() > 0
    )
    assert all(any(c in k for c in statistics + constants) for k in same if old[k].numel() > 0)
    assert np.isfinite(features(fresh)).all()


def test_statistics_stay_even_where_they_were_trained(sevennet_file):
    path = sevennet_file("trained.pth", train_shift_scale=True, train_denominator=True)
    content = torch.load(path, weights_only=False)
    moved = {
        name: value + 1.0
        for name, value in content["model_state_dict"].items()
        if name.endswith(("shift", "scale", "denominator"))
    }
    assert len(moved) == 4
    content["model_state_dict"].update(moved)
    torch.save(content, path)
    fresh = mpprobe.load(f"random:{path}")
    assert fresh.provenance["random_weights_seed"] == "0"
    weights = fresh.module.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in moved.items())


def test_mace_keeps_its_energy_scales_and_references(mace_file):
    path = mace_file("8x0e")
    trained = mpprobe.load(path, trust_checkpoint=True)
    fresh = trained.randomised(5)
    for name in (
        "scale_shift.scale",
        "scale_shift.shift",
        "atomic_energies_fn.atomic_energies",
    ):
        assert torch.equal(trained.module.get_buffer(name), fresh.module.get_buffer(name))
    neighbours = [m.module.interactions[1].avg_num_neighbors for m in (trained, fresh)]
    assert neighbours[0] == neighbours[1] == 14.0
    assert np.abs(features(trained) - features(fresh)).max() > 1e-3
    again = features(trained.randomised(5))
    np.testing.assert_array_equal(again, features(fresh))
