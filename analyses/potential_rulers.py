"""Which point charges give the potentials that the electrons see? One table.

    python analyses/potential_rulers.py [--quick]

Compares Ewald potentials of formal, EEQ and Bader charges with the electrostatic potentials at the
nuclei of the set dft, within species and structure. Writes potential_rulers.csv beside this script;
with --quick into a folder ``quick``.
"""

from __future__ import annotations

import mpprobe as mp
from common import Analysis, run


def main(analysis: Analysis) -> None:
    table = mp.potential_rulers(analysis.read("dft", quick=24), **analysis.sampling)
    analysis.table(table)
    print(table.round(2).to_string(index=False))


if __name__ == "__main__":
    run(main)
