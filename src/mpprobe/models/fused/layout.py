"""What an e3nn ``uvu`` convolution computes, read off the module itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mpprobe.models.foreign import ForeignIrreps, ForeignModule

if TYPE_CHECKING:
    import torch

# Relative to a path's largest: smaller coefficients are zeros that rounding left behind.
ZERO = 1e-9


class NotFusable(Exception):  # noqa: N818 - not a user's error: the reference path is taken
    """Why a tensor product can't be fused."""


def check_cpu(device: torch.device) -> None:
    """Whether the kernels of this package can run.

    Raises:
        NotFusable: not on this device, or numba is missing.
    """
    if device.type != "cpu":
        raise NotFusable(f"it is for CPUs, and this model is on {device}")
    try:
        import numba  # noqa: F401 - whether it is there
    except ImportError:
        raise NotFusable("it needs numba, which isn't installed") from None


@dataclass(frozen=True)
class Block:
    """Consecutive channels of one irrep.

    Attributes:
        start: of the block within a row.
        mul: its channels.
        dim: its components, 2l + 1.
    """

    start: int
    mul: int
    dim: int

    @property
    def stop(self) -> int:
        return self.start + self.mul * self.dim


@dataclass(frozen=True)
class Path:
    """One path l₁ ⊗ l₂ → l₃ of the tensor product.

    Attributes:
        input: index of the block of node features.
        sh: index of the block of spherical harmonics.
        group: index of the group of output channels with the same irrep.
        channel: where its channels begin within that group.
        weight: where its weights begin in a row of radial weights.
        terms: the (m₁, m₂, m₃) whose coefficient isn't zero.
    """

    input: int
    sh: int
    group: int
    channel: int
    weight: int
    terms: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class Layout:
    """The shape of a convolution: all that its compiled kernel depends on.

    Rows of node features and of messages are component-major: within a block, all channels of the
    first component, then all of the second, and so on, so that the kernel's innermost loop runs
    over channels that lie side by side. Output channels of one irrep form one group.

    Attributes:
        inputs: blocks of node features.
        sh: blocks of spherical harmonics, one channel each.
        groups: blocks of output, one for each irrep.
        outputs: for each of e3nn's output blocks, in its order: its group and first channel there,
            and its channels.
        paths: in e3nn's order.
        n_weights: radial weights an edge.
    """

    inputs: tuple[Block, ...]
    sh: tuple[Block, ...]
    groups: tuple[Block, ...]
    outputs: tuple[tuple[int, int, int], ...]
    paths: tuple[Path, ...]
    n_weights: int

    @property
    def input_dim(self) -> int:
        return self.inputs[-1].stop

    @property
    def sh_dim(self) -> int:
        return self.sh[-1].stop

    @property
    def output_dim(self) -> int:
        return self.groups[-1].stop

    def parities(self) -> np.ndarray:
        """What Y(−r) = (−1)^l Y(r) makes of each block: rows for r and for −r."""
        signs = [(-1.0) ** ((block.dim - 1) // 2) for block in self.sh]
        return np.array([[1.0] * len(signs), signs])


def read_layout(product: ForeignModule) -> tuple[Layout, np.ndarray]:
    """Layout of an e3nn ``TensorProduct``, and the coefficients of its terms in order.

    The coefficients (Clebsch–Gordan times path normalisation) are measured by feeding the module
    unit vectors, so that they are its own whatever version of e3nn wrote it: signs of
    Clebsch–Gordan triples have changed between versions.

    Raises:
        NotFusable: it isn't a ``uvu`` product with one weight a path and channel, given from
            outside, and one spherical harmonic for each l.
    """
    _check(product)
    inputs = _blocks(product.irreps_in1)
    sh = _blocks(product.irreps_in2)
    groups, outputs = _groups(product.irreps_out)
    measured = _unit_responses(product, inputs)
    paths, coefficients, weight = [], [], 0
    for ins, piece in zip(product.instructions, _output_slices(product), strict=True):
        couplings = measured[ins.i_in1][:, sh[ins.i_in2].start : sh[ins.i_in2].stop, piece]
        terms = np.argwhere(np.abs(couplings) > ZERO * np.abs(couplings).max())
        group, channel, _ = outputs[ins.i_out]
        paths.append(
            Path(ins.i_in1, ins.i_in2, group, channel, weight,
                 tuple((int(a), int(b), int(c)) for a, b, c in terms))
        )  # fmt: skip
        coefficients += [couplings[tuple(term)] for term in terms]
        weight += inputs[ins.i_in1].mul
    return Layout(inputs, sh, groups, outputs, tuple(paths), weight), np.array(coefficients)


def _check(product: ForeignModule) -> None:
    instructions = product.instructions
    if any(ins.connection_mode != "uvu" or not ins.has_weight for ins in instructions):
        raise NotFusable("it has paths that aren't uvu with weights")
    if product.shared_weights or product.internal_weights:
        raise NotFusable("its weights are its own, not given for each edge")
    if any(mul != 1 for mul, _ in product.irreps_in2):
        raise NotFusable("it takes several spherical harmonics of one l")
    if len({ins.i_out for ins in instructions}) != len(product.irreps_out):
        raise NotFusable("its paths and output blocks don't match one to one")
    if len(instructions) != len(product.irreps_out):
        raise NotFusable("several of its paths share an output block")


def _blocks(irreps: ForeignIrreps) -> tuple[Block, ...]:
    return tuple(
        Block(piece.start, mul, ir.dim)
        for (mul, ir), piece in zip(irreps, irreps.slices(), strict=True)
    )


def _groups(irreps: ForeignIrreps) -> tuple[tuple[Block, ...], tuple[tuple[int, int, int], ...]]:
    """Groups of output channels by irrep, and where each of e3nn's blocks is in them."""
    width: dict[Any, int] = {}
    outputs = []
    for mul, ir in irreps:
        first = width.setdefault(ir, 0)
        outputs.append((list(width).index(ir), first, mul))
        width[ir] += mul
    groups, start = [], 0
    for ir, mul in width.items():
        groups.append(Block(start, mul, ir.dim))
        start = groups[-1].stop
    return tuple(groups), tuple(outputs)


def _output_slices(product: ForeignModule) -> list[slice]:
    """The components of the first channel of each path's output."""
    slices = product.irreps_out.slices()
    return [
        slice(slices[ins.i_out].start, slices[ins.i_out].start + product.irreps_out[ins.i_out].dim
              // product.irreps_out[ins.i_out].mul)
        for ins in product.instructions
    ]  # fmt: skip


def _unit_responses(product: ForeignModule, inputs: tuple[Block, ...]) -> list[np.ndarray]:
    """For each input block: response (m₁, m₂, output) of its first channel to unit vectors."""
    import torch

    tensor = next(product.buffers(), torch.empty(0))
    like: dict[str, Any] = {"dtype": tensor.dtype, "device": tensor.device}
    unit_sh = torch.eye(product.irreps_in2.dim, **like)
    responses = []
    for block in inputs:
        rows = torch.zeros(block.dim, product.irreps_in1.dim, **like)
        rows[torch.arange(block.dim), torch.arange(block.start, block.start + block.dim)] = 1.0
        left = rows.repeat_interleave(len(unit_sh), dim=0)
        right = unit_sh.repeat(block.dim, 1)
        weights = torch.ones(len(left), product.weight_numel, **like)
        with torch.no_grad():
            response = product(left, right, weights)
        responses.append(
            response.reshape(block.dim, len(unit_sh), -1).to("cpu", torch.float64).numpy()
        )
    return responses
