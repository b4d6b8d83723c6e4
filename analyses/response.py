"""Do SevenNet-0's forces follow Coulomb's law? Z*²/ε of its crystals against published values.

    python analyses/response.py [--quick]

Every built-in crystal with published Born charges, Al and Cu, and random weights. Stopped and
started again, it goes on where it was. Writes response.png, response.pdf, response.csv,
response_axis.csv and response.txt beside this script; with --quick, of two crystals only, into a
folder ``quick``.
"""

from __future__ import annotations

from common import Analysis, run
from mpprobe.report.response import response_figure, response_readings
from mpprobe.response import CRYSTALS, METAL, crystal, make_response
from mpprobe.targets.dielectric import dielectrics

#: Those with the smallest cells.
QUICK = ("KBr", "CsCl")


def main(analysis: Analysis) -> None:
    crystals = [crystal(name) for name in (QUICK if analysis.quick else CRYSTALS)]
    chosen = [f for f in crystals if f.compound in dielectrics() or f.domain == METAL]
    frames = analysis.use("crystals", chosen)
    plan = make_response(analysis.load("sevenn-0"), frames, settings=analysis.settings)
    with analysis.journal(plan.provenance) as journal:
        found = plan.run(journal=journal)
        analysis.figure(response_figure(found))
        analysis.table(found.fits)
        analysis.table(found.axis, "axis")
        analysis.readings(response_readings(found))


if __name__ == "__main__":
    run(main)
