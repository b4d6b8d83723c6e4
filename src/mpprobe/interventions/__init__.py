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

__all__ = [
    "MEASURES",
    "PARTS",
    "Effects",
    "Erasing",
    "ErasingPlan",
    "Erasure",
    "Whitening",
    "block_columns",
    "block_rows",
    "erase",
    "fit_erasure",
    "make_erasing",
    "random_erasures",
]
