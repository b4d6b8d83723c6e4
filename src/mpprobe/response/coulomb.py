"""Force constants of point charges, and how far those of a model follow them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mpprobe.probes.intervals import with_intervals
from mpprobe.probes.scores import Bootstrap, totals_by_group
from mpprobe.structures import Frame
from mpprobe.targets.electrostatics import site_field

if TYPE_CHECKING:
    import pandas as pd

# Å by which an atom is displaced both ways: the error is of second order, about 1e-6.
_STEP = 5e-3
# Exponents among which that of the decay is sought.
_EXPONENTS = np.linspace(-6.0, 18.0, 481)
# Rounds in which charges settle; each halves the error at least.
_ROUNDS = 60
# Relative change of the charges in the last round above which they haven't.
_SETTLED = 1e-6


def unit_charge_constants(frame: Frame, atoms: Sequence[int]) -> np.ndarray:
    """K_ij of unit charges at r_i and r_j, each with all its images: ∂²(1/4πε0 r_ij)/∂r_i∂r_j.

    The boundary condition is that of :mod:`mpprobe.targets.electrostatics`; without periodicity
    this is the dipole–dipole form (δ − 3 r̂ r̂)/r³. Central differences of the field at j of a
    charge at i alone.

    Args:
        frame: the structure.
        atoms: indices i.

    Returns:
        eV/Å², (len(atoms), 3, n_atoms, 3); zero for i itself.

    Raises:
        TargetError: a structure that the sum can't take.
    """
    found = np.zeros((len(atoms), 3, len(frame), 3))
    for k, i in enumerate(atoms):
        charges = np.zeros(len(frame))
        charges[i] = 1.0
        for axis in range(3):
            fields = []
            for sign in (1, -1):
                moved = frame.atoms.copy()
                moved.positions[i, axis] += sign * _STEP
                fields.append(site_field(replace(frame, atoms=moved), charges))
            found[k, axis] = -(fields[0] - fields[1]) / (2 * _STEP)
        found[k, :, i] = 0.0
    return found


def pair_table(
    frame: Frame,
    atoms: Sequence[int],
    model: np.ndarray,
    unit: np.ndarray,
    charges: np.ndarray,
    nearest: float,
) -> pd.DataFrame:
    """A row for each pair farther apart than ``nearest``, with what :func:`coulomb_fit` needs.

    Args:
        frame: the structure.
        atoms: indices i.
        model, unit: force constants of a model and of unit charges, (len(atoms), 3, n_atoms, 3).
        charges: formal charges in e, (n_atoms,).
        nearest: Å.

    Returns:
        ``i``, ``j``, ``species``, ``other`` (symbols), ``charge_i``, ``charge_j`` (e), ``distance``
        (Å, to the nearest image of j); K of the model and T of unit charges as K·T, T·T and K·K
        summed over components (``KT``, ``TT``, ``KK``), and their components along the line
        between the atoms and, on average, across it: ``K_along``, ``T_along``, ``K_across``,
        ``T_across`` (eV/Å²); ``on_axis``, whether that line is along the first lattice vector.
    """
    import pandas as pd

    symbols = np.array(frame.atoms.get_chemical_symbols())
    axis = frame.atoms.cell.array[0]
    axis = axis / (np.linalg.norm(axis) or 1.0)
    tables = []
    for k, i in enumerate(atoms):
        vectors = frame.atoms.get_distances(i, range(len(frame)), mic=True, vector=True)
        distance = np.linalg.norm(vectors, axis=1)
        far = np.flatnonzero(distance > nearest)
        line = vectors[far] / distance[far, None]
        K, T = (x[k][:, far].transpose(1, 0, 2) for x in (model, unit))
        along = {n: np.einsum("ja,jab,jb->j", line, x, line) for n, x in (("K", K), ("T", T))}
        across = {n: (np.trace(x, axis1=1, axis2=2) - along[n]) / 2
                  for n, x in (("K", K), ("T", T))}  # fmt: skip
        tables.append(pd.DataFrame({
            "i": i, "j": far, "species": symbols[i], "other": symbols[far],
            "charge_i": charges[i], "charge_j": charges[far], "distance": distance[far],
            **{a + b: np.einsum("jab,jab->j", x, y)
               for (a, x), (b, y) in itertools.product((("K", K), ("T", T)), repeat=2)
               if a + b != "TK"},
            **{f"{n}_along": along[n] for n in "KT"}, **{f"{n}_across": across[n] for n in "KT"},
            "on_axis": np.abs(line @ axis) > 1 - 1e-6,
        }))  # fmt: skip
    return pd.concat(tables, ignore_index=True)


def coulomb_fit(pairs: pd.DataFrame, *, n_resamples: int = 1000, seed: int = 0) -> dict[str, float]:
    """How far force constants of distant pairs follow K_ij = z_i z_j T_ij, T of unit charges.

    Every pair counts alike whatever its distance: squares are weighted by r⁶. Intervals (95 %) are
    from a bootstrap over shells of pairs of the same species and distance; NaN below five.

    Args:
        pairs: from :func:`pair_table`.
        n_resamples, seed: of the bootstrap.

    Returns:
        Each with ``_low`` and ``_high``:

        - ``strength``: Z*²/ε∞ of the cation if the law holds: s c², with c its formal charge and
          s = Σ K·c_i c_j T / Σ (c_i c_j T)².
        - ``exponent``: p where s falls as r^(3 − p), so that K falls as r^(−p): 3 for dipoles.
        - ``anisotropy``: s of the components along the line between two atoms over that of those
          across it: 1 for dipoles.
        - ``residual``: share of Σ K² that s leaves.
        - ``charge:X`` for each species X: z_X of the least Σ (K − z_i z_j T)², Z*/√ε∞ in e, with
          the sign of the formal charge; zero where s isn't positive, NaN where they don't settle.
    """
    shell = pairs.groupby(["species", "other", pairs["distance"].round(2)]).ngroup().to_numpy()
    bootstrap = Bootstrap(int(shell.max()) + 1, n_resamples, seed)
    weight = pairs["distance"].to_numpy() ** 6
    product = (pairs["charge_i"] * pairs["charge_j"]).to_numpy()
    columns = [
        pairs["KT"] * product, pairs["TT"] * product**2, pairs["KK"],
        pairs["K_along"] * pairs["T_along"] * product, (pairs["T_along"] * product) ** 2,
        pairs["K_across"] * pairs["T_across"] * product, (pairs["T_across"] * product) ** 2,
    ]  # fmt: skip
    weighted = [weight * column for column in columns]
    kt, tt, kk, *parts = totals_by_group(weighted, shell, bootstrap)
    k_along, t_along, k_across, t_across = parts
    with np.errstate(invalid="ignore", divide="ignore"):
        scale = kt / tt
        metrics = {
            "strength": scale * max(pairs["charge_i"].max(), pairs["charge_j"].max()) ** 2,
            "exponent": _exponents(pairs["distance"].to_numpy(), weighted, shell, bootstrap),
            "anisotropy": (k_along / t_along) / (k_across / t_across),
            "residual": 1 - kt**2 / (tt * kk),
            **_charges(pairs, weight, scale, shell, bootstrap),
        }
    return with_intervals(metrics, bootstrap, shell)


def _exponents(
    distance: np.ndarray, weighted: Sequence[np.ndarray], shell: np.ndarray, bootstrap: Bootstrap
) -> np.ndarray:
    """The p of the least Σ (K − s r^(3 − p) T)², of the data set and every resample.

    Of the grid of exponents the best, moved to the top of the parabola through its neighbours; NaN
    where no exponent makes s positive, or the best is at the edge of the grid.
    """
    length = np.exp(np.log(distance).mean())
    kt, tt = weighted[:2]
    gains = []
    for p in _EXPONENTS:
        f = (distance / length) ** (3 - p)
        product, square = totals_by_group([kt * f, tt * f**2], shell, bootstrap)
        gains.append(np.where(product > 0, product, 0.0) ** 2 / square)
    gain = np.stack(gains)  # (n_exponents, 1 + n_resamples)
    best = gain.argmax(axis=0)
    inside = (best > 0) & (best < len(gain) - 1)
    at = np.clip(best, 1, len(gain) - 2)
    below, top, above = (np.take_along_axis(gain, at[None] + d, axis=0)[0] for d in (-1, 0, 1))
    shift = 0.5 * (below - above) / (below - 2 * top + above)
    step = _EXPONENTS[1] - _EXPONENTS[0]
    return np.where(inside, _EXPONENTS[at] + shift * step, np.nan)


def _charges(
    pairs: pd.DataFrame,
    weight: np.ndarray,
    scale: np.ndarray,
    shell: np.ndarray,
    bootstrap: Bootstrap,
) -> dict[str, np.ndarray]:
    """z of each species, of the data set and every resample: least squares, one after the other.

    Given all others, z_a = Σ_b z_b K·T_ab / Σ_b z_b² T·T_ab. Taking the mean of the old and new z
    each time, as for a square root, makes that converge where a species is its own partner.
    """
    formal = dict(zip(pairs["species"], pairs["charge_i"], strict=True))
    formal |= dict(zip(pairs["other"], pairs["charge_j"], strict=True))
    shape = len(scale), len(formal), len(formal)
    kt, tt = np.zeros(shape), np.zeros(shape)
    names = list(formal)
    for (a, x), (b, y) in itertools.product(enumerate(names), repeat=2):
        one = ((pairs["species"] == x) & (pairs["other"] == y)).to_numpy()
        kt[:, a, b], tt[:, a, b] = totals_by_group(
            [weight * pairs["KT"] * one, weight * pairs["TT"] * one], shell, bootstrap
        )
    # K is symmetric in i and j, so a pair counts for both of its species.
    kt, tt = (x + x.transpose(0, 2, 1) for x in (kt, tt))
    z = np.sqrt(scale.clip(min=0))[:, None] * np.array(list(formal.values()))
    for _ in range(_ROUNDS):
        old = z
        new = np.einsum("rab,rb->ra", kt, z) / np.einsum("rab,rb->ra", tt, z**2)
        z = np.where(scale[:, None] > 0, (z + np.nan_to_num(new)) / 2, 0.0)
    # Where K is far from any such product they wander on, to where rounding takes them.
    settled = np.abs(z - old).max(axis=1) <= _SETTLED * np.abs(z).max(axis=1)
    z[~settled] = np.nan
    return {f"charge:{name}": z[:, k] for k, name in enumerate(names)}
