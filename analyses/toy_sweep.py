"""What makes forces extrapolate where the truth is known? SevenNets and MACEs in four worlds.

    python analyses/toy_sweep.py --jobs 2    # 48 models, hours on 2 cores
    python analyses/toy_sweep.py --quick     # 2 models that have hardly learnt, under two minutes

Trains every model with its own trainer and judges it as `mpprobe toy sweep` does. Stopped and
started again, it goes on where it was; the models stay in toy_sweep-models. Writes toy_sweep.png,
toy_sweep.pdf, toy_sweep.csv (a row for each model), toy_sweep_answers.csv and toy_sweep.txt beside
this script; with --quick into a folder ``quick``.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from mpprobe.activations import journal_beside
from mpprobe.report.figures import save
from mpprobe.report.sweep import sweep_figure, sweep_readings
from mpprobe.toys import Hyperparameters, Job, answers, grid, sweep

LAYERS, CUTOFFS = (1, 2, 3), (4.0, 5.5)


def planned(base: Hyperparameters) -> list[Job]:
    """Reach and l for SevenNet, reach for MACE, and reach where charges are screened.

    A SevenNet of one layer is the same whatever its l: node features begin and end as scalars.
    """
    shared = {"layers": LAYERS, "cutoffs": CUTOFFS, "n_train": (150,), "base": base}
    return [
        *grid(("fixed", "band", "equilibrated", "screened:4"), **shared),
        *grid(("fixed", "band", "equilibrated"), l_max=(0,), **shared | {"layers": LAYERS[1:]}),
        *grid(("fixed", "band"), families=("mace",), **shared),
    ]


def say(what: str, done: int, of: int) -> None:
    print(f"{what}: {done} of {of}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two models, two epochs")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="models at once")
    given = parser.parse_args()
    base = Hyperparameters(epochs=2 if given.quick else 60)
    quick = grid(("fixed",), layers=(1, 2), n_train=(6,), base=base)
    jobs = quick if given.quick else planned(base)
    folder = Path(__file__).parent / ("quick" if given.quick else "")
    folder.mkdir(exist_ok=True)
    output = folder / "toy_sweep"
    with journal_beside(output, asdict(base)) as journal:
        models = folder / "toy_sweep-models"
        rows = sweep(jobs, models, n_jobs=given.jobs, journal=journal, progress=say)
        found = answers(rows)
        save(sweep_figure(rows), output)
        rows.to_csv(output.with_suffix(".csv"), index=False, float_format="%.6g")
        found.to_csv(folder / "toy_sweep_answers.csv", index=False, float_format="%.6g")
        readings = "\n".join(sweep_readings(found))
        output.with_suffix(".txt").write_text(readings + "\n", encoding="utf-8")
    print(readings)


if __name__ == "__main__":
    main()
