"""Which layer of SevenNet-0 encodes charge, potential and field? One figure, two tables.

    python analyses/layer_profile.py [--quick]

The potential as a whole, and cut into what comes from within one cutoff (shell 1), from one to two
(shell 2), and from beyond one. Writes layer_profile.png, layer_profile.pdf, layer_profile.csv,
layer_profile_conditional.csv (what each layer adds to charge-weighted sums within one cutoff) and
layer_profile.txt (the one-line readings) beside this script; with --quick into a folder ``quick``.
"""

from __future__ import annotations

import mpprobe as mp
from common import Analysis, run
from mpprobe.report.figures import layer_profile
from mpprobe.report.readings import readings

TARGETS = (
    "potential", "potential:shell-1", "potential:shell-2", "potential:beyond", "charge:eeq",
    "field",
)  # fmt: skip
SPLITS = ("structure", "compound")


def main(analysis: Analysis) -> None:
    study = mp.probe(
        analysis.load("sevenn-0"), analysis.read("ionic", quick=30), targets=TARGETS,
        splits=SPLITS, settings=analysis.settings,
    )  # fmt: skip
    analysis.figure(layer_profile(study.scores))
    analysis.table(study.scores)
    analysis.table(study.conditional, "conditional")
    analysis.readings(readings(study))


if __name__ == "__main__":
    run(main)
