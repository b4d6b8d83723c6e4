"""Potentials: one interface, a registry of named models, and an adapter for each family.

Nothing here imports torch until a potential is loaded.
"""

from mpprobe.models.registry import load, named_models
from mpprobe.models.spec import Family, ModelSpec

__all__ = ["Family", "ModelSpec", "load", "named_models"]
