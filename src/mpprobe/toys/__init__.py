"""Worlds of point charges in which the truth is known, and models trained in them."""

from mpprobe.toys.questions import answers
from mpprobe.toys.structures import DOMAINS, TRAINING, make_structures
from mpprobe.toys.study import Assessed, assess
from mpprobe.toys.sweep import Job, grid, row_of, run_job, sweep
from mpprobe.toys.training import Hyperparameters, Training, train
from mpprobe.toys.worlds import (
    CHARGE,
    NOMINAL,
    POTENTIAL,
    WORLDS,
    Band,
    EquilibratedCharges,
    FixedCharges,
    World,
    world,
)

__all__ = [
    "CHARGE",
    "DOMAINS",
    "NOMINAL",
    "POTENTIAL",
    "TRAINING",
    "WORLDS",
    "Assessed",
    "Band",
    "EquilibratedCharges",
    "FixedCharges",
    "Hyperparameters",
    "Job",
    "Training",
    "World",
    "answers",
    "assess",
    "grid",
    "make_structures",
    "row_of",
    "run_job",
    "sweep",
    "train",
    "world",
]
