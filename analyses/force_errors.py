"""How well do the forces of four SevenNets hold, domain by domain? One figure, one table.

    python analyses/force_errors.py

Compares with the PBE calculations of the set dft; the multi-fidelity model is asked for PBE. Writes
force_errors.png, force_errors.pdf, force_errors.csv and force_errors.txt beside this script.
"""

from __future__ import annotations

from pathlib import Path

import mpprobe as mp
from mpprobe.report.domains import domain_figure, domain_readings
from mpprobe.report.figures import save

MODELS = {"sevenn-0": None, "sevenn-l3i5": None, "sevenn-mf-0": "PBE", "sevenn-0-22may2024": None}


def main() -> None:
    potentials = [mp.load(name, modal=modal) for name, modal in MODELS.items()]
    summary = mp.by_domain(mp.force_errors(potentials, mp.read("dft")))
    output = Path(__file__).with_suffix("")
    save(domain_figure(summary), output)
    summary.to_csv(output.with_suffix(".csv"), index=False, float_format="%.6g")
    readings = "\n".join(domain_readings(summary))
    output.with_suffix(".txt").write_text(readings + "\n", encoding="utf-8")
    print(readings)


if __name__ == "__main__":
    main()
