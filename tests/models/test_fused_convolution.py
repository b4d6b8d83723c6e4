"""The fused convolution against the product it stands for, and its derivatives."""

import numpy as np
import pytest
import torch
from test_fused_layout import uvu

from mpprobe.models.fused import kernels as compiled
from mpprobe.models.fused import pairs as pairs_module
from mpprobe.models.fused.convolution import Convolution
from mpprobe.models.fused.layout import read_layout
from mpprobe.models.fused.pairs import Pairs, every_edge, pair_up

IRREPS, SH = "3x0e+2x1o+2x2e", "1x0e+1x1o+1x2e"
N_NODES = 5


@pytest.fixture(scope="module")
def product():
    return uvu(IRREPS, SH).double()


@pytest.fixture(scope="module")
def convolution(product):
    return Convolution(*read_layout(product))


def some_pairs(seed=0, n_pairs=9, one_sided=2):
    """A graph with pairs both ways, a few one way only, and a node that nothing reaches."""
    rng = np.random.default_rng(seed)
    ends = rng.integers(0, N_NODES - 1, size=(2, n_pairs))
    sides = np.full(n_pairs, 2)
    sides[:one_sided] = 1
    return Pairs(N_NODES, np.arange(n_pairs), ends[0], ends[1], sides)


def arguments(product, pairs, hidden=4, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = [
        (N_NODES, product.irreps_in1.dim),
        (len(pairs.edges), product.irreps_in2.dim),
        (len(pairs.edges), hidden),
        (hidden, product.weight_numel),
    ]
    return [torch.randn(*shape, generator=generator, dtype=dtype) for shape in shapes]


def to_component_major(x, irreps):
    blocks = [
        x[:, piece].reshape(len(x), mul, ir.dim).transpose(1, 2).flatten(1)
        for (mul, ir), piece in zip(irreps, irreps.slices(), strict=True)
    ]
    return torch.cat(blocks, 1)


def upstream(product, pairs, x, sh, weights):
    """Messages as e3nn gives them, edge by edge, rearranged by irrep."""
    parity = torch.cat([torch.full((ir.dim,), (-1.0) ** ir.l) for _, ir in product.irreps_in2])
    total = torch.zeros(N_NODES, product.irreps_out.dim, dtype=x.dtype)
    for p, (i, j, sides) in enumerate(zip(pairs.first, pairs.second, pairs.sides, strict=True)):
        total[i] += product(x[j][None], sh[p][None], weights[p][None])[0]
        if sides == 2:
            total[j] += product(x[i][None], (sh[p] * parity)[None], weights[p][None])[0]
    by_irrep = {}
    for (mul, ir), piece in zip(product.irreps_out, product.irreps_out.slices(), strict=True):
        block = total[:, piece].reshape(N_NODES, mul, ir.dim).transpose(1, 2)
        by_irrep.setdefault(ir, []).append(block)
    return [torch.cat(blocks, 2) for blocks in by_irrep.values()]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("chunk", [1024, 4])
def test_messages_equal_upstreams(product, convolution, dtype, tolerance, chunk, monkeypatch):
    monkeypatch.setattr(pairs_module, "CHUNK", chunk)
    pairs = some_pairs()
    x, sh, hidden, matrix = arguments(product, pairs)
    expected = upstream(product, pairs, x, sh, hidden @ matrix)
    rows = to_component_major(x, product.irreps_in1)
    got = convolution(pairs, *(a.to(dtype) for a in (rows, sh, hidden, matrix)))
    for mine, theirs in zip(got, expected, strict=True):
        assert mine.dtype == dtype
        torch.testing.assert_close(mine.double(), theirs, atol=tolerance, rtol=tolerance)
    assert all(block[N_NODES - 1].abs().max() == 0 for block in got)  # nothing reaches it


def test_weights_can_be_given_as_they_are(product, convolution):
    pairs = some_pairs()
    x, sh, hidden, matrix = arguments(product, pairs)
    for a, b in zip(
        convolution(pairs, x, sh, hidden, matrix), convolution(pairs, x, sh, hidden @ matrix),
        strict=True,
    ):  # fmt: skip
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("with_matrix", [True, False])
def test_gradients_of_first_and_second_order(product, convolution, with_matrix):
    pairs = some_pairs()
    x, sh, hidden, matrix = arguments(product, pairs)
    if not with_matrix:
        hidden, matrix = hidden @ matrix, None
    inputs = [a.requires_grad_() for a in (x, sh, hidden)]

    def messages(x, sh, hidden):
        return convolution(pairs, x, sh, hidden, matrix)

    assert torch.autograd.gradcheck(messages, inputs)
    assert torch.autograd.gradgradcheck(messages, inputs)


def test_third_derivatives(convolution, product):
    """The messages are linear in each argument: of x alone, third derivatives are through Y, h."""
    pairs = some_pairs(n_pairs=3, one_sided=1)
    x, sh, hidden, matrix = arguments(product, pairs, hidden=2)
    inputs = [a.requires_grad_() for a in (x, sh, hidden)]

    def slope(*inputs):
        total = sum(block.sum() for block in convolution(pairs, *inputs, matrix))
        return torch.autograd.grad(total**2, inputs, create_graph=True)

    assert torch.autograd.gradgradcheck(slope, inputs)


def test_a_trained_matrix_gets_its_gradient(convolution, product):
    pairs = some_pairs()
    x, sh, hidden, matrix = arguments(product, pairs)
    matrix.requires_grad_()
    got = sum((b**2).sum() for b in convolution(pairs, x, sh, hidden, matrix))
    (gradient,) = torch.autograd.grad(got, matrix)
    rows = x
    step = torch.zeros_like(matrix)
    step[1, 2] = 1e-6
    plus, minus = (
        sum((b**2).sum() for b in convolution(pairs, rows, sh, hidden, matrix.detach() + s))
        for s in (step, -step)
    )
    assert gradient[1, 2].item() == pytest.approx((plus - minus).item() / 2e-6, rel=1e-6)


def test_any_number_of_threads(convolution, product, monkeypatch):
    monkeypatch.setattr(pairs_module, "PAIRS_PER_THREAD", 1)
    pairs = some_pairs(n_pairs=40)
    inputs = arguments(product, pairs)
    before = torch.get_num_threads()

    def both():
        x, sh, hidden, matrix = (a.clone().requires_grad_(k < 3) for k, a in enumerate(inputs))
        out = convolution(pairs, x, sh, hidden, matrix)
        return out, torch.autograd.grad(sum((b**2).sum() for b in out), (x, sh, hidden))

    try:
        results = []
        for n in (1, 2, 3, 64):
            torch.set_num_threads(n)
            results.append(both())
    finally:
        torch.set_num_threads(before)
    for out, gradients in results[1:]:
        for a, b in zip((*out, *gradients), (*results[0][0], *results[0][1]), strict=True):
            torch.testing.assert_close(a, b)


@pytest.mark.parametrize("n_threads", [1, 3])
def test_memory_is_used_again_once_nobody_holds_it(convolution, product, n_threads, monkeypatch):
    monkeypatch.setattr(pairs_module, "PAIRS_PER_THREAD", 1)
    pairs = some_pairs(n_pairs=40)
    inputs = arguments(product, pairs)
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        with torch.no_grad():
            first = convolution(pairs, *inputs)
            kept = [block.clone() for block in first]
            second = convolution(pairs, 2 * inputs[0], *inputs[1:])
            for a, b, c in zip(first, kept, second, strict=True):
                assert torch.equal(a, b)
                torch.testing.assert_close(2 * a, c)
            places = {block.data_ptr() for block in first}
            slices = [block[1:] for block in first]
            del first, a
            third = convolution(pairs, 3 * inputs[0], *inputs[1:])
            assert places.isdisjoint(block.data_ptr() for block in third)  # slices still hold it
            del slices
            fourth = convolution(pairs, *inputs)
    finally:
        torch.set_num_threads(before)
    assert {block.data_ptr() for block in fourth} == places
    for a, b in zip(fourth, kept, strict=True):
        torch.testing.assert_close(a, b)
        assert a[N_NODES - 1].abs().max() == 0  # nothing reaches it, whatever lay there


def test_no_edges(convolution, product):
    pairs = every_edge(np.zeros((2, 0), dtype=np.int64), N_NODES)
    x, sh, hidden, matrix = (a.requires_grad_() for a in arguments(product, pairs))
    out = convolution(pairs, x, sh, hidden, matrix.detach())
    assert all(block.abs().max() == 0 for block in out)
    (gradient,) = torch.autograd.grad(sum(b.sum() for b in out), x)
    assert gradient.abs().max() == 0


class TestPairs:
    def test_every_edge_is_half_of_one_pair(self, sevenn_0, ionic_cells):
        batch = sevenn_0.batch(ionic_cells)
        edges, shifts = batch.edge_index.numpy(), batch.unit_shifts.numpy()
        pairs = pair_up(edges, shifts, batch.n_atoms)
        assert (pairs.sides == 2).all()
        assert len(pairs.edges) * 2 == edges.shape[1]

        def named(i, j, shift):
            return [(*map(int, e),) for e in np.column_stack([i, j, shift])]

        i, j, shift = *edges[:, pairs.edges], shifts[pairs.edges]
        both = named(i, j, shift) + named(j, i, -shift)
        assert sorted(both) == sorted(named(*edges, shifts))

    def test_an_atom_and_its_own_images(self):
        edges = np.zeros((2, 4), dtype=np.int64)
        shifts = np.array([[1, 0, 0], [-1, 0, 0], [0, 2, -1], [0, -2, 1]])
        assert len(pair_up(edges, shifts, 1).edges) == 2

    def test_a_graph_with_an_edge_one_way_keeps_every_edge(self):
        edges, shifts = np.array([[0, 1, 0], [1, 0, 2]]), np.zeros((3, 3))
        pairs = pair_up(edges, shifts, 3)
        assert len(pairs.edges) == 3
        assert (pairs.sides == 1).all()

    @pytest.mark.parametrize("n_threads", [1, 2, 5])
    def test_threads_never_sum_into_the_same_row(
        self, sevenn_0, ionic_cells, n_threads, monkeypatch
    ):
        monkeypatch.setattr(pairs_module, "PAIRS_PER_THREAD", 1)
        batch = sevenn_0.batch(ionic_cells)
        pairs = pair_up(batch.edge_index.numpy(), batch.unit_shifts.numpy(), batch.n_atoms)
        work = pairs.shared_out(n_threads)
        rows = [{row for chunk in chunks for row in chunk.nodes.tolist()} for chunks in work.shares]
        assert len(rows) == n_threads
        assert sum(map(len, rows)) == len(set().union(*rows)) == work.n_rows - len(work.alone)
        # Ones summed at every edge are the number of edges, wherever they were summed.
        total = np.full(work.n_rows, np.nan)
        for chunk in (chunk for chunks in work.shares for chunk in chunks):
            sums = np.diff(chunk.ptr)
            total[chunk.nodes] = np.where(chunk.fresh, sums, total[chunk.nodes] + sums)
        work.gather(total)
        expected = np.bincount(batch.edge_index[0].numpy(), minlength=batch.n_atoms)
        np.testing.assert_array_equal(total[: batch.n_atoms], expected)

    def test_shares_are_runs_of_about_equal_weight(self):
        weights = np.append(0, np.cumsum(np.random.default_rng(0).integers(1, 9, size=1000)))
        shares = pairs_module.runs(weights, 7)
        assert [start for start, _ in shares] == [0, *(stop for _, stop in shares[:-1])]
        assert shares[-1][1] == 1000
        sizes = [weights[stop] - weights[start] for start, stop in shares]
        assert max(sizes) - min(sizes) <= 2 * 9
        assert pairs_module.runs(np.array([0, 3]), 64) == [(0, 1)]
        assert pairs_module.runs(np.array([0]), 2) == []


class TestCompiling:
    def test_a_cache_that_cannot_be_written_is_done_without(
        self, convolution, tmp_path, monkeypatch
    ):
        blocked = tmp_path / "file"
        blocked.write_text("not a folder")
        monkeypatch.setenv("MPPROBE_CACHE_DIR", str(blocked))
        kernels = compiled.kernels.__wrapped__(convolution.layout)
        assert callable(kernels.forward)
        assert blocked.read_text() == "not a folder"

    def test_the_text_in_the_cache_is_not_what_runs(self, convolution, tmp_path, monkeypatch):
        monkeypatch.setenv("MPPROBE_CACHE_DIR", str(tmp_path))
        compiled.kernels.__wrapped__(convolution.layout)
        (file,) = (tmp_path / "kernels").glob("*.py")
        good = file.read_text()
        file.write_text("raise SystemExit('ran the file')")
        assert callable(compiled.kernels.__wrapped__(convolution.layout).forward)
        assert file.read_text() == good

    def test_kernels_that_others_could_have_put_there_are_not_taken(
        self, convolution, tmp_path, monkeypatch
    ):
        """Numba unpickles them."""
        monkeypatch.setenv("MPPROBE_CACHE_DIR", str(tmp_path))
        assert compiled._write("text") is not None
        (tmp_path / "kernels").chmod(0o777)
        assert compiled._write("text") is not None
        assert (tmp_path / "kernels").stat().st_mode & 0o777 == 0o700
        us = compiled.os.geteuid()
        monkeypatch.setattr(compiled.os, "geteuid", lambda: us + 1)
        assert compiled._write("text") is None
        assert callable(compiled.kernels.__wrapped__(convolution.layout).forward)
