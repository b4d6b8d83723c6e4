"""Sample the melts of the set `dft`: python data/dft/melts.py (minutes on one core)

As those of the set `ionic` (data/ionic/melts.py, which says how), in cells small enough for DFT.
Another machine gets other melts.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "ionic"))

from make import packed, update
from melts import sample_all

NAMES = ("NaCl", "LiF", "MgO", "Li2O", "TiO2", "Al2O3", "SiO2")
SIZES = (24, 32)

if __name__ == "__main__":
    melts = sample_all(NAMES, HERE / ".cache-melts", SIZES)
    update({HERE / "melts.extxyz.gz": packed(melts)}, only_check=False)
