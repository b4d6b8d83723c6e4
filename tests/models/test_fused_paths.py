"""Whole potentials on the fused path: everything that can be asked of them, as on the other."""

import numpy as np
import pytest
import torch
from mace.modules import interaction_classes

import mpprobe
from mpprobe.errors import ModelError
from mpprobe.models.fused.convolution import Convolution
from mpprobe.models.mace import MACE, _mace_imported
from mpprobe.testing import check_potential

DENSITY = ("RealAgnosticDensityInteractionBlock", "RealAgnosticDensityResidualInteractionBlock")


@pytest.fixture(scope="module")
def mace(mace_file):
    return mpprobe.load(mace_file("8x0e+8x1o"), dtype="float64", trust_checkpoint=True)


@pytest.fixture(scope="module")
def small_sevennet(sevennet_file):
    return mpprobe.load(sevennet_file(), dtype="float64")


@pytest.fixture(params=["mace", "small_sevennet"])
def potential(request):
    potential = request.getfixturevalue(request.param)
    assert potential.use_fast()
    return potential


def on_both_paths(potential, compute):
    """What ``compute`` gives on the fused and on the reference path."""
    fused = compute()
    assert not potential.use_fast(False)
    try:
        return fused, compute()
    finally:
        potential.use_fast(True)


@pytest.mark.parametrize(
    "changes",
    [
        {"is_parity": True, "lmax": 2, "self_connection_type": "nequip"},
        {"lmax": 3, "channel": 2, "self_connection_type": "linear",
         "weight_nn_hidden_neurons": [6, 5]},
    ],
    ids=["parity, self-connections by species", "l up to 3, two hidden layers"],
)  # fmt: skip
def test_sevennets_of_other_architectures(changes, sevennet_file, ionic_cells):
    file = sevennet_file(f"lmax{changes['lmax']}.pth", **changes)
    potential = mpprobe.load(file, dtype="float64")
    assert potential.fast, potential.not_fast
    check_potential(potential, ionic_cells)


@pytest.mark.parametrize("blocks", [DENSITY, DENSITY[::-1]])
def test_maces_that_sum_a_density_over_edges(blocks, mace, ionic_cells):
    """Such interactions, and a pair repulsion, need every edge and not every pair."""
    with _mace_imported():
        from mace.tools.scripts_utils import extract_config_mace_model

        config = extract_config_mace_model(mace.module)
        config |= {
            "interaction_cls_first": interaction_classes[blocks[0]],
            "interaction_cls": interaction_classes[blocks[1]],
            "pair_repulsion": True,
            "distance_transform": "Agnesi",
        }
        torch.manual_seed(0)
        module = type(mace.module)(**config)
    potential = MACE(
        "density", module, head=None, device=torch.device("cpu"), dtype=torch.float64,
        provenance={},
    )  # fmt: skip
    assert potential.fast, potential.not_fast
    assert not potential._fused.paired
    check_potential(potential, ionic_cells)


def test_edits_change_the_same(potential, ionic_cells):
    batch = potential.batch(ionic_cells)
    last = len(potential.layers) - 1
    edits = {1: lambda x: x * 1.5 + 0.1, last: torch.tanh}
    fused, reference = on_both_paths(
        potential, lambda: potential.run(batch, range(last + 1), edits, forces=True)
    )
    plain = potential.run(batch, forces=True)
    assert (fused.energies - plain.energies).abs().max() > 1e-6
    for layer in fused.features:
        torch.testing.assert_close(fused.features[layer], reference.features[layer])
    torch.testing.assert_close(fused.energies, reference.energies, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(fused.forces, reference.forces, rtol=1e-10, atol=1e-10)


def test_second_derivatives(potential, ionic_cells):
    """Hessian-vector products, as response functions and captum need them."""
    direction = torch.from_numpy(np.random.default_rng(0).normal(size=(8, 3)))

    def product():
        batch = potential.batch(ionic_cells[0])
        batch.positions.requires_grad_()
        forces = potential.run(batch, forces=True, keep_graph=True).forces
        return torch.autograd.grad((forces * direction).sum(), batch.positions)[0]

    fused, reference = on_both_paths(potential, product)
    assert reference.abs().max() > 1e-4
    torch.testing.assert_close(fused, reference, rtol=1e-9, atol=1e-11)


def test_gradients_of_node_features(potential, ionic_cells):
    """What attribution and influence maps are made of."""

    def gradient():
        batch = potential.batch(ionic_cells[0])
        batch.positions.requires_grad_()
        features = potential.run(batch, [1], keep_graph=True).features[1]
        return torch.autograd.grad(features[0].square().sum(), batch.positions)[0]

    fused, reference = on_both_paths(potential, gradient)
    torch.testing.assert_close(fused, reference, rtol=1e-9, atol=1e-12)


def test_a_changed_weight_is_seen(potential, ionic_cells):
    """Both paths read the module's own weights, at the time they run."""
    batch = potential.batch(ionic_cells)
    before = potential.run(batch).energies
    parameters = [p for p in potential.module.parameters() if p.numel() > 1]
    saved = [p.detach().clone() for p in parameters]
    try:
        for p in parameters:
            p.mul_(1.01)
        fused, reference = on_both_paths(potential, lambda: potential.run(batch).energies)
    finally:
        for p, old in zip(parameters, saved, strict=True):
            p.copy_(old)
    assert (fused - before).abs().max() > 1e-6
    torch.testing.assert_close(fused, reference, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("layer", "convolutions"), [(0, 0), (1, 1), (2, 2)])
def test_it_stops_after_the_deepest_layer(potential, layer, convolutions, ionic_cells, monkeypatch):
    ran, messages = [], Convolution.messages
    monkeypatch.setattr(
        Convolution, "messages", lambda self, *a: ran.append(1) or messages(self, *a)
    )
    potential.run(potential.batch(ionic_cells[0]), [layer], energies=False)
    assert len(ran) == convolutions


@pytest.fixture
def four_threads(monkeypatch):
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    monkeypatch.setattr("mpprobe.models.potential.EDGES_PER_THREAD", 1)
    yield
    torch.set_num_threads(before)


class TestThreads:
    """Several structures are shared out among threads, each a pass of its own."""

    def test_the_outputs_are_those_of_one_thread(self, potential, ionic_cells, four_threads):
        batch = potential.batch(ionic_cells * 2)
        layers = range(len(potential.layers))
        assert len(potential._parts(batch)) == 4
        shared = potential.run(batch, layers, forces=True)
        torch.set_num_threads(1)
        alone = potential.run(batch, layers, forces=True)
        for name in ("energies", "site_energies", "forces"):
            torch.testing.assert_close(getattr(shared, name), getattr(alone, name))
        for layer in layers:
            torch.testing.assert_close(shared.features[layer], alone.features[layer])
        assert not shared.forces.requires_grad

    def test_each_stops_early(self, potential, ionic_cells, four_threads, monkeypatch):
        ran, messages = [], Convolution.messages
        monkeypatch.setattr(
            Convolution, "messages", lambda self, *a: ran.append(1) or messages(self, *a)
        )
        batch = potential.batch(ionic_cells)
        features = potential.run(batch, [1], energies=False).features[1]
        assert len(features) == batch.n_atoms
        assert len(ran) == len(potential._parts(batch))

    def test_edits_see_every_atom(self, potential, ionic_cells, four_threads):
        batch, seen = potential.batch(ionic_cells), []
        potential.run(batch, edits={1: lambda x: seen.append(len(x)) or x})
        assert seen == [batch.n_atoms]

    def test_an_error_in_one_leaves_nothing_behind(
        self, potential, ionic_cells, four_threads, monkeypatch
    ):
        names = dict(potential.module.named_modules())
        messages = Convolution.messages

        def fails(self, pairs, *rest):
            if pairs.n_nodes == len(ionic_cells[2]):
                raise ValueError("in one thread")
            return messages(self, pairs, *rest)

        monkeypatch.setattr(Convolution, "messages", fails)
        with pytest.raises(ValueError, match="in one thread"):
            potential.run(potential.batch(ionic_cells), [1])
        assert dict(potential.module.named_modules()) == names
        assert not any(module._forward_hooks for module in names.values())
        monkeypatch.undo()
        torch.set_num_threads(4)
        assert potential.run(potential.batch(ionic_cells)).energies.isfinite().all()

    def test_other_threads_of_torch_keep_their_cores(self, potential, ionic_cells, four_threads):
        potential.run(potential.batch(ionic_cells))
        assert torch.get_num_threads() == 4


def test_the_model_is_left_as_it_was(potential, ionic_cells):
    names = dict(potential.module.named_modules())
    batch = potential.batch(ionic_cells)

    def fails(x):
        raise ValueError("an edit of the user's that fails")

    potential.run(batch, [1], energies=False)
    with pytest.raises(ValueError, match="fails"):
        potential.run(batch, edits={1: fails})
    assert dict(potential.module.named_modules()) == names
    assert not any(hasattr(module, "conv_fusion") for module in names.values())


def test_random_weights_take_the_same_path(small_sevennet, mace):
    for potential in (small_sevennet, mace):
        assert potential.randomised(1).fast
        potential.use_fast(False)
        assert not potential.randomised(1).fast
        potential.use_fast(True)


def test_it_can_be_switched_off(sevennet_file):
    potential = mpprobe.load(sevennet_file(), fast=False)
    assert not potential.fast
    assert potential.not_fast == "it is switched off"
    assert potential.provenance["path"] == "reference"
    assert potential.use_fast()
    assert potential.provenance["path"] == "fused"
    assert potential.recipe["fast"] is True


def test_an_unknown_interaction_takes_the_reference_path(mace, ionic_cells):
    class Unheard(type(mace.module.interactions[0])):
        pass

    block = mace.module.interactions[0]
    original, block.__class__ = block.__class__, Unheard
    try:
        other = MACE("other", mace.module, head=None, device=torch.device("cpu"),
                     dtype=torch.float64, provenance={})  # fmt: skip
        assert not other.fast
        assert "Unheard" in other.not_fast
        energies = other.run(other.batch(ionic_cells)).energies
    finally:
        block.__class__ = original
    torch.testing.assert_close(energies, mace.run(mace.batch(ionic_cells)).energies)


def test_without_numba_the_reference_path_is_taken(sevennet_file, ionic_cells, monkeypatch):
    import builtins

    real = builtins.__import__

    def without_numba(name, *rest):
        if name == "numba":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_numba)
    potential = mpprobe.load(sevennet_file())
    assert not potential.fast
    assert "numba" in potential.not_fast
    assert potential.run(potential.batch(ionic_cells)).energies.isfinite().all()
    monkeypatch.undo()
    assert potential.use_fast()


def test_a_fused_path_that_errs_is_caught(small_sevennet, ionic_cells, monkeypatch):
    """The contract's check would find a wrong kernel."""
    messages = Convolution.messages
    monkeypatch.setattr(
        Convolution, "messages", lambda self, *a: tuple(m * 1.001 for m in messages(self, *a))
    )
    with pytest.raises(ModelError, match="the fused path is off the reference path"):
        check_potential(small_sevennet, ionic_cells)
