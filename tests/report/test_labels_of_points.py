"""Names beside points: all there, none over a point, a bar, or another name."""

import itertools

import numpy as np
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text

from mpprobe.report.labels import place_labels


def test_names_cover_neither_points_nor_bars_nor_each_other():
    rng = np.random.default_rng(0)
    x, y = rng.uniform(1, 2, (2, 15))
    low, high = y - 0.1, np.where(np.arange(15) % 5, y + 0.1, np.nan)
    axis = Figure(figsize=(5, 4)).subplots()
    axis.plot(x, y, "o")
    names = [f"name {i}" for i in range(15)]
    place_labels(axis, x, y, names, low, high)
    labels = [child for child in axis.get_children() if isinstance(child, Annotation)]
    assert [label.get_text() for label in labels] == names
    boxes = [Text.get_window_extent(label) for label in labels]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    ends = axis.transData.transform([*zip(x, y, strict=True), *zip(x, low, strict=True)])
    assert not any(box.count_contains(ends) for box in boxes)
    assert all(axis.bbox.contains(*box.min) and axis.bbox.contains(*box.max) for box in boxes)


def test_a_name_without_a_free_place_stays_beside_its_point():
    axis = Figure(figsize=(1, 1)).subplots()
    x = y = np.full(30, 0.5)
    place_labels(axis, x, y, ["name"] * 30, y, y)
    assert len(axis.texts) == 30
