"""Force constants of a potential, exactly, a row at a time: Hessian–vector products."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from ase import Atoms

from mpprobe.activations.finite import check_result
from mpprobe.errors import StructureError
from mpprobe.models.potential import Potential
from mpprobe.structures import Frame, as_frames

#: Called with what is done, how much of it, and how much there is.
Progress = Callable[[str, int, int], None]


def force_constants(
    potential: Potential,
    structure: Atoms | Frame,
    atoms: Sequence[int] | None = None,
    progress: Progress | None = None,
) -> np.ndarray:
    """K_ij = ∂²E/∂r_i∂r_j = −∂F_j/∂r_i, the second derivatives of the energy.

    Each row is one more backward pass through the graph of the forces. In a periodic structure atom
    j stands for all its images, as it does where a supercell's force constants are finite
    differences.

    Args:
        potential: from :func:`mpprobe.load`.
        structure: where the derivatives are taken, whatever the forces there.
        atoms: indices i; all if not given.
        progress: called after every row.

    Returns:
        eV/Å², (len(atoms), 3, n_atoms, 3), float64: atom i and its axis, atom j and its axis.

    Raises:
        StructureError: no such atom.
        ModelError: an element that the potential doesn't know, or a derivative that isn't finite.
    """
    import torch

    (frame,) = as_frames(structure)
    chosen = list(range(len(frame)) if atoms is None else atoms)
    check_atoms(frame, chosen)
    batch = potential.batch(frame)
    batch.positions.requires_grad_()
    forces = potential.run(batch, forces=True, keep_graph=True).forces
    check_result(potential, frame, "forces", forces.detach().cpu().numpy())
    rows = np.empty((len(chosen), 3, len(frame), 3))
    for k, (row, axis) in enumerate(np.ndindex(len(chosen), 3)):
        (gradient,) = torch.autograd.grad(
            -forces[chosen[row], axis], batch.positions, retain_graph=True, allow_unused=True,
            materialize_grads=True,
        )  # fmt: skip
        rows[row, axis] = gradient.cpu().numpy()
        if progress is not None:
            progress(f"force constants of {potential.name}", k + 1, 3 * len(chosen))
    check_result(potential, frame, "force constants", rows)
    return rows


def check_atoms(frame: Frame, atoms: Sequence[int]) -> None:
    """Refuse indices that a structure doesn't have.

    Raises:
        StructureError: names the first.
    """
    wrong = [i for i in atoms if not 0 <= i < len(frame)]
    if wrong:
        raise StructureError(
            f"{frame.source}: there is no atom {wrong[0]}; it has atoms 0 to {len(frame) - 1}"
        )


def pair_shares(
    potential: Potential,
    structure: Atoms | Frame,
    pairs: Sequence[tuple[int, int]],
    directions: np.ndarray,
    progress: Progress | None = None,
) -> np.ndarray:
    """On which sites the force constant of a pair sits: u·∂²E_k/∂r_i∂r_j·u for every site k.

    E = Σ_k E_k, so that the parts add up to u·K_ij·u, exactly. With energies weighted by w_k, K_ij
    is linear in the weights, and its derivative by them is what is asked for.

    Args:
        potential: from :func:`mpprobe.load`.
        structure: where the derivatives are taken.
        pairs: indices (i, j).
        directions: u of each pair, (len(pairs), 3).
        progress: called after every pair.

    Returns:
        eV/Å², (len(pairs), n_atoms), float64.

    Raises:
        StructureError: no such atom.
        ModelError: an element that the potential doesn't know, or a derivative that isn't finite.
    """
    import torch

    (frame,) = as_frames(structure)
    check_atoms(frame, [i for pair in pairs for i in pair])
    batch = potential.batch(frame)
    batch.positions.requires_grad_()
    site = potential.run(batch, keep_graph=True).site_energies
    check_result(potential, frame, "an energy", site.detach().cpu().numpy())
    weights = torch.ones_like(site, requires_grad=True)
    along = torch.as_tensor(np.asarray(directions)).to(batch.positions)

    def derivative(of: torch.Tensor, by: torch.Tensor, again: bool = True) -> torch.Tensor:
        return torch.autograd.grad(
            of, by, create_graph=again, retain_graph=True, allow_unused=True, materialize_grads=True
        )[0]

    gradient = derivative((weights * site).sum(), batch.positions)
    found = np.empty((len(pairs), len(frame)))
    for p, (i, j) in enumerate(pairs):
        row = derivative(gradient[i] @ along[p], batch.positions)
        found[p] = derivative(row[j] @ along[p], weights, again=False).cpu().numpy()
        check_result(potential, frame, "force constants", found[p])
        if progress is not None:
            progress(f"sites of pairs in {potential.name}", p + 1, len(pairs))
    return found
