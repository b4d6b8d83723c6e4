"""Choosing among the kernels that sevenn offers on CUDA. None can run here: stand-ins do."""

import copy

import pytest
import torch

import mpprobe
from mpprobe.models.fused import NotFusable
from mpprobe.models.fused.cuda import SWITCHES, accelerated_modules
from mpprobe.models.options import quiet_library
from mpprobe.models.spec import Accelerator

# Packages that are installed stand for the accelerators, which aren't.
HERE = Accelerator("FlashTP", "torch")
TOO = Accelerator("OpenEquivariance", "numpy")
MISSING = Accelerator("cuEquivariance", "no_such_package")


@pytest.fixture(scope="module")
def plain(sevennet_file):
    return mpprobe.load(sevennet_file(), fast=False).module


def accelerated(plain, factor=1.0):
    """A model as sevenn would build it with a kernel, its weights drawn anew."""
    with quiet_library():  # e3nn compiles its modules when they are copied
        module = copy.deepcopy(plain)
    for name in [name for name in module._modules if name.endswith("_convolution")]:
        module._modules[name] = Kernel(module._modules[name], factor)
    return module


class Kernel(torch.nn.Module):
    """Gives what the plain convolution gives with these weights, times a factor."""

    def __init__(self, convolution, factor):
        super().__init__()
        self.inner, self.factor = convolution, factor
        self.weight_nn, self.denominator = None, None
        torch.nn.init.zeros_(convolution.weight_nn.layer0.weight)

    def forward(self, data):
        self.inner.weight_nn, self.inner.denominator = self.weight_nn, self.denominator
        data = self.inner(data)
        data[self.inner.key_x] = data[self.inner.key_x] * self.factor
        return data


def test_only_the_convolutions_are_exchanged_and_keep_the_models_weights(plain):
    asked = []

    def build(changes):
        asked.append(changes)
        return accelerated(plain)

    name, modules = accelerated_modules(plain, build, (MISSING, HERE, TOO))
    assert name == "FlashTP"
    assert asked == [SWITCHES["FlashTP"]]
    assert list(modules) == list(plain._modules)
    for key, module in modules.items():
        if key.endswith("_convolution"):
            assert module.weight_nn is plain._modules[key].weight_nn
        else:
            assert module is plain._modules[key]


def test_one_that_gives_other_numbers_is_passed_over(plain):
    factors = iter([1.01, 1.0])

    def build(changes):
        return accelerated(plain, next(factors))

    assert accelerated_modules(plain, build, (HERE, TOO))[0] == "OpenEquivariance"
    factors = iter([1.01, float("nan")])
    with pytest.raises(NotFusable, match=r"FlashTP: its 0_convolution is off.*OpenEquivariance"):
        accelerated_modules(plain, build, (HERE, TOO))


def test_one_that_fails_or_is_missing_is_named(plain):
    def build(changes):
        raise RuntimeError("no kernel image\nand much more")

    with pytest.raises(NotFusable, match=r"FlashTP: no kernel image$"):
        accelerated_modules(plain, build, (HERE,))
    with pytest.raises(NotFusable, match="one of cuEquivariance, and none is installed"):
        accelerated_modules(plain, build, (MISSING,))
