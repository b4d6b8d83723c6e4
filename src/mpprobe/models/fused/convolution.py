"""The fused convolution as a torch operation with derivatives of every order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mpprobe.models.fused.kernels import kernels
from mpprobe.models.fused.layout import Layout
from mpprobe.models.fused.pairs import Chunk, Chunks, Pairs
from mpprobe.models.threads import in_own_threads

#: Gives some rows of a tensor.
Rows = Callable[[slice], torch.Tensor]


@dataclass(frozen=True, eq=False)
class Convolution:
    """m_i = Σ_j Σ_paths w(r_ij) · (x_j ⊗ Y(r_ij)), summed over edges that i receives along.

    With x (n_nodes, input_dim) component-major, Y (n_pairs, sh_dim), and weights w = h W made
    chunk by chunk from h (n_pairs, hidden) and W (hidden, n_weights); with W None, h are the
    weights. The result is linear in each of x, Y and h, which its derivatives make use of.

    Attributes:
        layout: of rows and paths.
        coefficients: of the paths' terms, float64.
    """

    layout: Layout
    coefficients: np.ndarray

    def __call__(
        self,
        pairs: Pairs,
        x: torch.Tensor,
        sh: torch.Tensor,
        hidden: torch.Tensor | Rows,
        matrix: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, ...]:
        """Messages by irrep: one tensor (n_nodes, 2l + 1, channels) for each group.

        Without gradients ``hidden`` may be a function that gives some of its rows.
        """
        if not torch.is_grad_enabled():
            rows = hidden if callable(hidden) else hidden.__getitem__
            return self.messages(pairs, matrix, x.contiguous(), sh.contiguous(), rows)
        if isinstance(hidden, torch.Tensor) and matrix is not None and matrix.requires_grad:
            hidden, matrix = hidden @ matrix, None
        return _Messages.apply(self, pairs, matrix, x, sh, hidden)

    def messages(
        self,
        pairs: Pairs,
        matrix: torch.Tensor | None,
        x: torch.Tensor,
        sh: torch.Tensor,
        hidden: Rows,
    ) -> tuple[torch.Tensor, ...]:
        """The kernel ``forward``: every thread goes through chunks of its own."""
        kernel = kernels(self.layout).forward
        work = pairs.shared_out(torch.get_num_threads())
        c, signs, x_, sh_ = self._arrays(x, sh)
        shapes = [(work.n_rows, group.dim, group.mul) for group in self.layout.groups]
        outs = work.room.empty(shapes, x.dtype)
        out = [o.numpy() for o in outs]

        def run(chunks: Chunks) -> None:
            for chunk, w in _weights(chunks, hidden, matrix):
                kernel(x_, sh_[chunk.rows], w.numpy(), c, signs, chunk.nodes, chunk.ptr,
                       chunk.fresh, chunk.source, chunk.row, chunk.side, *out)  # fmt: skip

        in_own_threads(run, [(chunks,) for chunks in work.shares])
        in_own_threads(work.gather, [(o,) for o in out])
        return tuple(o[: pairs.n_nodes] for o in outs)

    def gradients(
        self,
        pairs: Pairs,
        matrix: torch.Tensor | None,
        x: torch.Tensor,
        sh: torch.Tensor,
        hidden: torch.Tensor,
        grads: Sequence[torch.Tensor],
    ) -> tuple[torch.Tensor, ...]:
        """The kernel ``backward`` in the same way: gradients of x, sh and hidden."""
        kernel = kernels(self.layout).backward
        work = pairs.shared_out(torch.get_num_threads())
        c, signs, x_, sh_ = self._arrays(x, sh)
        g = torch.cat([grad.flatten(1) for grad in grads], dim=1).numpy()
        # Pairs share nodes, so each thread sums into an array of its own.
        gx = np.zeros((len(work.shares), *x.shape), x_.dtype)
        gsh, gh = torch.empty_like(sh), torch.empty_like(hidden)
        gsh_ = gsh.numpy()

        def run(thread: int, chunks: Chunks) -> None:
            buffer = _buffer(chunks, matrix)
            for chunk, w in _weights(chunks, hidden.__getitem__, matrix):
                gw = gh[chunk.rows] if matrix is None else buffer[: len(w)]
                kernel(x_, sh_[chunk.rows], w.numpy(), g, c, signs, chunk.first, chunk.second,
                       chunk.sides, gx[thread], gsh_[chunk.rows], gw.numpy())  # fmt: skip
                if matrix is not None:
                    torch.mm(gw, matrix.T, out=gh[chunk.rows])

        in_own_threads(run, list(enumerate(work.shares)))
        return torch.from_numpy(gx[0] if len(gx) == 1 else gx.sum(axis=0)), gsh, gh

    def _arrays(self, x: torch.Tensor, sh: torch.Tensor) -> tuple[np.ndarray, ...]:
        x_, sh_ = x.numpy(), sh.numpy()
        return self.coefficients.astype(x_.dtype), self.layout.parities().astype(x_.dtype), x_, sh_


def _weights(
    chunks: Chunks, hidden: Rows, matrix: torch.Tensor | None
) -> Iterator[tuple[Chunk, torch.Tensor]]:
    """Each chunk with its radial weights, which share one piece of memory."""
    buffer = _buffer(chunks, matrix)
    for chunk in chunks:
        weights = hidden(chunk.rows)
        if matrix is not None:
            weights = torch.mm(weights, matrix, out=buffer[: len(weights)])
        yield chunk, weights


def _buffer(chunks: Chunks, matrix: torch.Tensor | None) -> torch.Tensor:
    """Room for the weights of the longest chunk, none where they needn't be made."""
    if matrix is None:
        return torch.empty(0)
    return matrix.new_empty(max(len(chunk.first) for chunk in chunks), matrix.shape[1])


class _Messages(torch.autograd.Function):
    """T(x, Y, h), the messages."""

    @staticmethod
    def forward(
        ctx: Any,
        convolution: Convolution,
        pairs: Pairs,
        matrix: torch.Tensor | None,
        x: torch.Tensor,
        sh: torch.Tensor,
        hidden: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        x, sh, hidden = x.contiguous(), sh.contiguous(), hidden.contiguous()
        ctx.constants = convolution, pairs, matrix
        ctx.save_for_backward(x, sh, hidden)
        return convolution.messages(
            pairs, matrix, x.detach(), sh.detach(), hidden.detach().__getitem__
        )

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[Any, ...]:
        return None, None, None, *_Gradients.apply(*ctx.constants, *ctx.saved_tensors, *grads)


class _Gradients(torch.autograd.Function):
    """The gradients (g·∂T/∂x, g·∂T/∂Y, g·∂T/∂h), themselves differentiable.

    T is linear in each argument, so for vectors v along the three gradients the derivatives of
    ⟨v, gradients⟩ = ⟨g, T(v_x, Y, h) + T(x, v_Y, h) + T(x, Y, v_h)⟩ are made of the same two
    operations.
    """

    @staticmethod
    def forward(
        ctx: Any,
        convolution: Convolution,
        pairs: Pairs,
        matrix: torch.Tensor | None,
        x: torch.Tensor,
        sh: torch.Tensor,
        hidden: torch.Tensor,
        *grads: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        ctx.constants = convolution, pairs, matrix
        ctx.save_for_backward(x, sh, hidden, *grads)
        return convolution.gradients(
            pairs, matrix, x.detach(), sh.detach(), hidden.detach(), [g.detach() for g in grads]
        )

    @staticmethod
    def backward(
        ctx: Any, vx: torch.Tensor, vsh: torch.Tensor, vh: torch.Tensor
    ) -> tuple[Any, ...]:
        x, sh, hidden, *grads = ctx.saved_tensors
        inputs, vectors = (x, sh, hidden), (vx, vsh, vh)
        totals = [0.0] * (3 + len(grads))
        for changed in range(3):
            arguments = [vectors[k] if k == changed else inputs[k] for k in range(3)]
            parts = [*_Gradients.apply(*ctx.constants, *arguments, *grads)]
            parts[changed] = 0.0  # the derivative by an argument that isn't there
            parts += _Messages.apply(*ctx.constants, *arguments)
            totals = [total + part for total, part in zip(totals, parts, strict=True)]
        return None, None, None, *totals
