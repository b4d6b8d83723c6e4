"""Do SevenNet-0's forces need the Coulomb potential that its layers hold? One figure, one table.

    python analyses/erasing.py [--quick]

Erases it at all layers at once, less its mean over each species in each compound, on the set dft,
beside random subspaces and random weights. Stopped and started again, it goes on where it was.
Writes erasing.png, erasing.pdf, erasing.csv and erasing.txt beside this script; with --quick into a
folder ``quick``.
"""

from __future__ import annotations

from common import Analysis, run
from mpprobe.interventions import make_erasing
from mpprobe.interventions.erasing import MIN_DRAWS
from mpprobe.report.erasing import erasing_figure, erasing_readings

DRAWS = 99


def main(analysis: Analysis) -> None:
    plan = make_erasing(
        analysis.load("sevenn-0"), analysis.read("dft", quick=12),
        layers=2 if analysis.quick else "all", draws=MIN_DRAWS if analysis.quick else DRAWS,
        settings=analysis.settings,
    )  # fmt: skip
    with analysis.journal(plan.provenance) as journal:
        found = plan.run(journal=journal)
        analysis.figure(erasing_figure(found))
        analysis.table(found.summary)
        analysis.readings(erasing_readings(found))


if __name__ == "__main__":
    run(main)
