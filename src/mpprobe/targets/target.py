"""A target: one per-atom quantity, its unit, how it turns, and the function that computes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from mpprobe.errors import TargetError
from mpprobe.structures import Frame, as_frames

#: (frame, the model's cutoff in Å or None) -> (n_atoms,) for l = 0, (n_atoms, 3) for l = 1.
TargetFunction = Callable[[Frame, "float | None"], np.ndarray]

#: Share of a target's largest value below which differences are rounding.
ROUNDING = 1e-9


@dataclass(frozen=True)
class Target:
    """A per-atom quantity that a probe is asked to find.

    Attributes:
        name: canonical, such as ``potential@eeq``.
        unit: of the values: ``e``, ``V``, ``V/Å`` or the user's.
        l: 0 for a number, 1 for a vector.
        function: (frame, cutoff in Å or None) -> shape (n_atoms,) for l = 0, and for l = 1
            Cartesian x, y, z, shape (n_atoms, 3).
        description: one line, with the charges and the boundary condition where there are any.
        needs_cutoff: whether the function depends on the model's cutoff.
        resolution: differences up to this, in ``unit``, are rounding of the function.
        charges: the charges whose potential or field it is, as :func:`mpprobe.targets.charges_of`
            takes them; None where it is of none.
    """

    name: str
    unit: str
    l: int
    function: TargetFunction
    description: str
    needs_cutoff: bool = False
    resolution: float = 0.0
    charges: str | None = None

    def values(
        self, frames: Atoms | Frame | Sequence[Atoms | Frame], cutoff: float | None = None
    ) -> list[np.ndarray]:
        """The target for each frame.

        Args:
            frames: structures.
            cutoff: the model's cutoff in Å; only needed where ``needs_cutoff``.

        Returns:
            In ``unit``, float64, one array a frame: (n_atoms,) for l = 0, (n_atoms, 3) for l = 1.

        Raises:
            TargetError: a frame can't supply it, or the values have the wrong shape or aren't
                finite. The message names the frame.
        """
        if self.needs_cutoff and cutoff is None:
            raise TargetError(f"the target {self.name} needs the model's cutoff in Å; pass cutoff")
        return [self._checked(frame, cutoff) for frame in as_frames(frames)]

    def _checked(self, frame: Frame, cutoff: float | None) -> np.ndarray:
        values = np.asarray(self.function(frame, cutoff), dtype=np.float64)
        shape = (len(frame), 3) if self.l else (len(frame),)
        if values.shape != shape:
            raise TargetError(
                f"{frame.source}: the target {self.name} has shape {values.shape}, not {shape} "
                f"as its l = {self.l} asks"
            )
        finite = np.isfinite(values).reshape(len(frame), -1).all(axis=1)
        if not finite.all():
            raise TargetError(
                f"{frame.source}: the target {self.name} is not finite at atom "
                f"{np.argmin(finite)}; mend its input or leave the structure out"
            )
        return values


def constant_within_species(
    values: np.ndarray, species: np.ndarray, resolution: float = 0.0
) -> bool:
    """Whether a target is trivial given the species: one value for every atom of a species.

    One value is what differs by less than a millionth of the spread over all atoms, or by rounding.

    Args:
        values: of the target, (n_atoms,) or (n_atoms, 2l+1).
        species: of each atom, (n_atoms,).
        resolution: of the target, in its unit.
    """
    least = max(1e-6 * float(np.ptp(values, axis=0).max()), rounding(values, resolution))
    return all(np.ptp(values[species == z], axis=0).max() <= least for z in np.unique(species))


def rounding(values: np.ndarray, resolution: float = 0.0) -> float:
    """Differences up to this, in the target's unit, are none.

    They are those of the target's ``resolution``, and those in the last digits of its values,
    which a large offset leaves few of.
    """
    return max(ROUNDING * float(np.abs(values).max()), resolution)
