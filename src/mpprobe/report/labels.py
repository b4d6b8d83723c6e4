"""Names beside the points of a figure, where they cover neither points, bars nor each other."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from mpprobe.report.canvas import as_written, show_as_written

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox

#: Distances (points) from its point at which a name is tried, and the directions (degrees).
_DISTANCES = (6, 12, 20, 30, 42, 56)
_DIRECTIONS = (20, -20, 160, -160, 90, -90, 50, -50, 130, -130)
#: Letters in a line of a name.
_LETTERS = 24
_LEADER = {"arrowstyle": "-", "color": "0.6", "linewidth": 0.5, "shrinkA": 0, "shrinkB": 2}


def place_labels(
    axis: Axes, x: ArrayLike, y: ArrayLike, names: Sequence[str], low: ArrayLike, high: ArrayLike
) -> None:
    """Write every name at the first place around its point that is free, with a line to it.

    To be called last: limits and layout of the figure must be settled.

    Args:
        axis: on which the points are drawn.
        x, y: coordinates of the points, (n,).
        names: of the points.
        low, high: ends of the bars through the points, (n,); nan where there is none.
    """
    figure: Any = axis.figure  # for a part of a figure has no such method
    show_as_written(figure)  # for what is no formula can't be measured
    figure.draw_without_rendering()
    bars = np.linspace(np.fmin(low, y), np.fmax(high, y), 25)  # as dense as letters are high
    with np.errstate(divide="ignore", invalid="ignore"):  # bars that end below a log axis
        points = axis.transData.transform(
            np.column_stack([np.broadcast_to(x, bars.shape).ravel(), bars.ravel()])
        )
    points = points[np.isfinite(points).all(axis=1)]
    taken: list[Bbox] = []
    for name, a, b in zip(names, np.asarray(x), np.asarray(y), strict=True):
        label = axis.annotate(as_written(textwrap.fill(name, _LETTERS)), (a, b), xytext=(0, 0),
                              textcoords="offset points", fontsize="x-small", ha="center",
                              va="center", arrowprops=_LEADER)  # fmt: skip
        taken.append(_place(axis, label, points, taken))


def _place(axis: Axes, label: Annotation, points: np.ndarray, taken: Sequence[Bbox]) -> Bbox:
    """Move a label to the first free place, else to the first inside; its box in pixels."""
    nearest = None
    for offset in _offsets(label):
        box = _moved(label, offset)
        if axis.bbox.contains(*box.min) and axis.bbox.contains(*box.max):
            if not box.count_contains(points) and not box.count_overlaps(taken):
                return box
            nearest = nearest or offset
    return _moved(label, nearest or next(_offsets(label)))


def _moved(label: Annotation, offset: tuple[float, float]) -> Bbox:
    """Put a label there; the box of its text alone, for its line may lie over others."""
    from matplotlib.text import Text

    label.set_position(offset)
    label.get_window_extent()  # which makes the text follow
    return Text.get_window_extent(label)


def _offsets(label: Annotation) -> Iterator[tuple[float, float]]:
    """Places of the label's centre beside its point, nearest first, in points."""
    letters = max(map(len, label.get_text().splitlines()), default=0)
    half_width = 0.3 * float(label.get_fontsize()) * letters
    for distance in _DISTANCES:
        for angle in np.radians(_DIRECTIONS):
            yield (distance + half_width) * np.cos(angle), distance * np.sin(angle)
