"""Where the work of a study is done: in this process, or wherever an executor sends it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Executor(Protocol):
    """All that a study asks of it: a function mapped over items.

    Functions, items and results are pickled where workers are other processes; rows of features
    are then read from files, in a folder that the workers see under the same path.

    Attributes:
        in_process: whether the work is done here, one item after the other.
    """

    in_process: bool

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Results in the order of the items, whichever is done first."""
        ...


class Serial:
    """One item after the other, in this process."""

    in_process = True

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """As :meth:`Executor.map`; an item is taken when its result is asked for."""
        return map(function, items)


#: What is used where no other executor is given.
SERIAL = Serial()
