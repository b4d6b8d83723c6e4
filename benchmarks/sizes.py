"""How much is measured: the whole in about a quarter of an hour, or a quick look."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """Sizes of all measurements.

    Attributes:
        least: seconds that a timed run takes at least.
        cells, repeats: 64-atom cells a timed run, and timed runs of every contender.
        times_over: how often mpprobe's fast path is given those cells in a timed run.
        batch_sizes: cells in one of upstream's forward passes.
        dense: repeats of the same for MgO, with half the cells; 0 leaves it out.
        pairs: repeats of the forward pass with and without hooks.
        mace_cells, mace_repeats: the same for MACE.
        fit_rows, fit_width, fit_repeats: of the probe fit; scikit-learn is timed once a repeat too.
        memory_rows: rows at which the probe fit's peak memory is taken.
        growth_cells: 64-atom cells in runs of growing length.
        growth_repeat: unit cells along each edge of growing cells (8 · repeat³ atoms); all runs
            have as many atoms as the largest.
        growth_repeats: timed runs of each.
        one_off: take what needs many processes of their own: peak memory of extraction, first use.
        kernel_repeat: unit cells along each edge of the cell that the two kernels are timed on.
    """

    least: float = 0.4
    cells: int = 8
    repeats: int = 5
    times_over: int = 4
    batch_sizes: tuple[int, ...] = (1, 2, 4, 8)
    dense: int = 0
    pairs: int = 25
    mace_cells: int = 8
    mace_repeats: int = 5
    fit_rows: int = 200_000
    fit_width: int = 480
    fit_repeats: int = 1
    memory_rows: tuple[int, ...] = (70_000, 280_000, 1_120_000)
    growth_cells: tuple[int, ...] = (8, 32, 128)
    growth_repeat: tuple[int, ...] = (2, 4, 8)
    growth_repeats: int = 5
    kernel_repeat: int = 4
    one_off: bool = True


FULL = Sizes()
QUICK = Sizes(
    least=0.05,
    cells=1,
    repeats=2,
    times_over=1,
    batch_sizes=(1,),
    dense=0,
    pairs=3,
    mace_cells=1,
    mace_repeats=2,
    fit_rows=4_000,
    fit_width=64,
    fit_repeats=1,
    memory_rows=(4_000, 16_000),
    growth_cells=(1, 4),
    growth_repeat=(2, 4),
    growth_repeats=2,
    kernel_repeat=2,
    one_off=False,
)
