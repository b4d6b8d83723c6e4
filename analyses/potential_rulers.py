"""Which point charges give the potentials that the electrons see? One table.

    python analyses/potential_rulers.py

Compares Ewald potentials of formal, EEQ and Bader charges with the electrostatic potentials at the
nuclei of the set dft, within species and structure. Writes potential_rulers.csv beside this script.
"""

from __future__ import annotations

from pathlib import Path

import mpprobe as mp


def main() -> None:
    table = mp.potential_rulers(mp.read("dft"))
    table.to_csv(Path(__file__).with_suffix(".csv"), index=False, float_format="%.6g")
    print(table.round(2).to_string(index=False))


if __name__ == "__main__":
    main()
