"""Medians over interleaved repeats: every contender is met by the same moods of the machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np


class Run(NamedTuple):
    """One timed run: seconds by the clock, and seconds of processor time of all threads."""

    wall: float
    cpu: float


class Runnable(Protocol):
    """What is timed: ``warm_up`` once, then ``run`` again and again."""

    atoms: int

    def warm_up(self, least: float) -> None: ...

    def run(self) -> Run: ...


@dataclass
class Contender:
    """A function timed in this process.

    Attributes:
        call: does the work once.
        atoms: that one call deals with.
        number: calls in one timed run, set by ``warm_up``.
    """

    call: Callable[[], object]
    atoms: int
    number: int = 1

    def warm_up(self, least: float) -> None:
        """Compile and fill caches, then see how many calls fill ``least`` seconds.

        Two calls come first: TorchScript, which e3nn uses, watches one before it optimises.
        """
        self.call()
        self.call()
        started = time.perf_counter()
        self.call()
        self.number = max(1, round(least / max(time.perf_counter() - started, 1e-6)))

    def run(self) -> Run:
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(self.number):
            self.call()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        return Run(wall / self.number, cpu / self.number)


@dataclass(frozen=True)
class Timing:
    """What the repeats of one contender gave.

    Attributes:
        runs: of one call each, in the order in which they were made.
        atoms: that one call deals with.
    """

    runs: tuple[Run, ...]
    atoms: int = 0
    walls: np.ndarray = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "walls", np.array([run.wall for run in self.runs]))

    @property
    def median(self) -> float:
        return float(np.median(self.walls))

    @property
    def rate(self) -> float:
        """Atoms a second, by the median."""
        return self.atoms / self.median

    def summary(self) -> dict[str, float | int]:
        """As it goes into results.json; lengths of time in seconds."""
        low, high = np.percentile(self.walls, [25, 75])
        result = {
            "median_s": self.median,
            "min_s": float(self.walls.min()),
            "iqr_s": float(high - low),
            "repeats": len(self.runs),
            "cpu_per_wall": sum(run.cpu for run in self.runs) / float(self.walls.sum()),
        }
        if self.atoms:
            result |= {"atoms": self.atoms, "atoms_per_s": self.rate}
        return result


def interleaved(
    contenders: Mapping[str, Runnable], repeats: int, least: float | None, seed: int = 0
) -> dict[str, Timing]:
    """Time every contender once a repeat, in an order drawn anew for each repeat.

    Args:
        contenders: by name.
        repeats: runs of each.
        least: seconds that a timed run takes at least, for which quick contenders are called
            several times. All are warmed up before any is timed; None leaves that out.
        seed: of the orders.
    """
    if least is not None:
        for contender in contenders.values():
            contender.warm_up(least)
    rng = np.random.default_rng(seed)
    runs: dict[str, list[Run]] = {name: [] for name in contenders}
    names = list(contenders)
    for _ in range(repeats):
        for index in rng.permutation(len(names)):
            name = names[index]
            runs[name].append(contenders[name].run())
    return {name: Timing(tuple(runs[name]), contenders[name].atoms) for name in names}


def paired_ratio(above: Timing, below: Timing) -> float:
    """Median over the repeats of above / below: what both share in a repeat drops out."""
    return float(np.median(above.walls / below.walls))


def best(timings: Mapping[str, Timing], names: Sequence[str]) -> str:
    """The name with most atoms a second."""
    return max(names, key=lambda name: timings[name].rate)
