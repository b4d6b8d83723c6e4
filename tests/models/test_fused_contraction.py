"""MACE's symmetric contraction, against mace's own."""

import pytest
import torch
from e3nn import o3

from mpprobe.models.fused.contraction import SymmetricContraction
from mpprobe.models.fused.layout import NotFusable
from mpprobe.models.mace import _mace_imported
from mpprobe.models.options import quiet_library

N_SPECIES = 5


def upstream(correlation, irreps_out="4x0e+4x1o+4x2e"):
    with _mace_imported(), quiet_library():
        from mace.modules.symmetric_contraction import SymmetricContraction as Upstream

        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        try:
            return Upstream(
                o3.Irreps("4x0e+4x1o+4x2e"), o3.Irreps(irreps_out), correlation,
                num_elements=N_SPECIES,
            ).requires_grad_(False)  # fmt: skip
        finally:
            torch.set_default_dtype(before)


def nodes(species):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(len(species), 4, 9, generator=generator, dtype=torch.float64)
    one_hot = torch.nn.functional.one_hot(torch.tensor(species), N_SPECIES).double()
    return x, one_hot


@pytest.mark.parametrize("correlation", [1, 2, 3])
@pytest.mark.parametrize("species", [[3, 0, 3, 4, 0], [2], [1, 1]])
def test_it_equals_maces(correlation, species):
    theirs = upstream(correlation)
    x, one_hot = nodes(species)
    got = SymmetricContraction(theirs)(x, one_hot)
    torch.testing.assert_close(got, theirs(x, one_hot), rtol=1e-12, atol=1e-12)


def test_its_derivatives_equal_maces():
    theirs = upstream(3, "4x0e+4x1o")
    mine = SymmetricContraction(theirs)
    x, one_hot = nodes([3, 0, 3])

    def derivatives(module):
        y = x.clone().requires_grad_()
        (first,) = torch.autograd.grad(module(y, one_hot).sin().sum(), y, create_graph=True)
        return first, torch.autograd.grad(first.square().sum(), y)[0]

    for got, expected in zip(derivatives(mine), derivatives(theirs), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)


def test_higher_orders_are_left_to_mace():
    class Fourth(torch.nn.Module):
        correlation = 4

    class Module:
        contractions = (Fourth(),)

    with pytest.raises(NotFusable, match="correlation 4"):
        SymmetricContraction(Module)
