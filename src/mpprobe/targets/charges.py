"""Charges of the atoms: formal, from electronegativity equilibration, or stored with the data."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec

import numpy as np

from mpprobe.errors import TargetError
from mpprobe.structures import Frame
from mpprobe.targets.eeq import eeq_charges

#: Arrays taken as oxidation states, in this order.
FORMAL_ARRAYS = ("charge_formal", "formal_charges", "oxidation_states", "oxi_states")

#: Arrays taken as charges from a density-functional calculation, in this order.
DFT_ARRAYS = (
    "charge_dft",
    "dft_charges",
    "mbis_charges",
    "bader_charges",
    "bader_q",
    "hirshfeld_charges",
    "hirshfeld_q",
    "ddec6_charges",
    "cm5_charges",
    "loewdin_charges",
    "mulliken_charges",
    "charges",
)

#: Arrays taken as the electrostatic potential at the nuclei, in this order.
POTENTIAL_ARRAYS = (
    "potential_dft",
    "site_pot",
    "site_potential",
    "site_potentials",
    "electrostatic_potential",
    "electrostatic_potentials",
)

_PER_ATOM_RESULTS = ("forces", "charges", "energies", "magmoms", "stresses")


def per_atom_array(frame: Frame, name: str) -> np.ndarray:
    """The per-atom array ``name``: from ``atoms.arrays``, else among the stored results.

    ASE keeps some columns of extended XYZ, ``forces`` and ``charges`` for two, as results of a
    calculation.

    Returns:
        float64, shape (n_atoms,) or (n_atoms, k).

    Raises:
        TargetError: no such array, or not one of numbers.
    """
    available = _per_atom_arrays(frame)
    if name not in available:
        raise TargetError(
            f"{frame.source}: no per-atom array {name!r}; there are {', '.join(sorted(available))}"
        )
    values = np.asarray(available[name])
    if values.dtype.kind not in "biuf":
        raise TargetError(f"{frame.source}: the per-atom array {name!r} does not hold numbers")
    values = values.astype(np.float64)
    return values[:, 0] if values.shape[1:] == (1,) else values


def scalar_array(frame: Frame, name: str) -> np.ndarray:
    """:func:`per_atom_array` if it holds one number an atom; else a TargetError."""
    values = per_atom_array(frame, name)
    if values.ndim != 1:
        raise TargetError(
            f"{frame.source}: the array {name!r} has shape {values.shape}, not one number an atom"
        )
    return values


def first_array(frame: Frame, names: tuple[str, ...], what: str) -> np.ndarray:
    """The first of ``names`` that ``frame`` has, shape (n_atoms,); a TargetError if none."""
    available = _per_atom_arrays(frame)
    for name in names:
        if name in available:
            return scalar_array(frame, name)
    raise TargetError(f"{frame.source}: no {what}; add one of the arrays {', '.join(names)}")


def charges_of(frame: Frame, source: str) -> np.ndarray:
    """Charges in e, shape (n_atoms,), from ``formal``, ``eeq``, ``dft`` or an array's name.

    Raises:
        TargetError: the structure can't supply them.
    """
    if source in CHARGE_SOURCES:
        return CHARGE_SOURCES[source](frame)
    return scalar_array(frame, source)


def formal_charges(frame: Frame) -> np.ndarray:
    """Oxidation states in e, shape (n_atoms,).

    From the first of :data:`FORMAL_ARRAYS` the structure has; else its initial charges, if any is
    not zero; else guessed from its composition by pymatgen, where that is installed, one state
    (maybe an average) for each species.

    Raises:
        TargetError: none of these gives charges, or all are zero.
    """
    available = _per_atom_arrays(frame)
    if any(name in available for name in FORMAL_ARRAYS):
        charges = first_array(frame, FORMAL_ARRAYS, "formal charges")
    elif np.any(available.get("initial_charges", 0)):
        charges = scalar_array(frame, "initial_charges")
    else:
        charges = _guessed_charges(frame)
    if not charges.any():
        raise TargetError(
            f"{frame.source}: all its formal charges are zero, so it has no Coulomb potential; "
            "use eeq charges or leave it out"
        )
    return charges


def dft_charges(frame: Frame) -> np.ndarray:
    """Charges stored with the structure in e, shape (n_atoms,): the first of :data:`DFT_ARRAYS`."""
    return first_array(frame, DFT_ARRAYS, "charges from DFT")


def dft_potential(frame: Frame) -> np.ndarray:
    """Stored potential at the nuclei in V, sign as stored, less its mean over the atoms.

    Shape (n_atoms,). It is known only up to a constant a structure. The array is the first of
    :data:`POTENTIAL_ARRAYS`.
    """
    potential = first_array(frame, POTENTIAL_ARRAYS, "potential from DFT")
    return potential - potential.mean()


CHARGE_SOURCES: dict[str, Callable[[Frame], np.ndarray]] = {
    "formal": formal_charges,
    "eeq": eeq_charges,
    "dft": dft_charges,
}


def _per_atom_arrays(frame: Frame) -> dict[str, np.ndarray]:
    results = frame.atoms.calc.results if frame.atoms.calc is not None else {}
    per_atom = {name: results[name] for name in _PER_ATOM_RESULTS if name in results}
    return per_atom | frame.atoms.arrays


def _guessed_charges(frame: Frame) -> np.ndarray:
    formula = frame.atoms.get_chemical_formula(empirical=True)
    can_guess = find_spec("pymatgen") is not None
    states = _guessed_states(formula) if can_guess else {}
    if not states:
        reason = f"none guessed for {formula}" if can_guess else "none stored"
        more = "" if can_guess else ", or let pymatgen guess them (pip install pymatgen)"
        raise TargetError(
            f"{frame.source}: no formal charges ({reason}); take eeq charges, as in "
            f"potential@eeq, add the per-atom array charge_formal{more}"
        )
    return np.array([float(states[symbol]) for symbol in frame.atoms.symbols])


@lru_cache(maxsize=256)
def _guessed_states(formula: str) -> dict[str, float]:
    """The likeliest oxidation state of each element of a neutral compound; empty if none."""
    from pymatgen.core import Composition

    return next(iter(Composition(formula).oxi_state_guesses()), {})
