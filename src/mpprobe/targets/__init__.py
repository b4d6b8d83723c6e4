"""Targets: per-atom quantities computed from a structure or read with it, by name."""

from mpprobe.targets.builtin import TargetInfo
from mpprobe.targets.charges import charges_of
from mpprobe.targets.electrostatics import site_field, site_potential
from mpprobe.targets.registry import get_target, register_target, target_names
from mpprobe.targets.target import Target, constant_within_species

__all__ = [
    "Target",
    "TargetInfo",
    "charges_of",
    "constant_within_species",
    "get_target",
    "register_target",
    "site_field",
    "site_potential",
    "target_names",
]
