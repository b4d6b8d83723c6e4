"""The structures that a command is given: the first bad one stops it, or all bad ones are left out.

What is left out is decided before anything is computed from the rest: what can't be read, what
fails the check for the model, what has no reference or no target, and last what the model gives no
finite numbers for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from mpprobe.activations import run_through
from mpprobe.cli import DONE, LEFT_OUT
from mpprobe.cli.completion import ON_ERROR
from mpprobe.cli.console import note
from mpprobe.cli.loading import with_forces
from mpprobe.cli.options import parse_labels
from mpprobe.errors import MPProbeError, StructureError
from mpprobe.files import replacing
from mpprobe.models.controls import models_of
from mpprobe.models.potential import Potential
from mpprobe.structures import Failure, Frame, check, read, usable
from mpprobe.structures.failures import CHECK, FILE, Attempt
from mpprobe.targets import get_target
from mpprobe.targets.reference import reference_forces, reference_of

#: Stages at which a structure fails, beside those of :mod:`mpprobe.structures.failures`.
REFERENCE, TARGET, MODEL = "reference", "target", "model"


class _Plan(Protocol):
    @property
    def frames(self) -> list[Frame]: ...


Planned = TypeVar("Planned", bound=_Plan)


class Given:
    """Structures from ``--structures``, with what ``--on-error`` says is done about bad ones.

    Args:
        on_error: ``stop`` or ``skip``.

    Attributes:
        failures: what has been left out so far.
        n: structures that were given; a file that can't be read counts as one.

    Raises:
        MPProbeError: ``on_error`` is neither.
    """

    def __init__(self, on_error: str) -> None:
        if on_error not in ON_ERROR:
            raise MPProbeError(f"--on-error {on_error}: choose one of {', '.join(ON_ERROR)}")
        self.skip = on_error == "skip"
        self.failures: list[Failure] = []
        self.n = 0

    def read(
        self, structures: list[str], label: list[str] | None, limit: int | None, seed: int
    ) -> list[Frame]:
        """The frames that can be read.

        Raises:
            StructureError: see :func:`mpprobe.read`.
        """
        failures = self.failures if self.skip else None
        frames = read(
            structures, labels=parse_labels(label), limit=limit, seed=seed, failures=failures
        )
        self.n = len(frames) + len(self.failures)
        return frames

    def with_forces(self, frames: list[Frame], forces: str, *, needed: bool = False) -> list[Frame]:
        """The frames with the reference forces of that name as ``forces``, where others look.

        Args:
            frames: structures.
            forces: the per-atom array that holds them (eV/Å).
            needed: leave out those that have none even of that name; otherwise only those whose
                forces aren't numbers.

        Raises:
            StructureError: none is left; see :func:`mpprobe.cli.loading.with_forces`.
        """
        if needed or forces != "forces":
            frames = self.with_reference(frames, forces)
        elif self.skip:
            look = partial(_for_each, lambda frame: reference_forces([frame]))
            frames = self._left(frames, {REFERENCE: look})
        return with_forces(frames, forces)

    def with_reference(
        self, frames: list[Frame], forces: str, energy: str = "energy"
    ) -> list[Frame]:
        """The frames with reference forces; all of them without ``--on-error skip``.

        Raises:
            StructureError: none is left.
        """
        if not self.skip:
            return frames
        look = partial(_for_each, lambda frame: reference_of(frame, forces, energy))
        return self._left(frames, {REFERENCE: look})

    def usable(
        self, frames: list[Frame], *potentials: Potential, targets: Sequence[str] = ()
    ) -> list[Frame]:
        """The frames that pass the check for every potential and have every target.

        Without ``--on-error skip`` all are returned: what comes after raises at the first bad one.

        Raises:
            MPProbeError: none is left, or there is no such target.
        """
        if not self.skip:
            return frames
        attempts: dict[str, Attempt] = {}
        for p in potentials:
            stage = CHECK if len(potentials) == 1 else f"{CHECK} for {p.name}"
            attempts[stage] = partial(check, species=p.species, cutoff=p.cutoff)
        for name in targets:
            get_target(name)  # raises where the fault isn't a structure's
            attempts[f"{TARGET} {name}"] = partial(_values, name, potentials[0].cutoff)
        return self._left(frames, attempts)

    def runnable(self, frames: list[Frame], run: Callable[[list[Frame]], object]) -> list[Frame]:
        """The frames for which ``run``, which runs the models, gives finite numbers.

        Raises:
            StructureError: none is left.
        """
        return self._left(frames, {MODEL: run}) if self.skip else frames

    def tried(
        self,
        plan: Planned,
        make: Callable[[list[Frame]], Planned],
        potential: Potential,
        *,
        random_weights: bool = True,
        seed: int = 0,
        max_atoms: int | None = None,
        **what: Any,
    ) -> Planned:
        """The plan, made again without the structures that the models give no finite numbers for.

        Args:
            plan, make: the plan of some frames, and what makes one.
            potential, random_weights, seed: the models, see :func:`models_of`.
            max_atoms: most atoms in one forward pass.
            what: ``layers`` and ``forces``, see :func:`mpprobe.activations.run_through`.
        """
        if not self.skip:
            return plan
        models = [model for _, model in models_of(potential, random_weights, seed)]
        frames = self.runnable(
            plan.frames, lambda part: run_through(models, part, max_atoms=max_atoms, **what)
        )
        return plan if len(frames) == len(plan.frames) else make(frames)

    def mark(self, provenance: dict[str, Any]) -> None:
        """Put what was left out into a result's provenance, from where files and tables have it."""
        if self.skip:
            provenance["left_out"] = {
                "given": self.n,
                "left_out": len(self.failures),
                "failures": [asdict(failure) for failure in self.failures],
            }

    def list_in(self, folder: Path) -> None:
        """Write ``failures.csv`` into a folder that results are added to bit by bit, a store."""
        if not self.failures:
            (folder / FILE).unlink(missing_ok=True)
            return
        from mpprobe.report.files import write_failures

        with replacing(folder / FILE) as part:
            write_failures(part, [asdict(failure) for failure in self.failures])

    def close(self, *, written: bool = True, quiet: bool = False) -> int:
        """Say on stderr what was left out, and return the exit code.

        Args:
            written: whether a file lists it; else the first is named.
            quiet: say nothing.
        """
        if not self.failures:
            return DONE
        listed = f"listed in {FILE}" if written else f"the first: {self.failures[0]}"
        note(f"{len(self.failures)} of {self.n} structures left out, {listed}", quiet)
        return LEFT_OUT

    def _left(self, frames: list[Frame], attempts: dict[str, Attempt]) -> list[Frame]:
        frames, failures = usable(frames, attempts)
        self.failures += failures
        if not frames:
            raise StructureError(
                f"none of the {self.n} structures can be used; the first: {self.failures[0]}"
            )
        return frames


def _for_each(function: Callable[[Frame], object], frames: Sequence[Frame]) -> None:
    """Call a function for every frame, for what it raises."""
    for frame in frames:
        function(frame)


def _values(target: str, cutoff: float, frames: list[Frame]) -> None:
    get_target(target, frames).values(frames, cutoff)
