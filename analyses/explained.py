"""Does what SevenNet-0 encodes explain where its forces fail? One figure, one table, one paragraph.

    python analyses/explained.py [--quick]

On the set dft. Stopped and started again, it goes on where it was. Writes explained.png,
explained.pdf, explained.csv and explained.txt beside this script; with --quick into a folder
``quick``.
"""

from __future__ import annotations

from common import Analysis, run
from mpprobe.explain import make_explaining
from mpprobe.explain.encoding import TARGETS
from mpprobe.explain.study import DRAWS
from mpprobe.interventions.erasing import MIN_DRAWS
from mpprobe.report.explaining import explained_figure, paragraph


def main(analysis: Analysis) -> None:
    plan = make_explaining(
        analysis.load("sevenn-0"), analysis.read("dft", quick=24),
        targets=TARGETS[:1] if analysis.quick else TARGETS,
        draws=MIN_DRAWS if analysis.quick else DRAWS, settings=analysis.settings,
    )  # fmt: skip
    with analysis.journal(plan.provenance) as journal:
        found = plan.run(journal=journal)
        analysis.figure(explained_figure(found))
        analysis.table(found.effects)
        analysis.readings([paragraph(found)])


if __name__ == "__main__":
    run(main)
