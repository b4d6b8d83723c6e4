"""Hooks fire once, and are gone afterwards, whatever happens in between."""

import pytest
import torch

from mpprobe.errors import ModelError
from mpprobe.models.hooks import Tap, hooked


@pytest.fixture
def network():
    """Three linear modules in a row, with a tap on each."""
    torch.manual_seed(0)
    modules = torch.nn.Sequential(*(torch.nn.Linear(3, 3) for _ in range(3)))
    modules.taps = {t: Tap(m, lambda out: out, lambda out, new: new) for t, m in enumerate(modules)}
    return modules


X = torch.arange(6.0).reshape(2, 3)


def hooks_left(network):
    return sum(len(module._forward_hooks) for module in network.modules())


def test_features_are_the_outputs(network):
    with hooked(network.taps, {0, 2}, {}, None) as captured:
        result = network(X)
    assert captured.features.keys() == {0, 2}
    assert torch.equal(captured.features[0], network[0](X))
    assert torch.equal(captured.features[2], result)
    assert hooks_left(network) == 0


def test_edits_are_seen_by_what_comes_after(network):
    with hooked(network.taps, {0, 2}, {0: lambda x: x + 1, 2: lambda x: 2 * x}, None) as captured:
        result = network(X)
    edited = network[0](X) + 1
    assert torch.equal(captured.features[0], edited)
    assert torch.equal(result, 2 * network[2](network[1](edited)))
    assert torch.equal(captured.features[2], result)


def test_it_stops_after_the_layer_asked_for(network):
    calls = []
    for t, module in enumerate(network):
        module.register_forward_pre_hook(lambda *args, t=t: calls.append(t))
    taps = {1: network.taps[1]}
    with hooked(taps, {1}, {}, stop_after=1) as captured:
        network(X)
        calls.append("after")
    assert calls == [0, 1]
    assert torch.equal(captured.features[1], network[1](network[0](X)))
    assert hooks_left(network) == 0


def test_a_hook_that_never_fires_is_an_error(network):
    taps = {5: Tap(torch.nn.Identity(), lambda out: out, lambda out, new: new)}
    with (
        pytest.raises(ModelError, match="layer 5: its hook fired 0 times in one forward pass"),
        hooked(taps, {5}, {}, None),
    ):
        network(X)


def test_a_hook_that_fires_twice_is_an_error(network):
    with (
        pytest.raises(ModelError, match="layer 0: its hook fired 2 times"),
        hooked(network.taps, {0}, {}, None),
    ):
        network(network(X))
    assert hooks_left(network) == 0


@pytest.mark.parametrize(
    ("edit", "complaint"),
    [
        (lambda x: x[:1], r"returned shape \(1, 3\) for node features of shape \(2, 3\)"),
        (lambda x: x.sum(), r"returned shape \(\) for"),
        (lambda x: x.double(), "returned torch.float64 for node features in torch.float32"),
        (lambda x: x.detach().numpy(), "returned a ndarray: an edit must return a torch tensor"),
        (lambda x: None, "returned a NoneType"),
    ],
)
def test_an_edit_must_keep_the_kind_and_shape(network, edit, complaint):
    with (
        pytest.raises(ModelError, match=f"the edit of layer 1 {complaint}") as caught,
        hooked(network.taps, set(), {1: edit}, None),
    ):
        network(X)
    assert "\n" not in str(caught.value)
    assert hooks_left(network) == 0


def test_a_parameter_will_do_for_an_edit(network):
    value = torch.nn.Parameter(torch.ones(2, 3))
    with hooked(network.taps, set(), {2: lambda x: value}, None):
        assert network(X) is value


@pytest.mark.parametrize("where", ["edit", "body"])
def test_an_exception_passes_through_and_leaves_no_hook(network, where):
    def edit(x):
        if where == "edit":
            raise ZeroDivisionError
        return x

    with (  # noqa: PT012 - where it is raised is the point
        pytest.raises(ZeroDivisionError),
        hooked(network.taps, {0}, {1: edit}, None),
    ):
        network(X)
        raise ZeroDivisionError
    assert hooks_left(network) == 0
