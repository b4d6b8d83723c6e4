"""One look for every figure: what a line or colour means is said here once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: The model's own scores, and the greys of what stands against them.
MODEL_COLOUR = "#0072b2"
CONTROL_STYLES: dict[str, dict[str, Any]] = {
    "random weights": {"color": "0.35", "linestyle": "--", "marker": "s"},
    "random direction": {"color": "0.55", "linestyle": "-.", "marker": "^"},
    "shuffled target": {"color": "0.7", "linestyle": ":", "marker": "v"},
}
BASELINE_STYLES: dict[str, dict[str, Any]] = {
    "local electrostatics": {"color": "#882255", "linestyle": "-", "linewidth": 1.6},
    "SOAP": {"color": "0.35", "linestyle": (0, (1, 1))},
    "radial densities": {"color": "0.35", "linestyle": (0, (4, 1, 1, 1))},
    "neighbour vectors": {"color": "0.35", "linestyle": (0, (1, 1))},
    "SOAP, same width": {"color": "0.6", "linestyle": (0, (1, 3))},
    "radial densities, same width": {"color": "0.6", "linestyle": (0, (4, 3, 1, 3))},
    "neighbour vectors, same width": {"color": "0.6", "linestyle": (0, (1, 3))},
    "species mean": {"color": "0.75", "linestyle": "-"},
}
# Of the same within two cutoffs, three, and more.
_FARTHER = ("--", ":", (0, (1, 4)))
_FARTHER_COLOURS = {
    "SOAP": "#44aa99",
    "radial densities": "#999933",
    "neighbour vectors": "#44aa99",
}
#: Okabe and Ito's colours, told apart by colour-blind readers too; repeated after eight domains.
DOMAIN_COLOURS = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#f0e442", "#000000",
)  # fmt: skip


def baseline_style(name: str) -> dict[str, Any]:
    """Of a baseline, or of the same within several cutoffs (``NAME, 2 cutoffs``)."""
    base, comma, farther = name.rpartition(", ")
    if not (comma and farther.endswith(" cutoffs")):
        return BASELINE_STYLES[name]
    place = min(int(farther.split()[0]) - 2, len(_FARTHER) - 1)
    look = {**BASELINE_STYLES[base], "linestyle": _FARTHER[place], "linewidth": 1.0}
    return {**look, "color": _FARTHER_COLOURS.get(base, look["color"])}


@contextlib.contextmanager
def figure_style() -> Iterator[None]:
    """seaborn's ticks style in paper size, inside this block only."""
    import matplotlib as mpl
    import seaborn as sns

    with (
        sns.axes_style("ticks"),
        sns.plotting_context("paper"),
        mpl.rc_context({"axes.spines.top": False, "axes.spines.right": False, "pdf.fonttype": 42}),
        # seaborn asks for Arial first, but save draws with the default, which is wider.
        mpl.rc_context({"font.sans-serif": mpl.rcParamsDefault["font.sans-serif"]}),
    ):
        yield


def log_scale(axis: Axes, values: np.ndarray) -> bool:
    """Make the vertical axis logarithmic, unless none of the values could be shown on it."""
    some = bool((np.asarray(values) > 0).any())
    if some:
        axis.set_yscale("log")
    return some
