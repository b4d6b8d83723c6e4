"""Does Coulomb's law hold at surfaces and in clusters too, and where does a pair's energy sit?

    python analyses/response_finite.py

SevenNet-0 and random weights on crystals, slabs and cubes of NaCl and MgO, cut and not relaxed,
with the sites on which the force constants of some pairs sit. Stopped and started again, it goes on
where it was. Writes response_finite and response_finite_shares, each as .png, .pdf and .csv, and
response_finite.txt beside this script.
"""

from __future__ import annotations

from pathlib import Path

import mpprobe as mp
from mpprobe.activations import journal_beside
from mpprobe.report.figures import save
from mpprobe.report.response import response_figure, response_readings, shares_figure
from mpprobe.response import crystal, make_response
from mpprobe.structures import Frame

#: Å on both sides of a slab or a cube.
VACUUM = 10.0


def cut(compound: str, domain: str) -> Frame:
    """The built-in crystal, a slab of it without periodicity in z, or a cube of 216 ions."""
    atoms = crystal(compound).atoms
    if domain == "surface":
        atoms.pbc = (True, True, False)
        atoms.center(vacuum=VACUUM, axis=2)
    elif domain == "cluster":
        edge = atoms.cell.lengths()[1]
        atoms = atoms[atoms.positions[:, 0] < edge - 1e-6]
        atoms.pbc = False
        atoms.center(vacuum=VACUUM)
    atoms.info |= {"domain": domain, "group": f"{compound}-{domain}"}
    return Frame.from_atoms(atoms, f"{compound} {domain}")


def main() -> None:
    frames = [cut(c, d) for c in ("NaCl", "MgO") for d in ("bulk", "surface", "cluster")]
    plan = make_response(mp.load("sevenn-0"), [*frames, crystal("Al")], shares=True)
    output = Path(__file__).with_suffix("")
    with journal_beside(output, plan.provenance) as journal:
        found = plan.run(journal=journal)
        save(response_figure(found), output)
        save(shares_figure(found), output.with_name(f"{output.name}_shares"))
        for name, table in (("", found.fits), ("_shares", found.shares)):
            file = output.with_name(f"{output.name}{name}.csv")
            table.to_csv(file, index=False, float_format="%.6g")
        readings = "\n".join(response_readings(found))
        output.with_suffix(".txt").write_text(readings + "\n", encoding="utf-8")
    print(readings)


if __name__ == "__main__":
    main()
