"""The potential at a site cut into shells as wide as a model's cutoff.

A message-passing layer reaches one cutoff r_c farther than the one before. Shell k is what atoms
between (k−1) r_c and k r_c contribute,

    φ_i^(k) = Σ_j q_j/(4πε0 r_ij) w_k(r_ij),   w_k = s_{k−1} − s_k,   s_0 = 1,

where the switch s_k rises smoothly (a quintic, flat to second order at both ends) from 0 at
k r_c − 0.5 Å to 1 at k r_c + 0.5 Å. The windows add up to 1, so the shells add up to the
potential, and shell 1 and the rest beyond it do, exactly. Charges aren't screened or made neutral
within a shell, so in a crystal single shells are large, of either sign, and cancel slowly.
"""

from __future__ import annotations

import numpy as np

from mpprobe.errors import TargetError
from mpprobe.structures import Frame
from mpprobe.targets.boxes import box_of, pairs
from mpprobe.targets.electrostatics import COULOMB, site_potential

#: Å, on either side of a shell's edge.
HALF_WIDTH = 0.5


def window(distances: np.ndarray, shell: int, cutoff: float) -> np.ndarray:
    """Weight w_k of shell k = ``shell`` ≥ 1 at ``distances`` (Å), between 0 and 1.

    ``cutoff`` is r_c in Å, more than the 1 Å over which an edge is smoothed.
    """
    outer = _switch(distances, shell * cutoff)
    inner = _switch(distances, (shell - 1) * cutoff) if shell > 1 else 1.0
    return inner - outer


def shell_potential(
    frame: Frame, charges: np.ndarray, shell: int, cutoff: float | None
) -> np.ndarray:
    """The part φ_i^(k) of each atom's potential that comes from shell k.

    Args:
        frame: the structure; periodic images count along its periodic directions.
        charges: e, shape (n_atoms,).
        shell: k ≥ 1.
        cutoff: the model's r_c in Å.

    Returns:
        V, shape (n_atoms,).

    Raises:
        TargetError: no cutoff, or one too short for the windows.
    """
    cutoff = _checked(cutoff)
    i, j, vectors = pairs(box_of(frame), shell * cutoff + HALF_WIDTH)
    distances = np.linalg.norm(vectors, axis=1)
    weights = charges[j] / distances * window(distances, shell, cutoff)
    return COULOMB * np.bincount(i, weights, minlength=len(charges))


def potential_beyond(frame: Frame, charges: np.ndarray, cutoff: float | None) -> np.ndarray:
    """Each atom's potential less shell 1, in V, shape (n_atoms,); as :func:`shell_potential`."""
    return site_potential(frame, charges) - shell_potential(frame, charges, 1, cutoff)


def _switch(distances: np.ndarray, edge: float) -> np.ndarray:
    t = np.clip((distances - edge) / (2 * HALF_WIDTH) + 0.5, 0, 1)
    return t**3 * (10 - 15 * t + 6 * t**2)


def _checked(cutoff: float | None) -> float:
    if cutoff is None or not cutoff > 2 * HALF_WIDTH:
        raise TargetError(
            f"shells of the potential need a cutoff above {2 * HALF_WIDTH:g} Å, got {cutoff}; "
            "pass the model's"
        )
    return cutoff
