"""Which layer of SevenNet-0 encodes charge, potential and field? One figure, one table.

    python analyses/layer_profile.py [--quick]

Writes layer_profile.png, layer_profile.pdf, layer_profile.csv and layer_profile.txt (the one-line
readings) beside this script; with --quick into a folder ``quick``.
"""

from __future__ import annotations

import mpprobe as mp
from common import Analysis, run
from mpprobe.report.figures import layer_profile
from mpprobe.report.readings import readings

TARGETS = ("potential", "charge:eeq", "field")
SPLITS = ("structure", "compound")


def main(analysis: Analysis) -> None:
    study = mp.probe(
        analysis.load("sevenn-0"), analysis.read("ionic", quick=30), targets=TARGETS,
        splits=SPLITS, settings=analysis.settings,
    )  # fmt: skip
    analysis.figure(layer_profile(study.scores))
    analysis.table(study.scores)
    analysis.readings(readings(study))


if __name__ == "__main__":
    run(main)
