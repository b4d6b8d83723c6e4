"""Irreps as text agree with e3nn's own reading of them."""

import pytest
from e3nn import o3

from mpprobe.errors import ModelError
from mpprobe.models.irreps import irreps_dim, parse_irreps

NOTATIONS = ["128x0e", "128x0e+64x1e+32x2e", "8x0e + 8x1o", "0e+1o", "4x0e+4x0o+4x1o+4x1e+2x3o"]


@pytest.mark.parametrize("text", NOTATIONS)
def test_blocks_are_where_e3nn_puts_them(text):
    irreps = o3.Irreps(text)
    blocks = parse_irreps(text)
    assert [slice(b.start, b.stop) for b in blocks] == irreps.slices()
    assert [(b.mul, b.l, b.p) for b in blocks] == [
        (mul, ir.l, {1: "e", -1: "o"}[ir.p]) for mul, ir in irreps
    ]
    assert irreps_dim(text) == irreps.dim


@pytest.mark.parametrize("text", NOTATIONS)
def test_blocks_print_as_they_are_read(text):
    assert o3.Irreps("+".join(map(str, parse_irreps(text)))) == o3.Irreps(text)


@pytest.mark.parametrize("text", ["", "128", "8x1", "8x1u", "x1e", "8x0e,8x1o", "8x0e++8x1o"])
def test_other_notations_are_refused_by_name(text):
    with pytest.raises(ModelError, match="is not of the form 128x0e"):
        parse_irreps(text)
