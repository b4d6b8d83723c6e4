"""The fused convolution as a torch operation with derivatives of every order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from mpprobe.models.fused.kernels import kernels, shares
from mpprobe.models.fused.layout import Layout
from mpprobe.models.fused.pairs import Chunk, Pairs
from mpprobe.models.threads import in_own_threads


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
        hidden: torch.Tensor,
        matrix: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, ...]:
        """Messages by irrep: one tensor (n_nodes, 2l + 1, channels) for each group."""
        if matrix is not None and matrix.requires_grad and torch.is_grad_enabled():
            hidden, matrix = hidden @ matrix, None
        return _Messages.apply(self, pairs, matrix, x, sh, hidden)

    def messages(self, pairs, matrix, x, sh, hidden) -> tuple[torch.Tensor, ...]:
        """The kernel ``forward`` on every chunk."""
        kernel = kernels(self.layout).forward
        groups = self.layout.groups
        outs = [x.new_zeros(pairs.n_nodes, group.dim, group.mul) for group in groups]
        c, signs, x_, sh_ = self._arrays(x, sh)
        out = [o.numpy() for o in outs]

        def run(chunk: Chunk, w: np.ndarray, start: int, stop: int) -> None:
            kernel(x_, sh_[chunk.rows], w, c, signs, chunk.nodes, chunk.ptr, chunk.source,
                   chunk.row, chunk.side, start, stop, *out)  # fmt: skip

        for chunk, w in _weights(pairs, hidden, matrix):
            work = shares(chunk.ptr, torch.get_num_threads())
            in_own_threads(run, [(chunk, w.numpy(), *share) for share in work])
        return tuple(outs)

    def gradients(self, pairs, matrix, x, sh, hidden, grads) -> tuple[torch.Tensor, ...]:
        """The kernel ``backward`` on every chunk: gradients of x, sh and hidden."""
        kernel = kernels(self.layout).backward
        c, signs, x_, sh_ = self._arrays(x, sh)
        g = torch.cat([grad.flatten(1) for grad in grads], dim=1).numpy()
        n_threads = torch.get_num_threads()
        # Pairs share nodes, so each thread sums into an array of its own.
        gx = x.new_zeros(n_threads, *x.shape)
        gsh, gh = torch.empty_like(sh), torch.empty_like(hidden)
        gx_, gsh_ = gx.numpy(), gsh.numpy()
        buffer = _buffer(pairs, hidden, matrix)

        def run(chunk: Chunk, w, gw, thread: int, start: int, stop: int) -> None:
            kernel(x_, sh_[chunk.rows], w, g, c, signs, chunk.first, chunk.second, chunk.sides,
                   start, stop, gx_[thread], gsh_[chunk.rows], gw)  # fmt: skip

        for chunk, w in _weights(pairs, hidden, matrix):
            gw = gh[chunk.rows] if matrix is None else buffer[: len(w)]
            work = shares(chunk.edges_before, n_threads)
            in_own_threads(
                run, [(chunk, w.numpy(), gw.numpy(), t, *s) for t, s in enumerate(work)]
            )  # fmt: skip
            if matrix is not None:
                _multiply(gw, matrix.T, gh[chunk.rows])
        return gx.sum(dim=0) if n_threads > 1 else gx[0], gsh, gh

    def _arrays(self, x: torch.Tensor, sh: torch.Tensor) -> tuple[np.ndarray, ...]:
        x_, sh_ = x.numpy(), sh.numpy()
        return self.coefficients.astype(x_.dtype), self.layout.parities().astype(x_.dtype), x_, sh_


def _weights(
    pairs: Pairs, hidden: torch.Tensor, matrix: torch.Tensor | None
) -> Iterator[tuple[Chunk, torch.Tensor]]:
    """Each chunk with its radial weights, which share one piece of memory."""
    buffer = _buffer(pairs, hidden, matrix)
    for chunk in pairs.chunks(torch.get_num_threads()):
        weights = hidden[chunk.rows]
        if matrix is not None:
            weights = _multiply(weights, matrix, buffer[: len(weights)])
        yield chunk, weights


def _buffer(pairs: Pairs, hidden: torch.Tensor, matrix: torch.Tensor | None) -> torch.Tensor | None:
    """Room for the weights of the longest chunk."""
    if matrix is None:
        return None
    chunks = pairs.chunks(torch.get_num_threads())
    longest = max((len(chunk.first) for chunk in chunks), default=0)
    return hidden.new_empty(longest, matrix.shape[1])


def _multiply(rows: torch.Tensor, matrix: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    """``rows @ matrix`` into ``out``, shared out among threads.

    They are the kernels' own threads: those of the BLAS have gone to sleep by now, and wake late.
    """

    def multiply(start: int, stop: int) -> None:
        torch.mm(rows[start:stop], matrix, out=out[start:stop])

    in_own_threads(multiply, shares(np.arange(len(rows) + 1), torch.get_num_threads()))
    return out


class _Messages(torch.autograd.Function):
    """T(x, Y, h), the messages."""

    @staticmethod
    def forward(ctx, convolution, pairs, matrix, x, sh, hidden):
        x, sh, hidden = x.contiguous(), sh.contiguous(), hidden.contiguous()
        ctx.constants = convolution, pairs, matrix
        ctx.save_for_backward(x, sh, hidden)
        return convolution.messages(pairs, matrix, x.detach(), sh.detach(), hidden.detach())

    @staticmethod
    def backward(ctx, *grads):
        return None, None, None, *_Gradients.apply(*ctx.constants, *ctx.saved_tensors, *grads)


class _Gradients(torch.autograd.Function):
    """The gradients (g·∂T/∂x, g·∂T/∂Y, g·∂T/∂h), themselves differentiable.

    T is linear in each argument, so for vectors v along the three gradients the derivatives of
    ⟨v, gradients⟩ = ⟨g, T(v_x, Y, h) + T(x, v_Y, h) + T(x, Y, v_h)⟩ are made of the same two
    operations.
    """

    @staticmethod
    def forward(ctx, convolution, pairs, matrix, x, sh, hidden, *grads):
        ctx.constants = convolution, pairs, matrix
        ctx.save_for_backward(x, sh, hidden, *grads)
        return convolution.gradients(
            pairs, matrix, x.detach(), sh.detach(), hidden.detach(), [g.detach() for g in grads]
        )

    @staticmethod
    def backward(ctx, vx, vsh, vh):
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
