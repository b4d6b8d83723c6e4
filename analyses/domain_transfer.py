"""Does what SevenNet-0 encodes read the same in domains that no probe has seen? One figure.

    python analyses/domain_transfer.py [--quick]

Probes are fitted on rattled crystals of the set ionic, three of each compound, and scored on others
of those held out, and on strained crystals, vacancies, slabs, clusters and melts. Writes
domain_transfer.png, domain_transfer.pdf, domain_transfer.csv and domain_transfer.txt beside this
script; with --quick into a folder ``quick``.
"""

from __future__ import annotations

from dataclasses import replace

import mpprobe as mp
from common import Analysis, run
from mpprobe.report.transfer import SPLIT, transfer_figure, transfer_readings, transfer_rows
from mpprobe.structures.read import stratified

TARGETS = ("potential", "charge:eeq", "field")
IN_DOMAIN = ("bulk",)


def chosen(analysis: Analysis) -> list[mp.Frame]:
    """The default part of the set, and all crystals: one of a compound can't be held out."""
    frames = [f for f in mp.read("ionic:all")
              if f.domain in IN_DOMAIN or f.atoms.info["split_part"] == "default"]  # fmt: skip
    return analysis.use("ionic", stratified(frames, 36) if analysis.quick else frames)


def main(analysis: Analysis) -> None:
    analysis.settings = replace(analysis.settings, in_domain=IN_DOMAIN)
    study = mp.probe(
        analysis.load("sevenn-0"), chosen(analysis), targets=TARGETS, splits=SPLIT,
        settings=analysis.settings,
    )  # fmt: skip
    rows = transfer_rows(study.scores, IN_DOMAIN)
    analysis.figure(transfer_figure(rows))
    analysis.table(rows)
    analysis.readings(transfer_readings(study, rows))


if __name__ == "__main__":
    run(main)
