"""Tables for the page: a value with its interval in one cell, sorted by the value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

#: Rows of a table on the page; the file has them all.
MOST_ROWS = 400


@dataclass(frozen=True)
class Cell:
    """Text, and what it is sorted by."""

    text: str
    order: float | str


@dataclass(frozen=True)
class Table:
    """A table as the page shows it.

    Attributes:
        name: of its file.
        headings: of the columns.
        numeric: whether a column holds numbers.
        rows: of cells.
        n_rows: in the file.
    """

    name: str
    headings: list[str]
    numeric: list[bool]
    rows: list[list[Cell]]
    n_rows: int


def page_table(name: str, table: pd.DataFrame) -> Table:
    """The table without columns that are empty, its intervals beside their values."""
    table = table.dropna(axis=1, how="all")
    shown = [c for c in table if not _is_end(c, table)]
    columns = {c: _cells(table, c) for c in shown}
    return Table(
        name=name,
        headings=[c.replace("_", " ") for c in shown],
        numeric=[_is_number(table[c]) for c in shown],
        rows=[list(row) for row in zip(*columns.values(), strict=True)][:MOST_ROWS],
        n_rows=len(table),
    )


def _is_end(column: str, table: pd.DataFrame) -> bool:
    """Whether a column is the end of another one's interval."""
    stem = column.removesuffix("_low").removesuffix("_high")
    return stem != column and stem in table


def _is_number(values: pd.Series) -> bool:
    return values.dtype.kind in "iuf"


def _cells(table: pd.DataFrame, column: str) -> list[Cell]:
    values = table[column]
    if not _is_number(values):
        texts = values.astype(object).where(values.notna(), "").astype(str)
        return [Cell(text, text) for text in texts]
    ends = [table.get(f"{column}_{end}") for end in ("low", "high")]
    cells = [Cell(_text(v), _order(v)) for v in values]
    if any(end is None or not _is_number(end) for end in ends):
        return cells
    return [
        Cell(f"{cell.text} [{_text(low)}, {_text(high)}]", cell.order)
        if np.isfinite(low) and np.isfinite(high) else cell
        for cell, low, high in zip(cells, *ends, strict=True)
    ]  # fmt: skip


def _order(value: Any) -> float | str:
    return float(value) if np.isfinite(value) else ""


def _text(value: Any) -> str:
    if not np.isfinite(value):
        return "–"
    return f"{value:.4g}".replace("-", "−")
