"""Probes: linear maps from node features to targets, and what must be set beside their scores."""

from mpprobe.probes.results import Settings, Study
from mpprobe.probes.ridge import LinearMap, RidgeProbe
from mpprobe.probes.scores import Bootstrap, Estimate, Scorer, Scores
from mpprobe.probes.splits import Split, make_split
from mpprobe.probes.study import Plan, make_plan, probe

__all__ = [
    "Bootstrap",
    "Estimate",
    "LinearMap",
    "Plan",
    "RidgeProbe",
    "Scorer",
    "Scores",
    "Settings",
    "Split",
    "Study",
    "make_plan",
    "make_split",
    "probe",
]
