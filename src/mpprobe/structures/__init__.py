"""Structures: reading, checking, grouping and labelling; the built-in sets."""

from mpprobe.structures.builtin import BuiltinSet, builtin_sets
from mpprobe.structures.check import Problem, check, find_problems
from mpprobe.structures.failures import Failure, usable
from mpprobe.structures.far import far_draws, watched_atoms
from mpprobe.structures.far_defects import far_defects
from mpprobe.structures.frame import Frame, as_frames
from mpprobe.structures.read import read, read_file, stratified
from mpprobe.structures.write import write_extxyz

__all__ = [
    "BuiltinSet",
    "Failure",
    "Frame",
    "Problem",
    "as_frames",
    "builtin_sets",
    "check",
    "far_defects",
    "far_draws",
    "find_problems",
    "read",
    "read_file",
    "stratified",
    "usable",
    "watched_atoms",
    "write_extxyz",
]
