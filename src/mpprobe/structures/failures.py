"""Structures that can't be used, set aside with the reason instead of stopping at the first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from ase import Atoms

from mpprobe.errors import MissingPackageError, MPProbeError, is_out_of_memory
from mpprobe.structures.check import check
from mpprobe.structures.frame import Frame, as_frames

#: The stages at which every command may leave a structure out.
READ, CHECK = "read", "check"
#: The file that lists them, beside the results.
FILE = "failures.csv"
#: Atoms that are tried together; one by one only where that fails.
TOGETHER = 500

#: Raises an error of mpprobe's where one of the structures can't be used.
Attempt = Callable[[list[Frame]], object]


@dataclass(frozen=True)
class Failure:
    """Why one structure, or all of a file that can't be read, is left out.

    Attributes:
        source: ``file@index``, or the file.
        stage: what was tried: ``read``, ``check``, or as the caller of :func:`usable` calls it.
        error: what is wrong, in one line, without the source.
        advice: what to do; empty where the message has none.
    """

    source: str
    stage: str
    error: str
    advice: str

    @classmethod
    def of(cls, source: str, stage: str, message: str) -> Failure:
        """Of an error's message, ``SOURCE: what is wrong; what to do``."""
        text = " ".join(message.split()).removeprefix(f"{source}: ")
        what, _, advice = text.rpartition("; ")
        return cls(source, stage, what or text, advice if what else "")

    def __str__(self) -> str:
        return f"{self.source}: {self.error}" + (f"; {self.advice}" if self.advice else "")


def usable(
    structures: Atoms | Frame | Iterable[Atoms | Frame],
    attempts: Mapping[str, Attempt] | None = None,
    *,
    species: Iterable[int | str] | None = None,
    cutoff: float | None = None,
    needs_ewald: bool = False,
) -> tuple[list[Frame], list[Failure]]:
    """Part structures into those that can be used and those that can't.

    Args:
        structures: any number.
        attempts: what else to try, by stage: functions of a list of frames that raise an
            :class:`~mpprobe.errors.MPProbeError` where one can't be used, such as
            ``{"target": lambda frames: get_target("field").values(frames)}``. They are called with
            some frames at a time, and where that raises with each of them alone. One that
            passes alone is usable.
        species, cutoff, needs_ewald: as in :func:`~mpprobe.structures.check.check`, which is
            tried first.

    Returns:
        The usable frames and the failures, each in the order of the structures.

    Raises:
        StructureError: ``species`` holds something that is not an element.
        MissingPackageError: an attempt needs a package that isn't installed.
    """
    species = None if species is None else tuple(species)
    look = partial(check, species=species, cutoff=cutoff, needs_ewald=needs_ewald)
    look([])  # raises where the fault is the caller's
    left = list(enumerate(as_frames(structures)))
    failed: dict[int, Failure] = {}
    tried: list[tuple[str, Attempt]] = [(CHECK, look), *(attempts or {}).items()]
    for stage, attempt in tried:
        for numbered in list(_together(left)):
            failed |= _failures(stage, attempt, numbered)
        left = [(i, frame) for i, frame in left if i not in failed]
    return [frame for _, frame in left], [failed[i] for i in sorted(failed)]


def _together(numbered: Sequence[tuple[int, Frame]]) -> Iterator[list[tuple[int, Frame]]]:
    """Consecutive frames with at most :data:`TOGETHER` atoms, or one frame."""
    part: list[tuple[int, Frame]] = []
    for i, frame in numbered:
        if part and sum(len(f) for _, f in part) + len(frame) > TOGETHER:
            yield part
            part = []
        part.append((i, frame))
    if part:
        yield part


def _failures(
    stage: str, attempt: Attempt, numbered: Sequence[tuple[int, Frame]]
) -> dict[int, Failure]:
    """Which of the frames fail, each tried alone where all together do."""
    message = _message(attempt, [frame for _, frame in numbered])
    if message is None:
        return {}
    if len(numbered) == 1:
        ((i, frame),) = numbered
        return {i: Failure.of(frame.source, stage, message)}
    failed: dict[int, Failure] = {}
    for one in numbered:
        failed |= _failures(stage, attempt, [one])
    return failed


def _message(attempt: Attempt, frames: list[Frame]) -> str | None:
    """What an attempt says is wrong; None if nothing is."""
    try:
        attempt(frames)
    except MissingPackageError:
        raise
    except MPProbeError as error:
        return str(error)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return "needs more memory than there is; leave it out, or use a machine with more"
    return None
