"""Structures: reading, checking, grouping and labelling; the built-in sets."""

from mpprobe.structures.frame import Frame, as_frames

__all__ = ["Frame", "as_frames"]
