"""What makes forces extrapolate where the truth is known? SevenNets and MACEs in four worlds.

    python analyses/toy_sweep.py --jobs 2    # 48 models, hours on 2 cores
    python analyses/toy_sweep.py --quick     # a model that has hardly learnt

Trains every model with its own trainer and judges it as `mpprobe toy sweep` does. Stopped and
started again, it goes on where it was; the models stay in toy_sweep-models. Writes toy_sweep.png,
toy_sweep.pdf, toy_sweep.csv (a row for each model), toy_sweep_answers.csv and toy_sweep.txt beside
this script; with --quick into a folder ``quick``.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import mpprobe as mp
from common import Analysis, run
from mpprobe.models.trust import file_sha256
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


def model_file(folder: Path) -> Path:
    """The trained model, under the name that its family gives it."""
    return next(folder / name for name in ("model.pth", "best.model") if (folder / name).exists())


def main(analysis: Analysis) -> None:
    base = Hyperparameters(epochs=1 if analysis.quick else 60)
    quick = grid(("fixed",), layers=(1,), n_train=(6,), base=base)
    jobs = quick if analysis.quick else planned(base)
    if not analysis.quick:
        analysis.settings = mp.Settings(n_resamples=500)
    models = analysis.folder / "toy_sweep-models"
    with analysis.journal(asdict(base)) as journal:
        rows = sweep(
            jobs, models, n_jobs=analysis.jobs, journal=journal, settings=analysis.settings,
            progress=lambda what, done, of: analysis.say(f"{what}: {done} of {of}"),
        )  # fmt: skip
        for job in jobs:
            analysis.models[job.name] = {"sha256": file_sha256(model_file(models / job.name))}
        found = answers(rows)
        analysis.figure(sweep_figure(rows))
        analysis.table(rows)
        analysis.table(found, "answers")
        analysis.readings(sweep_readings(found))


if __name__ == "__main__":
    run(main)
