"""Activations: node features of every layer, captured in batches, with one row index."""

from mpprobe.activations.activations import Activations, LayerFeatures
from mpprobe.activations.capture import extract, parse_layers, stream
from mpprobe.activations.journal import Journal, journal_beside
from mpprobe.activations.manifest import (
    MODEL,
    RANDOM_WEIGHTS,
    Configuration,
    Shard,
    StoredModel,
    configure,
    random_kind,
)
from mpprobe.activations.merging import merge_stores
from mpprobe.activations.rows import Rows
from mpprobe.activations.store import Store
from mpprobe.activations.trial import run_through

__all__ = [
    "MODEL",
    "RANDOM_WEIGHTS",
    "Activations",
    "Configuration",
    "Journal",
    "LayerFeatures",
    "Rows",
    "Shard",
    "Store",
    "StoredModel",
    "configure",
    "extract",
    "journal_beside",
    "merge_stores",
    "parse_layers",
    "random_kind",
    "run_through",
    "stream",
]
