"""Runs of one command beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mpprobe.report.figures import chosen_score, interval_text
from mpprobe.report.page.runs import Run

if TYPE_CHECKING:
    import pandas as pd


def comparison(runs: Sequence[Run]) -> pd.DataFrame:
    """Best layer and score of each target and split, a column for each run that probes.

    Columns: ``target``, ``split``, then the names of the runs. Empty where fewer than two of them
    are of ``probe``.
    """
    import pandas as pd

    probed = [run for run in runs if run.layers]
    if len(probed) < 2:
        return pd.DataFrame()
    cells = {heading(run, probed): _best(run) for run in probed}
    table = pd.DataFrame(cells).rename_axis(["target", "split"]).fillna("–")
    return table.reset_index()


def heading(run: Run, runs: Sequence[Run]) -> str:
    """The models of a run, with its folder's name where another run has the same."""
    models = ", ".join(run.models) or run.name
    same = sum(run.models == other.models for other in runs) > 1
    return f"{models} ({run.name})" if same and run.models else models


def _best(run: Run) -> dict[tuple[str, str], str]:
    scores = run.tables["scores"]
    found = {}
    for target, split in scores[["target", "split"]].drop_duplicates().itertuples(index=False):
        metric, row = chosen_score(scores, target, split)
        layer = run.best_layer(target, split)
        found[target, split] = f"layer {layer}: {interval_text(row, metric)}"
    return found
