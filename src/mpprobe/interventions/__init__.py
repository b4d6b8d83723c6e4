"""Changing node features inside a model, and what that does to its energies and forces."""

from mpprobe.interventions.concepts import PARTS
from mpprobe.interventions.effects import MEASURES, Effects
from mpprobe.interventions.erase import (
    Erasure,
    Whitening,
    block_columns,
    block_rows,
    fit_erasure,
    random_erasures,
)
from mpprobe.interventions.erasing import Erasing, ErasingPlan, erase, make_erasing
from mpprobe.interventions.patch import Patch, Patched, patch
from mpprobe.interventions.steer import Direction, Steering, fit_direction, random_directions
from mpprobe.interventions.steering import Steered, SteeringPlan, make_steering, steer

__all__ = [
    "MEASURES",
    "PARTS",
    "Direction",
    "Effects",
    "Erasing",
    "ErasingPlan",
    "Erasure",
    "Patch",
    "Patched",
    "Steered",
    "Steering",
    "SteeringPlan",
    "Whitening",
    "block_columns",
    "block_rows",
    "erase",
    "fit_direction",
    "fit_erasure",
    "make_erasing",
    "make_steering",
    "patch",
    "random_directions",
    "random_erasures",
    "steer",
]
