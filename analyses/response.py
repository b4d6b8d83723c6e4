"""Do SevenNet-0's forces follow Coulomb's law? Z*²/ε of its crystals against published values.

    python analyses/response.py

Every built-in crystal with published Born charges, Al and Cu, and random weights. Stopped and
started again, it goes on where it was. Writes response.png, response.pdf, response.csv,
response_axis.csv and response.txt beside this script.
"""

from __future__ import annotations

from pathlib import Path

import mpprobe as mp
from mpprobe.activations import journal_beside
from mpprobe.report.figures import save
from mpprobe.report.response import response_figure, response_readings
from mpprobe.response import CRYSTALS, METAL, crystal, make_response
from mpprobe.targets.dielectric import dielectrics


def main() -> None:
    crystals = [crystal(name) for name in CRYSTALS]
    chosen = [f for f in crystals if f.compound in dielectrics() or f.domain == METAL]
    plan = make_response(mp.load("sevenn-0"), chosen)
    output = Path(__file__).with_suffix("")
    with journal_beside(output, plan.provenance) as journal:
        found = plan.run(journal=journal)
        save(response_figure(found), output)
        found.fits.to_csv(output.with_suffix(".csv"), index=False, float_format="%.6g")
        found.axis.to_csv(output.with_name("response_axis.csv"), index=False, float_format="%.6g")
        readings = "\n".join(response_readings(found))
        output.with_suffix(".txt").write_text(readings + "\n", encoding="utf-8")
    print(readings)


if __name__ == "__main__":
    main()
