"""Do SevenNet-0's forces need the Coulomb potential that its layers hold? One figure, one table.

    python analyses/erasing.py

Erases it at all layers at once, less its mean within species and compound, on the set dft, beside
random subspaces and random weights. Stopped and started again, it goes on where it was. Writes
erasing.png, erasing.pdf, erasing.csv and erasing.txt beside this script.
"""

from __future__ import annotations

from pathlib import Path

import mpprobe as mp
from mpprobe.activations import journal_beside
from mpprobe.interventions import make_erasing
from mpprobe.report.erasing import erasing_figure, erasing_readings
from mpprobe.report.figures import save


def main() -> None:
    plan = make_erasing(mp.load("sevenn-0"), mp.read("dft"), layers="all", draws=99)
    output = Path(__file__).with_suffix("")
    with journal_beside(output, plan.provenance) as journal:
        found = plan.run(journal=journal)
        save(erasing_figure(found), output)
        found.summary.to_csv(output.with_suffix(".csv"), index=False, float_format="%.6g")
        readings = "\n".join(erasing_readings(found))
        output.with_suffix(".txt").write_text(readings + "\n", encoding="utf-8")
    print(readings)


if __name__ == "__main__":
    main()
