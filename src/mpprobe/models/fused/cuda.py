"""The kernels that sevenn offers on CUDA, put in place of the plain convolutions."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch

from mpprobe.models.foreign import ForeignModule
from mpprobe.models.fused.layout import NotFusable
from mpprobe.models.options import quiet_library
from mpprobe.models.spec import Accelerator

#: The configuration with which sevenn builds a model for each of them.
SWITCHES: dict[str, dict[str, Any]] = {
    "FlashTP": {"use_flash_tp": True},
    "OpenEquivariance": {"use_oeq": True},
    "cuEquivariance": {"cuequivariance_config": {"use": True}},
}

# Of the convolution's output, relative to its largest; the kernels sum in single precision.
TOLERANCE = 1e-4


def accelerated_modules(
    module: ForeignModule,
    build: Callable[[dict[str, Any]], ForeignModule],
    accelerators: tuple[Accelerator, ...],
) -> tuple[str, dict[str, torch.nn.Module]]:
    """The model's modules, its convolutions replaced by the first accelerator that works here.

    Only the convolutions are taken from sevenn's accelerated model, with the weights of this one:
    all else, and so every hook, stays as it was. An accelerator counts as working if its
    convolutions give what the plain ones give, tried on a small graph.

    Args:
        module: the plain model, on its device.
        build: makes a model from changes to its configuration.
        accelerators: to try, in order.

    Returns:
        The accelerator's name, and the modules in order.

    Raises:
        NotFusable: none is installed, or none that is gives the same numbers.
    """
    installed = [a for a in accelerators if a.available]
    if not installed:
        names = ", ".join(a.name for a in accelerators)
        raise NotFusable(f"on CUDA it takes one of {names}, and none is installed")
    reasons = []
    for accelerator in installed:
        try:
            return accelerator.name, _exchanged(module, build(SWITCHES[accelerator.name]))
        except Exception as error:  # other packages' kernels fail in ways of their own
            first_line = str(error).partition("\n")[0]
            reasons.append(f"{accelerator.name}: {first_line or type(error).__name__}")
    raise NotFusable("; ".join(reasons))


def _exchanged(plain: ForeignModule, accelerated: ForeignModule) -> dict[str, torch.nn.Module]:
    modules = dict(plain._modules)
    for name in [name for name in modules if name.endswith("_convolution")]:
        original = modules[name]
        device = original.denominator.device
        with quiet_library():
            replacement = accelerated._modules[name].to(device=device).eval()
        replacement.weight_nn, replacement.denominator = original.weight_nn, original.denominator
        _check_same(name, original, replacement)
        modules[name] = replacement
    return modules


def _check_same(name: str, original: ForeignModule, replacement: ForeignModule) -> None:
    """Both give the same on eight nodes and random edges."""
    product, n_nodes, n_edges = original.convolution, 8, 40
    like = {"dtype": original.denominator.dtype, "device": original.denominator.device}
    generator = torch.Generator(device=like["device"]).manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, **like)

    data = {
        original.key_x: draw(n_nodes, product.irreps_in1.dim),
        original.key_filter: draw(n_edges, product.irreps_in2.dim),
        original.key_weight_input: draw(n_edges, original.weight_nn.hs[0]),
        original.key_edge_idx: torch.randint(
            n_nodes, (2, n_edges), generator=generator, device=like["device"]
        ),
    }
    with torch.no_grad():
        expected, got = (m(copy.copy(data))[original.key_x] for m in (original, replacement))
    error = float((got - expected).abs().max() / expected.abs().max())
    if not error <= TOLERANCE:
        raise NotFusable(f"its {name} is off by {error:.1e}")
