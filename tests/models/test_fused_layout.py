"""Reading off an e3nn tensor product what a fused kernel needs."""

import numpy as np
import pytest
import torch
from e3nn import o3

from mpprobe.models.fused.layout import NotFusable, read_layout
from mpprobe.models.options import quiet_library


def uvu(irreps_in, sh, weights=True, mode="uvu", **options):
    """A convolution's tensor product as SevenNet and MACE build theirs: every path."""
    irreps_in, sh = o3.Irreps(irreps_in), o3.Irreps(sh)
    out, instructions = [], []
    for i, (mul, ir) in enumerate(irreps_in):
        for j, (_, ir_sh) in enumerate(sh):
            for ir_out in ir * ir_sh:
                instructions.append((i, j, len(out), mode, weights))
                out.append((mul, ir_out))
    options = {"shared_weights": False, "internal_weights": False} | options
    with quiet_library():
        return o3.TensorProduct(irreps_in, sh, o3.Irreps(out), instructions, **options)


def test_coefficients_give_the_product_back():
    product = uvu("3x0e+2x1o+2x2e", "1x0e+1x1o+1x2e").double()
    layout, coefficients = read_layout(product)
    x = torch.randn(1, product.irreps_in1.dim, dtype=torch.float64)
    sh = torch.randn(1, product.irreps_in2.dim, dtype=torch.float64)
    w = torch.randn(1, product.weight_numel, dtype=torch.float64)
    expected = product(x, sh, w)[0].numpy()
    first, sums = 0, []
    for path in layout.paths:
        block, harmonic = layout.inputs[path.input], layout.sh[path.sh]
        features = x[0, block.start : block.stop].numpy().reshape(block.mul, block.dim)
        weight = w[0, path.weight : path.weight + block.mul].numpy()
        out = np.zeros((block.mul, layout.groups[path.group].dim))
        for c, (m1, m2, m3) in zip(coefficients[first:], path.terms, strict=False):
            out[:, m3] += weight * c * features[:, m1] * sh[0, harmonic.start + m2].item()
        sums.append(out.reshape(-1))
        first += len(path.terms)
    assert first == len(coefficients)
    np.testing.assert_allclose(np.concatenate(sums), expected, atol=1e-12)


def test_selection_rules_are_kept():
    """Terms that Clebsch–Gordan forbids are left out: 1 ⊗ 1 → 1 is a cross product."""
    layout, _ = read_layout(uvu("1x1o", "1x1o"))
    cross = next(p for p in layout.paths if layout.groups[p.group].dim == 3)
    assert len(cross.terms) == 6
    assert all(len({*term}) == 3 for term in cross.terms)


def test_channels_of_one_irrep_are_side_by_side():
    layout, _ = read_layout(uvu("4x0e+2x1o", "1x0e+1x1o"))
    by_group = {}
    for path in layout.paths:
        by_group.setdefault(path.group, []).append((path.channel, layout.inputs[path.input].mul))
    for group, places in by_group.items():
        ends = [start + mul for start, mul in sorted(places)]
        assert [start for start, _ in sorted(places)] == [0, *ends[:-1]]
        assert ends[-1] == layout.groups[group].mul


def test_reversed_edges_have_the_parity_of_spherical_harmonics():
    layout, _ = read_layout(uvu("1x0e", "1x0e+1x1o+1x2e+1x3o"))
    np.testing.assert_array_equal(layout.parities(), [[1, 1, 1, 1], [1, -1, 1, -1]])
    r = torch.randn(3)
    for degree, sign in enumerate(layout.parities()[1]):
        there, back = (o3.spherical_harmonics(degree, v, normalize=True) for v in (r, -r))
        torch.testing.assert_close(back, sign * there)


@pytest.mark.parametrize(
    ("product", "reason"),
    [
        (lambda: o3.FullyConnectedTensorProduct("2x0e", "1x0e", "2x0e"), "aren't uvu"),
        (lambda: uvu("2x0e", "1x0e", weights=False), "aren't uvu"),
        (lambda: uvu("2x0e", "1x0e", shared_weights=True, internal_weights=True), "its own"),
        (lambda: uvu("2x0e", "2x0e"), "several spherical harmonics"),
        (lambda: o3.TensorProduct(
            "2x0e+2x0e", "1x0e", "2x0e",
            [(0, 0, 0, "uvu", True), (1, 0, 0, "uvu", True)],
            shared_weights=False, internal_weights=False), "share an output block"),
    ],
)  # fmt: skip
def test_what_cannot_be_fused_is_refused(product, reason):
    with quiet_library():
        made = product()
    with pytest.raises(NotFusable, match=reason):
        read_layout(made)
