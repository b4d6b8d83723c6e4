"""Which layer of SevenNet-0 encodes charge, potential and field? One figure, one table.

    python analyses/layer_profile.py            # all of the default structures
    python analyses/layer_profile.py --quick    # fewer structures, under two minutes

Writes layer_profile.png, layer_profile.pdf, layer_profile.csv and layer_profile.txt (the one-line
readings) beside this script; with --quick into a folder ``quick``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import mpprobe as mp
from mpprobe.report.figures import layer_profile, save
from mpprobe.report.readings import readings

TARGETS = ("potential", "charge:eeq", "field")
SPLITS = ("structure", "compound")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="60 structures instead of all")
    quick = parser.parse_args().quick
    folder = Path(__file__).parent / ("quick" if quick else "")
    folder.mkdir(exist_ok=True)
    frames = mp.read("ionic", limit=60 if quick else None)
    study = mp.probe(mp.load("sevenn-0"), frames, targets=TARGETS, splits=SPLITS)
    save(layer_profile(study.scores), folder / "layer_profile")
    study.scores.to_csv(folder / "layer_profile.csv", index=False, float_format="%.6g")
    (folder / "layer_profile.txt").write_text("\n".join(readings(study)) + "\n", encoding="utf-8")
    print("\n".join(readings(study)))


if __name__ == "__main__":
    main()
