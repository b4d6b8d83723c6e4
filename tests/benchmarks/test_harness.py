"""The benchmarks' own arithmetic, their results file, and that a quick run goes through."""

from __future__ import annotations

import json
import mmap
import sys
import time
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    """The benchmarks are run from the repository's root and are not installed."""
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.fixture
def timing():
    from benchmarks import timing

    return timing


class Scripted:
    """Takes the seconds that it is told to, and notes when it was run."""

    atoms = 100

    def __init__(self, run, seconds, log=None):
        self._run, self.seconds, self.log = run, iter(seconds), [] if log is None else log
        self.warmed = 0

    def warm_up(self, least):
        self.warmed += 1
        self.log.append("warm")

    def run(self):
        self.log.append(self)
        wall = next(self.seconds)
        return self._run(wall, wall / 2)


def test_summary_is_of_the_repeats(timing):
    runs = tuple(timing.Run(wall, 2 * wall) for wall in (4.0, 1.0, 2.0, 3.0, 10.0))
    summary = timing.Timing(runs, atoms=30).summary()
    assert summary == {
        "median_s": 3.0, "min_s": 1.0, "iqr_s": 2.0, "repeats": 5, "cpu_per_wall": 2.0,
        "atoms": 30, "atoms_per_s": 10.0,
    }  # fmt: skip


def test_every_repeat_runs_each_once_in_changing_order_after_all_are_warm(timing):
    log = []
    contenders = {name: Scripted(timing.Run, [1.0] * 20, log) for name in "abc"}
    timings = timing.interleaved(contenders, 20, least=0.1)
    assert log[:3] == ["warm"] * 3
    rounds = [tuple(log[i : i + 3]) for i in range(3, len(log), 3)]
    assert all(len({*r}) == 3 for r in rounds)
    assert len({*rounds}) > 1
    assert {len(t.runs) for t in timings.values()} == {20}


def test_without_a_least_time_nothing_is_warmed_up(timing):
    scripted = Scripted(timing.Run, [1.0])
    timing.interleaved({"a": scripted}, 1, None)
    assert not scripted.warmed


def test_a_slow_spell_drops_out_of_paired_ratios(timing):
    moods = [1.0, 5.0, 1.0, 7.0]
    above, below = (
        timing.Timing(tuple(timing.Run(s * mood, 0.0) for mood in moods)) for s in (3.0, 2.0)
    )
    assert timing.paired_ratio(above, below) == pytest.approx(1.5)


def test_quick_contenders_are_called_until_the_time_is_filled(timing):
    calls = []
    contender = timing.Contender(lambda: (calls.append(1), time.sleep(0.005)), atoms=1)
    contender.warm_up(0.05)
    assert 2 < contender.number <= 10
    before = len(calls)
    run = contender.run()
    assert len(calls) - before == contender.number
    assert 0.005 <= run.wall < 0.05  # of one call
    assert run.cpu < run.wall  # it sleeps


def test_goals_are_told_reached_from_missed():
    from benchmarks.tables import reached

    assert reached("extract_vs_batched", 8.0)
    assert not reached("extract_vs_batched", 7.9)
    assert reached("hook_overhead", -0.01)
    assert not reached("hook_overhead", 0.04)
    assert reached("over_floor", 2.0) is None


def test_peak_memory_sees_arrays_but_not_mapped_files(tmp_path):
    if sys.platform != "linux":
        pytest.skip("RssAnon is Linux's")
    from benchmarks.memory import peak

    file = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float64, (4 << 20,))
    file[:] = 1.0

    def hold():
        """Pages that nothing in this process had before, unlike memory from malloc."""
        with mmap.mmap(-1, 64 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as pages:
            for _ in range(64):
                pages.write(bytes(1 << 20))
            time.sleep(0.05)

    held = peak(hold)
    mapped = peak(lambda: (file.sum(), time.sleep(0.05)))  # 32 MiB
    assert 60 < held["above_baseline_mib"] < 90
    assert mapped["above_baseline_mib"] < 10


def test_the_probe_fit_agrees_with_scikit_learn(tmp_path):
    from benchmarks.fitting import Problem, check_agreement, write

    write(tmp_path / "x.npy", 1280, 16)
    problem = Problem.open(tmp_path / "x.npy", 1280)
    assert check_agreement(problem) < 1e-5
    assert np.corrcoef(problem.ridgecv(), problem.solve().predictions[:, 0])[0, 1] > 0.999


def test_the_cpp_text_has_the_loops_of_the_numba_text(sevenn_0):
    from benchmarks.kernel_cpp import cpp_source

    from mpprobe.models.fused.layout import read_layout
    from mpprobe.models.fused.source import kernel_source

    layout, _ = read_layout(sevenn_0.module._modules["1_convolution"].convolution)
    cpp = cpp_source(layout)
    python = kernel_source(layout).split("def backward")[0]
    assert cpp.count("{") == cpp.count("}")
    assert cpp.count("for (int64_t ") == python.count("for ")
    assert cpp.count("+=") == python.count("+=")


@pytest.mark.slow
def test_a_quick_run_goes_through_and_writes_what_is_promised(tmp_path, capsys):
    pytest.importorskip("mace")
    from benchmarks import __main__

    output = tmp_path / "results.json"
    __main__.main(["--quick", "--output", str(output)])
    results = json.loads(output.read_text())
    assert set(results["ratios"]) == {
        "extract_vs_batched", "extract_vs_ase", "energy_forces_vs_ase", "layer2_vs_all",
        "hook_overhead", "probe_fit_vs_ridgecv", "over_floor",
    }  # fmt: skip
    assert all(np.isfinite(value) for value in results["ratios"].values())
    assert set(results) >= {"machine", "versions", "date", "sizes", "load_of_others", "measured"}
    assert "mpprobe" in results["versions"]
    assert set(results["measured"]) == set(__main__.PARTS)
    assert "extract_vs_batched" in capsys.readouterr().out
