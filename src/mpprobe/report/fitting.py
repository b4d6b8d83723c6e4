"""A layout in which no text is cut off: what is too long for its place is wrapped.

Matplotlib's constrained layout leaves room for the height of titles and axis labels, not for their
length, and shrinks a panel whose legend is wide.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.legend import Legend
from matplotlib.text import Text
from matplotlib.transforms import BboxBase

from mpprobe.report.canvas import as_written

#: How often the layout is settled again, since wrapped texts change the room for others.
_ROUNDS = 3
#: Points left free between neighbouring texts and before the edge of the figure.
_GAP = 2.0


class FittedLayout(ConstrainedLayoutEngine):
    """Constrained layout that wraps titles, axis labels and legends that don't fit."""

    def execute(self, fig: Figure) -> None:
        """Matplotlib calls this whenever it draws the figure."""
        inside = list(_inside(fig))
        for legend, _ in inside:
            legend.set_in_layout(False)  # it has to fit the panel, not the panel it
        super().execute(fig)
        for _ in range(_ROUNDS):
            done = [wrap_text(text, room) for text, room in _texts(fig)]
            done += [wrap_legend(legend, panel.bbox.width) for legend, panel in inside]
            if not any(done):
                break
            super().execute(fig)


class Under(BboxBase):
    """A line below the tick labels and the label of a horizontal axis, for a legend to hang on."""

    pass_through = True  # tells the legend of every move of the axis

    def __init__(self, axis: Axes) -> None:
        super().__init__()
        self._axis = axis
        self.set_children(axis.bbox)

    def get_points(self) -> np.ndarray:
        """Both ends in pixels, wherever the axis is now."""
        box, labels = self._axis.bbox, self._axis.xaxis.get_tightbbox()
        y = (box.y0 if labels is None else labels.y0) - _pixels(self._axis)
        return np.array([[box.x0, y], [box.x1, y]])


def wrap_text(text: Text, room: float) -> bool:
    """Break a text that is longer than ``room`` (pixels) into lines; whether it was."""
    length = _length(text)
    whole = text.get_text().replace(r"\$", "$")
    if length <= room or len(whole) < 2:
        return False
    longest = max(map(len, whole.splitlines()))
    for letters in range(min(longest, int(longest * room / length) + 3), 0, -1):
        lines = textwrap.wrap(whole, letters, break_on_hyphens=False)
        text.set_text("\n".join(map(as_written, lines)))
        if _length(text) <= room:
            break
    return True


def wrap_legend(legend: Legend, room: float) -> bool:
    """Wrap the entries of a legend that is wider than ``room``; whether it was."""
    texts = legend.get_texts()
    before = longest = max(map(_length, texts), default=0.0)
    while legend.get_window_extent().width > room and longest > before / 8:
        longest *= 0.9
        for text in texts:
            wrap_text(text, longest)
    return longest < before


def _texts(fig: Figure) -> Iterator[tuple[Text, float]]:
    """The texts that may be too long, with the room there is for each, in pixels."""
    yield from ((text, fig.bbox.width - 2 * _pixels(fig)) for text in fig.texts)
    for axis in fig.axes:
        yield axis.title, _room(axis, 0)
        yield axis.xaxis.label, _room(axis, 0)
        yield axis.yaxis.label, _room(axis, 1)


def _inside(fig: Figure) -> Iterator[tuple[Legend, Axes]]:
    """Legends of panels that aren't below them, and the panels."""
    for axis in fig.axes:
        legend = axis.get_legend()
        if legend is not None and legend.get_window_extent().y1 > axis.bbox.y0:
            yield legend, axis


def _room(axis: Axes, along: int) -> float:
    """Length that a text at the middle of a panel may have: half way to the next panels' sides.

    Args:
        along: 0 for a horizontal text, 1 for a vertical one.
    """
    fig = axis.figure
    (low, high), across = _span(axis, along), _span(axis, 1 - along)
    before, after = [fig.bbox.min[along]], [fig.bbox.max[along]]
    for other in fig.axes:
        (start, end), others = _span(other, along), _span(other, 1 - along)
        if max(across[0], others[0]) < min(across[1], others[1]):  # beside each other
            before += [(end + low) / 2] if end <= low else []
            after += [(high + start) / 2] if start >= high else []
    middle = (low + high) / 2
    return 2 * (min(middle - max(before), min(after) - middle) - _pixels(axis))


def _span(axis: Axes, along: int) -> tuple[float, float]:
    return axis.bbox.min[along], axis.bbox.max[along]


def _length(text: Text) -> float:
    """Of its longest line, in pixels; the text is horizontal or vertical."""
    box = text.get_window_extent()
    return box.height if text.get_rotation() % 180 else box.width


def _pixels(artist: Axes | Figure) -> float:
    """The free gap."""
    figure = artist if isinstance(artist, Figure) else artist.figure
    return _GAP / 72 * figure.dpi
