"""What commands have left on disk, read back for a page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpprobe.errors import ReportError
from mpprobe.report.files import left_out_lines
from mpprobe.structures import Frame, read_file
from mpprobe.structures.write import LABELS, PREFIX
from mpprobe.texts import no_formula, one_line

if TYPE_CHECKING:
    import pandas as pd

_STRUCTURES = ("structures.extxyz", "structure.extxyz")


@dataclass(frozen=True)
class Run:
    """The results of one command.

    Attributes:
        folder: that it wrote.
        name: the folder's, for headings.
        command: such as ``probe``.
        readings: one line each.
        models: names of the models.
        results: all of ``results.json``.
        tables: by the name of their file.
        figures: PNG files by name.
        frames: structures with per-atom ``mpprobe_*`` arrays; empty if it wrote none.
        configuration: its options as YAML, empty if it wrote none.
    """

    folder: Path
    name: str
    command: str
    readings: list[str]
    models: list[str]
    results: dict[str, Any]
    tables: dict[str, pd.DataFrame]
    figures: dict[str, Path]
    frames: list[Frame]
    configuration: str

    @property
    def layers(self) -> list[int]:
        """From which probes decoded something."""
        arrays = self.results.get("arrays", ())
        return sorted({about["layer"] for about in arrays if about["kind"] == "decoded"})

    def best_layer(self, target: str, split: str) -> int:
        """The layer that the training folds chose most often; of equals the first."""
        # Tables have names of targets as they are safe in a spreadsheet.
        found = [
            c for c in self.results["choices"]
            if c["split"] == split and target in (c["target"], one_line(no_formula(c["target"])))
        ]  # fmt: skip
        return max(found, key=lambda choice: (choice["share"], -choice["layer"]))["layer"]


def read_run(folder: str | Path) -> Run:
    """Read the folder that a command has written.

    Raises:
        ReportError: it isn't one, or a file in it can't be read.
        StructureError: its structures can't be read.
    """
    folder = Path(folder)
    _check_inside(folder)
    results = _results(folder)
    structures = [folder / name for name in _STRUCTURES if (folder / name).exists()]
    configuration = folder / "config.yaml"
    try:
        return Run(
            folder=folder,
            name=folder.resolve().name,
            command=str(results["command"]),
            readings=[
                str(line) for line in [*left_out_lines(results["provenance"]), *results["readings"]]
            ],
            models=_models(results["provenance"]),
            results=results,
            tables={file.stem: _table(file) for file in sorted(folder.glob("*.csv"))},
            figures={file.stem: file for file in sorted(folder.glob("*.png"))},
            frames=[_labelled(frame) for file in structures for frame in read_file(file)],
            configuration=configuration.read_text("utf-8") if configuration.exists() else "",
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ReportError(f"{folder}: can't be read ({' '.join(str(error).split())})") from error


def _check_inside(folder: Path) -> None:
    """Refuse links to elsewhere: what they point at would be on a page that is passed on."""
    for file in sorted(folder.glob("*")):
        if file.is_symlink() and not file.resolve().is_relative_to(folder.resolve()):
            raise ReportError(f"{file}: is a link out of the folder; put the file itself there")


def _labelled(frame: Frame) -> Frame:
    """The frame with the labels that it had in the run, wherever they came from."""
    info = frame.atoms.info
    held: dict[str, Any] = {
        label: str(info[PREFIX + label]) for label in LABELS if PREFIX + label in info
    }
    return replace(frame, **held)


def _results(folder: Path) -> dict[str, Any]:
    try:
        results = json.loads((folder / "results.json").read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ReportError(
            f"{folder}: has no results.json to read; give a folder that a command of mpprobe wrote"
        ) from error
    if not isinstance(results, dict) or not {"command", "readings", "provenance"} <= set(results):
        raise ReportError(
            f"{folder}: its results.json isn't one that this version of mpprobe writes; "
            "run the command again"
        )
    return results


def _table(file: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.read_csv(file)
    except pd.errors.EmptyDataError:  # a table without columns
        return pd.DataFrame()


def _models(provenance: dict[str, Any]) -> list[str]:
    """Names of the models, of whichever form the command keeps them in."""
    if "models" in provenance:
        return [str(name) for name in provenance["models"]]
    return [str(provenance["model"]["name"])] if "model" in provenance else []


def read_runs(folders: Sequence[str | Path]) -> list[Run]:
    """Several folders, each once.

    Raises:
        ReportError: none is given, one twice, or one that can't be read.
        StructureError: structures that can't be read.
    """
    if not folders:
        raise ReportError("nothing to report: give folders that commands of mpprobe wrote")
    seen: set[Path] = set()
    for folder in map(Path, folders):
        if folder.resolve() in seen:
            raise ReportError(f"{folder}: is given twice; leave one out")
        seen.add(folder.resolve())
    return [read_run(folder) for folder in folders]
