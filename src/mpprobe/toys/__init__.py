"""Worlds of point charges in which the truth is known, and models trained in them."""

from mpprobe.toys.structures import DOMAINS, TRAINING, make_structures
from mpprobe.toys.worlds import (
    CHARGE,
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
    "POTENTIAL",
    "TRAINING",
    "WORLDS",
    "Band",
    "EquilibratedCharges",
    "FixedCharges",
    "World",
    "make_structures",
    "world",
]
