"""The canvas of every figure: all that is drawn lies inside, no legend covers a panel.

:func:`new_figure` begins a figure, :func:`legend_below` puts one legend below all panels,
:func:`legend_under` one below its own panel, :func:`name_ticks` and :func:`name_rows` write names
at an axis, and :func:`as_label` makes any name a label.
"""

from __future__ import annotations

import contextlib
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mpprobe.report.style import figure_style
from mpprobe.texts import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Inches to which a narrow figure is widened at most for the legend below.
WIDENED = 5.0
#: A legend below takes at most this share of the figure's width.
_FULL = 0.96
#: Letters in a line of a name that is turned, and of one that stands upright.
_TURNED, _UPRIGHT = 24, 40
#: Inches that a line of names takes.
_LINE = 0.14


@contextlib.contextmanager
def new_figure(width: float, height: float) -> Iterator[Figure]:
    """An empty figure (inches) in the common style, which holds inside this block.

    Titles, axis labels and legends that are too long are wrapped when the figure is drawn.
    """
    from matplotlib.figure import Figure

    from mpprobe.report.fitting import FittedLayout

    with figure_style():
        yield Figure(figsize=(width, height), layout=FittedLayout())


def as_label(name: str) -> str:
    """A name as the label of a line, also where it begins with ``_``, which Matplotlib skips."""
    return f"\u200b{name}" if name.startswith("_") else name


def as_written(label: str) -> str:
    """Dollar signs and control characters as such, since Matplotlib sets formulas."""
    return visible(label).replace("\t", " ").replace(r"\$", "$").replace("$", r"\$")


def legend_below(
    figure: Figure,
    axes: Iterable[Axes],
    title: str = "",
    *,
    order: Callable[[str], Any] = lambda label: 0,
    **look: Any,
) -> None:
    """One legend below all panels, for which the figure grows; to be called last.

    It has as many columns as fit the figure's width, of a narrow figure :data:`WIDENED`. The
    title, and entries too long for a single column, are wrapped.

    Args:
        figure: from :func:`new_figure`.
        axes: the panels whose labels are shown, each label once.
        title: a note in small letters.
        order: by which labels are sorted.
        look: further arguments of Matplotlib's ``legend``.
    """
    from matplotlib.font_manager import FontProperties

    from mpprobe.report.fitting import wrap_legend, wrap_text

    entries = _entries(axes)
    names = sorted(entries, key=order)
    handles, labels = [entries[name] for name in names], [as_written(name) for name in names]
    look |= {"loc": "outside lower center", "frameon": False}
    width, n = figure.get_figwidth(), max(len(names), 1)
    for rows in range(1, n + 1):
        legend = figure.legend(handles, labels, ncols=-(-n // rows), **look)
        needed = legend.get_window_extent().width / figure.dpi / _FULL
        if needed <= max(width, WIDENED) or rows == n:
            break
        legend.remove()
    figure.set_figwidth(max(width, min(needed, WIDENED)))
    room = _FULL * figure.bbox.width
    wrap_legend(legend, room)
    legend.set_title(as_written(title), prop=FontProperties(size="small"))
    legend.get_title().set_multialignment("center")
    wrap_text(legend.get_title(), room)
    _grow(figure, legend.get_window_extent().height / figure.dpi)


def _entries(axes: Iterable[Axes]) -> dict[str, Any]:
    entries: dict[str, Any] = {}
    for axis in axes:
        handles, labels = axis.get_legend_handles_labels()
        entries |= dict(zip(labels, handles, strict=True))
    return entries


def legend_under(axis: Axes, **look: Any) -> None:
    """A legend of two columns below a panel's own axis, whatever is written there."""
    from matplotlib.transforms import IdentityTransform

    from mpprobe.report.fitting import Under

    look = {"frameon": False, "fontsize": "small", "ncols": 2, "borderaxespad": 0.0, **look}
    axis.legend(loc="upper center", bbox_to_anchor=Under(axis),
                bbox_transform=IdentityTransform(), **look)  # fmt: skip


def name_ticks(axis: Axes, names: Sequence[str], **look: Any) -> None:
    """Names below the ticks 0, 1, ... of a horizontal axis; the figure grows by what they take."""
    figure: Any = axis.figure
    room, letter = axis.bbox.width / figure.dpi / max(len(names), 1), _letter(look)
    angle, letters = _turned(names, room, letter)
    lines = [textwrap.fill(name, letters, break_on_hyphens=False) for name in names]
    if angle:
        va = "top" if angle < 90 else "center"
        look |= {"rotation": angle, "rotation_mode": "anchor", "ha": "right", "va": va}
    axis.set_xticks(range(len(lines)), lines, **look)
    longest = max((len(line) for name in lines for line in name.splitlines()), default=0)
    more = max((name.count("\n") for name in lines), default=0)
    turn = np.radians(angle)
    _grow(figure, longest * letter * np.sin(turn) + more * _LINE * np.cos(turn))


def _turned(names: Sequence[str], room: float, letter: float) -> tuple[float, int]:
    """By how many degrees names are turned, and letters in a line of them.

    Args:
        room: inches from one name to the next.
        letter: inches that one takes.
    """
    longest = max(map(len, names), default=0)
    word = max((len(word) for name in names for word in name.split()), default=0)
    letters = int(room / letter)
    if word <= letters and longest <= 3 * letters:
        return 0, max(letters, 1)
    if longest <= _TURNED and room > 2 * _LINE:
        return 30, _TURNED
    return 90, max(_UPRIGHT, -(-longest // max(1, int(room / _LINE))))


def name_rows(axis: Axes, names: Sequence[str], **look: Any) -> None:
    """Names beside the ticks 0, 1, ... of a vertical axis; for long ones the figure is widened."""
    figure: Any = axis.figure
    axis.set_yticks(range(len(names)), names, **look)
    more = max((len(name) - _TURNED for name in names), default=0) * _letter(look)
    figure.set_figwidth(figure.get_figwidth() + max(more, 0.0))


def _letter(look: Mapping[str, Any]) -> float:
    """Inches that a letter of a name takes."""
    from matplotlib.font_manager import FontProperties

    return 0.009 * FontProperties(size=look.get("fontsize", "small")).get_size_in_points()


def _grow(figure: Figure, inches: float) -> None:
    figure.set_figheight(figure.get_figheight() + inches)


def show_as_written(figure: Figure) -> None:
    """Every text of a figure as :func:`as_written`, but for the numbers at ticks.

    A label that is no whole formula would end a run as its figure is written.
    """
    from matplotlib import text, ticker

    numbers = (ticker.ScalarFormatter, ticker.LogFormatter, ticker.NullFormatter)
    ticks: set[int] = set()
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        ticks |= {id(label) for tick in (*axis.majorTicks, *axis.minorTicks)
                  for label in (tick.label1, tick.label2)}  # fmt: skip
        own = axis.get_major_formatter()
        if not isinstance(own, numbers):
            axis.set_major_formatter(
                ticker.FuncFormatter(lambda x, pos, own=own: as_written(own(x, pos)))
            )
    for label in figure.findobj(text.Text):
        if id(label) not in ticks:
            label.set_text(as_written(label.get_text()))
