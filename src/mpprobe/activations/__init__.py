"""Activations: node features of every layer, captured in batches, with one row index."""

from mpprobe.activations.activations import Activations, LayerFeatures
from mpprobe.activations.capture import extract, parse_layers, stream
from mpprobe.activations.rows import Rows

__all__ = ["Activations", "LayerFeatures", "Rows", "extract", "parse_layers", "stream"]
