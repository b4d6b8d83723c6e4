"""What a study leaves on disk, written whole or not at all."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mpprobe.errors import MPProbeError
from mpprobe.files import clear_away, replacing_folder
from mpprobe.probes.results import Study
from mpprobe.probes.tables import COLUMNS
from mpprobe.report.figures import layer_profile, parity, save
from mpprobe.report.readings import readings
from mpprobe.structures import write_extxyz
from mpprobe.structures.failures import FILE
from mpprobe.structures.write import column_name
from mpprobe.texts import json_escaped, no_formula, one_line

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def check_output(folder: str | Path, overwrite: bool) -> Path:
    """The output folder, refused before any work is done if it can't be written.

    Raises:
        MPProbeError: it holds something already and ``overwrite`` is false, isn't a folder, is
            the current one or a mount point, or can't be written to.
    """
    given, folder = folder, Path(os.path.realpath(folder))
    try:
        if folder.parent.is_dir():
            clear_away(folder)
        if folder.exists() and not folder.is_dir():
            raise MPProbeError(f"{given}: is a file; give a folder with --output")
        if Path.cwd().is_relative_to(folder):
            # The folder is replaced as a whole, and the user's shell would be left in the old one.
            raise MPProbeError(f"{given}: is the folder you are in; give another with --output")
        if folder.is_mount():
            raise MPProbeError(
                f"{given}: is a mount point, which can't be replaced; give a folder in it with "
                "--output"
            )
        if folder.is_dir() and any(folder.iterdir()):
            _check_replaceable(given, folder, overwrite)
        existing = next(parent for parent in folder.parents if parent.exists())
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise MPProbeError(
            f"{given}: can't be written ({error.strerror}); choose another --output"
        ) from error
    return folder


def _check_replaceable(given: str | Path, folder: Path, overwrite: bool) -> None:
    """Refuse a folder with something in it, unless that is an earlier study to be overwritten."""
    if not overwrite:
        raise MPProbeError(
            f"{given}: holds results already; add --overwrite, or choose another --output"
        )
    try:
        held = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        held = None
    if not isinstance(held, dict) or not {"readings", "provenance"} <= held.keys():
        raise MPProbeError(
            f"{given}: holds files but no results.json of mpprobe's, so --overwrite leaves it "
            "alone; choose another --output"
        )


def results(study: Study) -> dict[str, Any]:
    """The whole study as plain data: readings, tables and their columns, arrays, provenance."""
    return {
        "command": "probe",
        "readings": readings(study),
        "columns": COLUMNS,
        "scores": records(study.scores),
        "differences": records(study.differences),
        "conditional": records(study.conditional),
        "choices": [
            {"target": target, "split": split, "layer": layer, "share": share}
            for (target, split), shares in study.choices.items()
            for layer, share in shares.items()
        ],
        "arrays": [{"array": column_name(name), **about} for name, about, _ in _arrays(study)],
        "provenance": study.provenance,
    }


def write_study(
    study: Study, folder: str | Path, *, overwrite: bool = False, configuration: str | None = None
) -> list[Path]:
    """Write tables, figures and structures into ``folder``; what was there is replaced.

    ``results.json`` (everything), ``scores.csv``, ``differences.csv``, ``conditional.csv``,
    ``layer_profile`` and one ``parity`` figure for each target and split as PNG and PDF,
    ``structures.extxyz`` with per-atom ``mpprobe_*`` arrays (targets, what each layer decodes of
    them as a whole and within kinds, its hidden states on a plane), and ``config.yaml`` if given.

    Returns:
        The files written.

    Raises:
        MPProbeError: see :func:`check_output`.
    """
    return replace_folder(folder, overwrite, lambda part: _write_into(study, part, configuration))


def replace_folder(
    folder: str | Path, overwrite: bool, write: Callable[[Path], None]
) -> list[Path]:
    """Let ``write`` fill a folder beside, then put it in the place of ``folder``.

    Returns:
        The files written.

    Raises:
        MPProbeError: see :func:`check_output`; the disk is full or fails.
    """
    folder = check_output(folder, overwrite)
    with replacing_folder(folder) as part:
        write(part)
    return sorted(folder.iterdir())


def write_result(
    folder: str | Path,
    results: Mapping[str, Any],
    tables: Mapping[str, pd.DataFrame],
    figures: Mapping[str, Figure],
    *,
    overwrite: bool,
    configuration: str | None,
    more: Callable[[Path], object] = lambda part: None,
) -> list[Path]:
    """Write ``results.json``, tables as CSV, figures as PNG and PDF, and ``config.yaml``.

    Args:
        folder: what is there is replaced.
        results: plain data.
        tables, figures: by the names of their files.
        overwrite: an earlier result may be.
        configuration: written as ``config.yaml`` if given.
        more: writes what else there is into the folder it is given.

    Returns:
        The files written.

    Raises:
        MPProbeError: see :func:`check_output`.
    """

    def write(part: Path) -> None:
        write_json(part / "results.json", results)
        _write_left_out(part, results["provenance"])
        for name, table in tables.items():
            write_table(part / f"{name}.csv", table)
        for name, figure in figures.items():
            save(figure, part / name)
        more(part)
        if configuration is not None:
            (part / "config.yaml").write_text(configuration, encoding="utf-8")

    return replace_folder(folder, overwrite, write)


def _write_into(study: Study, folder: Path, configuration: str | None) -> None:
    write_json(folder / "results.json", results(study))
    _write_left_out(folder, study.provenance)
    write_table(folder / "scores.csv", study.scores)
    write_table(folder / "differences.csv", study.differences)
    write_table(folder / "conditional.csv", study.conditional)
    if configuration is not None:
        (folder / "config.yaml").write_text(configuration, encoding="utf-8")
    save(layer_profile(study.scores, study.settings.within), folder / "layer_profile")
    pairs = dict.fromkeys((target, split) for target, split, _ in study.predictions)
    for target, split in pairs:
        name = re.sub(r"[^\w-]+", "-", f"parity_{target}_{split}")
        save(parity(study, target, split), folder / name)
    write_extxyz(folder / "structures.extxyz", study.frames, atom_arrays(study))


def atom_arrays(study: Study) -> dict[str, list[np.ndarray]]:
    """Per-atom arrays by name: each target, what each layer asked for decodes of it, its map."""
    return {name: study.on_atoms(values) for name, _, values in _arrays(study)}


def _arrays(study: Study) -> Iterator[tuple[str, dict[str, Any], np.ndarray]]:
    """Name, what it holds as plain data, and values of every per-atom array."""
    for target, values in study.true.items():
        unit = study.targets[target].unit
        yield target, {"kind": "true", "target": target, "unit": unit}, values
        if values.ndim == 1:
            about = {"kind": "true within kinds", "target": target, "unit": unit}
            yield f"{target}_within", about, study.centred(values)
    for (target, split, layer), values in study.predictions.items():
        if layer in study.layers:
            place: dict[str, Any] = {"target": target, "split": split, "layer": layer}
            name = f"{target}_{split}_layer_{layer}"
            yield name, {"kind": "decoded", **place}, values
            if values.ndim == 1:
                within = study.centred(study.within[target, split, layer])
                yield f"{name}_within", {"kind": "decoded within kinds", **place}, within
    for layer in sorted(study.maps.keys() & set(study.layers)):
        yield f"map_layer_{layer}", {"kind": "map", "layer": layer}, study.maps[layer]


def _write_left_out(folder: Path, provenance: Mapping[str, Any]) -> None:
    """``failures.csv``, if structures were left out."""
    failures = provenance.get("left_out", {}).get("failures")
    if failures:
        write_failures(folder / FILE, failures)


def write_failures(path: Path, failures: Sequence[Mapping[str, str]]) -> None:
    """The structures that were left out as CSV: source, stage, error and advice of each."""
    import pandas as pd

    write_table(path, pd.DataFrame(failures))


def left_out_lines(provenance: Mapping[str, Any]) -> list[str]:
    """What the reader of a result must know of structures left out: a line, or none."""
    held = provenance.get("left_out", {})
    if not held.get("left_out"):
        return []
    return [f"{held['left_out']} of {held['given']} structures were left out: see {FILE}"]


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """The file that holds :func:`json_text`."""
    path.write_text(json_text(content) + "\n", encoding="utf-8")


def write_table(path: Path, table: pd.DataFrame) -> None:
    """A table as CSV, in which no text is taken for a formula by a spreadsheet.

    Labels come from files of any origin, and a spreadsheet runs what begins with ``=``, ``+``,
    ``-``, ``@``, a tab or a line end: such texts get an apostrophe before them
    (:func:`mpprobe.texts.no_formula`). Every row is one line.
    """
    texts = table.select_dtypes(exclude=["number", "bool"])
    safe = table.assign(**{name: texts[name].map(_no_formula) for name in texts})
    safe.rename(columns=_no_formula).to_csv(path, index=False)


def _no_formula(value: Any) -> Any:
    return one_line(no_formula(value)) if isinstance(value, str) else value


def json_text(content: Mapping[str, Any]) -> str:
    """Plain data, readable, without NaN."""
    return json_escaped(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False))


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as dicts of plain values; what isn't defined is None."""
    plain = table.astype(object).where(table.notna(), None)
    return [
        {k: v.item() if isinstance(v, np.generic) else v for k, v in row.items()}
        for row in plain.to_dict("records")
    ]
