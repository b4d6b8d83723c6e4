"""Does what SevenNet-0 encodes explain where its forces fail? One figure, one table, one paragraph.

    python analyses/explained.py

On the set dft. Stopped and started again, it goes on where it was. Writes explained.png,
explained.pdf, explained.csv and explained.txt beside this script.
"""

from __future__ import annotations

from pathlib import Path

import mpprobe as mp
from mpprobe.activations import journal_beside
from mpprobe.explain import make_explaining
from mpprobe.report.explaining import explained_figure, paragraph
from mpprobe.report.figures import save


def main() -> None:
    plan = make_explaining(mp.load("sevenn-0"), mp.read("dft"))
    output = Path(__file__).with_suffix("")
    with journal_beside(output, plan.provenance) as journal:
        found = plan.run(journal=journal)
        save(explained_figure(found), output)
        found.effects.to_csv(output.with_suffix(".csv"), index=False, float_format="%.6g")
        output.with_suffix(".txt").write_text(paragraph(found) + "\n", encoding="utf-8")
    print(paragraph(found))


if __name__ == "__main__":
    main()
