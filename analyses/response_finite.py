"""Does Coulomb's law hold at surfaces and in clusters too, and where does a pair's energy sit?

    python analyses/response_finite.py [--quick]

SevenNet-0 and random weights on crystals, slabs and cubes of NaCl and MgO, cut and not relaxed,
with the sites on which the force constants of some pairs sit. Stopped and started again, it goes on
where it was. Writes response_finite and response_finite_shares, each as .png, .pdf and .csv, and
response_finite.txt beside this script; with --quick, of a slab and a cube of KBr, into a folder
``quick``.
"""

from __future__ import annotations

from common import Analysis, run
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


def main(analysis: Analysis) -> None:
    if analysis.quick:
        frames = [cut("KBr", domain) for domain in ("surface", "cluster")]
    else:
        frames = [cut(c, d) for c in ("NaCl", "MgO") for d in ("bulk", "surface", "cluster")]
        frames.append(crystal("Al"))
    frames = analysis.use("crystals, slabs and cubes", frames)
    plan = make_response(
        analysis.load("sevenn-0"), frames, shares=True, settings=analysis.settings
    )  # fmt: skip
    with analysis.journal(plan.provenance) as journal:
        found = plan.run(journal=journal)
        analysis.figure(response_figure(found))
        analysis.figure(shares_figure(found), "shares")
        analysis.table(found.fits)
        analysis.table(found.shares, "shares")
        analysis.readings(response_readings(found))


if __name__ == "__main__":
    run(main)
