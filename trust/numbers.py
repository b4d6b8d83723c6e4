"""Degenerate input, precision, threads, batches, and what must not change a result."""

from __future__ import annotations

from collections.abc import Iterator

from trust.outcome import Outcome, by_tests

_AGREEMENT = "tests/agreement/test_agreement.py"
_INVARIANCE = "tests/invariance/test_invariance.py"
_SUPERCELL = "tests/invariance/test_supercell.py"
_NO_CUDA = "CUDA: not tried, there is none here"
#: Transformations by what the rows call them.
_DESCRIPTIONS = {
    "rotation": "turned with their vectors",
    "quarter": "turned by quarter turns (with means over force components)",
    "permutation": "their atoms in another order",
    "origin": "another origin, wrapped",
    "cell": "other lattice vectors",
}


def check(quick: bool) -> Iterator[Outcome]:
    """Every outcome of this part."""
    if quick:
        yield by_tests(
            "degenerate input, other computations, other descriptions: the quick ones", "numbers",
            ["tests/degenerate", _AGREEMENT, _INVARIANCE, _SUPERCELL],
            "-m", "not slow and not gpu and not download",
        )  # fmt: skip
        return
    yield from _degenerate()
    yield from _agreement()
    for change, what in _DESCRIPTIONS.items():
        yield by_tests(
            f"structures described otherwise: {what}", "numbers", [_INVARIANCE], "-k", change
        )
    yield by_tests("structures repeated: per atom the same", "numbers", [_SUPERCELL])


def _degenerate() -> Iterator[Outcome]:
    """Input of which something is missing or isn't a number."""
    tests = {
        "not_finite": "NaN and infinity are named with structure and layer",
        "degenerate_rows": "features and targets of which nothing is left, against plain fits",
        "degenerate_sets": "sets without a species, a group, a fold: a result or one line",
    }
    for name, what in tests.items():
        yield by_tests(what, "cases", [f"tests/degenerate/test_{name}.py"])


def _agreement() -> Iterator[Outcome]:
    """The same tables computed in other ways."""
    import torch

    ways = {
        "test_float64": "float32 against float64",
        "test_one_thread": "one thread against two",
        "test_batches": "batches of one structure, some, all",
        "test_the_plain_path or test_a_store": "fused against plain, stored against computed",
    }
    for chosen, what in ways.items():
        yield by_tests(f"tables agree: {what}", "numbers", [_AGREEMENT], "-k", chosen)
    yield by_tests("tables agree: Dask workers against this process", "studies",
                   ["tests/scale/test_study_on_dask.py"])  # fmt: skip
    yield by_tests("what is wrong is seen: a layer off by a hundredth, another seed", "models",
                   [_AGREEMENT], "-k", "Wrong")  # fmt: skip
    if torch.cuda.is_available():
        yield by_tests("tables agree: CUDA against CPU", "numbers", [_AGREEMENT], "-m", "gpu")
    else:
        yield Outcome("tables agree: CUDA against CPU", 0, "numbers", note=_NO_CUDA)
