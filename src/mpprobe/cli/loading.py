"""Models that are compared with reference data, and long runs that go on where they stopped."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mpprobe.activations import Journal, journal_beside
from mpprobe.cli.console import note
from mpprobe.models.potential import Potential
from mpprobe.models.registry import load, modals_of
from mpprobe.structures import Frame
from mpprobe.targets.reference import reference_of


def load_models(
    names: Sequence[str],
    frames: Sequence[Frame],
    quiet: bool,
    *,
    modal: str | None,
    **options: Any,
) -> list[Potential]:
    """Every model with the same options; fidelities as the structures' functional asks.

    Raises:
        ModelError: see :func:`mpprobe.load`.
    """
    return [load(name, modal=_modal(name, modal, frames, quiet), **options) for name in names]


def _modal(name: str, modal: str | None, frames: Sequence[Frame], quiet: bool) -> str | None:
    """The fidelity for one of the models: as asked for, or that of the structures' functional."""
    modals = modals_of(name)
    if modals is None:  # a file may have some; loading it says so
        return modal
    functionals = {str(frame.atoms.info.get("xc")) for frame in frames}
    if modals and modal is None and len(functionals) == 1:
        same = [m for m in modals if m.lower() == min(functionals).lower()]
        if same:
            note(f"{name}: fidelity {same[0]}, the functional of the structures", quiet)
            return same[0]
    return modal if modals else None


def with_forces(frames: Sequence[Frame], name: str) -> list[Frame]:
    """The structures with the reference forces of that name as ``forces``, where others look.

    Raises:
        StructureError: a structure has none of another name than ``forces``.
    """
    if name == "forces":
        return list(frames)
    made = []
    for frame in frames:
        atoms = frame.atoms.copy()
        atoms.arrays["forces"] = reference_of(frame, name).forces
        made.append(replace(frame, atoms=atoms))
    return made


def comparison(potentials: Sequence[Potential], frames: Sequence[Frame]) -> str:
    """What is going to be compared, in a line."""
    domains = ", ".join(dict.fromkeys(frame.domain for frame in frames))
    return (
        f"{', '.join(p.name for p in potentials)}; {len(frames)} structures of "
        f"{sum(map(len, frames)):,} atoms; domains {domains}"
    )


@contextlib.contextmanager
def unfinished(output: Path, plan: Any, quiet: bool) -> Iterator[Journal]:
    """What a run with the same plan, potential and device left of this output when it stopped.

    Raises:
        StoreError: see :func:`journal_beside`.
    """
    where = {"dtype": str(plan.potential.dtype), "device": str(plan.potential.device)}
    with journal_beside(output, {**plan.provenance, **where}) as journal:
        if journal.found:
            note(f"going on: {journal.found} parts of a run that was stopped are there", quiet)
        yield journal
