"""Make mace_e3nn044.model and mace_e3nn044.json: a MACE model pickled whole under e3nn 0.4.4.

Released MACE models were pickled this way, so the fixture shows that they load, and give the same
numbers, under the e3nn that mpprobe installs. Run it in an environment of its own:

    python -m venv old && old/bin/pip install mace-torch==0.3.16
    old/bin/python tests/data/make_mace_golden.py

where mace-torch brings its own e3nn 0.4.4. The weights are random (seed 0): what is tested is the
file, not the fit.
"""

import json
from pathlib import Path

import ase.build
import e3nn
import mace.modules
import numpy as np
import torch
from e3nn import o3
from mace.calculators import MACECalculator

HERE = Path(__file__).parent


def small_mace(hidden: str) -> torch.nn.Module:
    """A two-layer ScaleShiftMACE for O, Na, Mg and Cl with hidden irreps ``hidden``."""
    blocks = mace.modules.interaction_classes
    return mace.modules.ScaleShiftMACE(
        r_max=4.5,
        num_bessel=6,
        num_polynomial_cutoff=5,
        max_ell=2,
        interaction_cls=blocks["RealAgnosticResidualInteractionBlock"],
        interaction_cls_first=blocks["RealAgnosticInteractionBlock"],
        num_interactions=2,
        num_elements=4,
        hidden_irreps=o3.Irreps(hidden),
        MLP_irreps=o3.Irreps("8x0e"),
        gate=torch.nn.functional.silu,
        atomic_energies=np.array([-2.0, -1.0, -1.5, -1.8]),
        avg_num_neighbors=14.0,
        atomic_numbers=[8, 11, 12, 17],
        correlation=2,
        radial_type="bessel",
        radial_MLP=[16, 16],
        atomic_inter_scale=0.5,
        atomic_inter_shift=0.1,
        heads=["Default"],
    )


def structures() -> list[ase.Atoms]:
    """A rattled NaCl cell and a MgO cluster, free of symmetry."""
    crystal = ase.build.bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    cluster = ase.build.bulk("MgO", "rocksalt", a=4.21, cubic=True)
    cluster.pbc = False
    for atoms in (crystal, cluster):
        atoms.rattle(0.1, seed=3)
    return [crystal, cluster]


def main() -> None:
    if not e3nn.__version__.startswith("0.4.4"):
        raise SystemExit(f"this needs e3nn 0.4.4, not {e3nn.__version__}")
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    torch.save(small_mace("8x0e+8x1o"), HERE / "mace_e3nn044.model")
    calculator = MACECalculator(HERE / "mace_e3nn044.model", device="cpu", default_dtype="float64")
    golden = {"e3nn": e3nn.__version__, "torch": torch.__version__, "structures": []}
    for atoms in structures():
        atoms.calc = calculator
        golden["structures"].append(
            {
                "symbols": atoms.get_chemical_symbols(),
                "positions": atoms.positions.tolist(),
                "cell": atoms.cell.tolist(),
                "pbc": atoms.pbc.tolist(),
                "energy": atoms.get_potential_energy(),
                "forces": atoms.get_forces().tolist(),
            }
        )
    (HERE / "mace_e3nn044.json").write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
