"""What was measured, as tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

#: What each ratio is to reach: at least so much, or at most.
GOALS = {
    "extract_vs_batched": (">=", 8.0),
    "extract_vs_ase": (">=", 15.0),
    "energy_forces_vs_ase": (">=", 5.0),
    "layer2_vs_all": (">=", 1.8),
    "hook_overhead": ("<=", 0.03),
    "probe_fit_vs_ridgecv": (">=", 10.0),
    "over_floor": ("", 0.0),
}


def show(results: Mapping[str, Any]) -> None:
    """Print all timings, then memory, then the ratios with their goals."""
    console = Console(width=120, highlight=False)
    for title, timings in _timings(results["measured"]):
        console.print(_timing_table(title, timings))
    memory = {
        f"{part}, {name}": peak
        for part, measured in results["measured"].items()
        for name, peak in measured.get("peak_memory", {}).items()
    }
    if memory:
        console.print(_memory_table(memory))
    console.print(_ratio_table(results["ratios"], results["other_ratios"]))


def reached(name: str, value: float) -> bool | None:
    """Whether a ratio is what it is to be; None where there is no goal."""
    sign, goal = GOALS.get(name, ("", 0.0))
    return {">=": value >= goal, "<=": value <= goal}.get(sign)


def _timings(measured: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every set of timings with a title, however deep it lies."""
    for name, value in measured.items():
        if not isinstance(value, Mapping):
            continue
        for key in ("timings", "ways_of_ridgecv"):
            if key in value:
                yield (name if key == "timings" else f"{name}, {key}"), value[key]
        inner = {f"{name}, {k}": v for k, v in value.items() if k != "timings"}
        yield from _timings(inner)


def _timing_table(title: str, timings: Mapping[str, Any]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("", min_width=44)
    for column in ("median (s)", "min", "IQR", "repeats", "CPU/wall", "atoms/s"):
        table.add_column(column, justify="right")
    for name, t in timings.items():
        seconds = [f"{t[key]:.4g}" for key in ("median_s", "min_s", "iqr_s")]
        rate = f"{t['atoms_per_s']:,.0f}" if "atoms_per_s" in t else ""
        table.add_row(name, *seconds, str(t["repeats"]), f"{t['cpu_per_wall']:.2f}", rate)
    return table


def _memory_table(memory: Mapping[str, Any]) -> Table:
    table = Table(title="peak anonymous memory (MiB)", title_justify="left")
    table.add_column("", min_width=44)
    table.add_column("in all", justify="right")
    table.add_column("above what was held before", justify="right")
    for name, peak in memory.items():
        table.add_row(name, f"{peak['peak_mib']:,.0f}", f"{peak['above_baseline_mib']:,.0f}")
    return table


def _ratio_table(ratios: Mapping[str, float], others: Mapping[str, float]) -> Table:
    table = Table(title="ratios", title_justify="left")
    table.add_column("", min_width=44)
    for column in ("measured", "goal", ""):
        table.add_column(column, justify="right")
    for name, value in ratios.items():
        sign, goal = GOALS[name]
        verdict = {None: "", True: "reached", False: "missed"}[reached(name, value)]
        table.add_row(name, f"{value:.3g}", f"{sign} {goal:g}" if sign else "", verdict)
    table.add_section()
    for name, value in others.items():
        table.add_row(name, f"{value:.3g}", "", "", style="dim")
    return table
