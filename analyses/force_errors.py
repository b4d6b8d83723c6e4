"""How well do the forces of four SevenNets hold, domain by domain? One figure, one table.

    python analyses/force_errors.py [--quick]

Compares with the PBE calculations of the set dft; the multi-fidelity model is asked for PBE. Writes
force_errors.png, force_errors.pdf, force_errors.csv and force_errors.txt beside this script; with
--quick, of two models only, into a folder ``quick``.
"""

from __future__ import annotations

import mpprobe as mp
from common import Analysis, run
from mpprobe.report.domains import domain_figure, domain_readings


def main(analysis: Analysis) -> None:
    frames = analysis.read("dft", quick=24)
    errors = mp.force_errors(analysis.sevennets(), frames)
    summary = mp.by_domain(errors, **analysis.sampling)
    analysis.figure(domain_figure(summary))
    analysis.table(summary)
    analysis.readings(domain_readings(summary))


if __name__ == "__main__":
    run(main)
