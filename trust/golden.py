"""The tables of the bundled study as they were, and how far each column may move.

    python -m trust.golden            # run the studies, and keep their tables anew
    python -m trust.golden --spread   # how far harmless changes move each column

Kept anew only where a change of numbers is meant; the commit says why they changed.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import pandas as pd
import yaml

from trust.outcome import ROOT, environment

FOLDER = ROOT / "tests" / "data" / "golden"
#: The bundled study, and one of seconds.
STUDIES = {"bundled": ROOT / "examples" / "study.yaml", "small": FOLDER / "small.yaml"}
#: What is kept of each command.
TABLES = {
    "probe": ("scores", "differences", "conditional"),
    "erase": ("decoding", "erasures", "summary"),
    "response": ("fits", "axis"),
    "ood": ("by_domain",),
}
#: Changes that decide nothing: threads, kernels, precision, and atoms in a forward pass.
HARMLESS = {
    "one thread": ({"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}, {}),
    "plain forward pass": ({}, {"fast": False}),
    "float64": ({}, {"dtype": "float64"}),
    "small batches": ({}, {"max-atoms": 130}),
}


@dataclass(frozen=True)
class Tolerance:
    """How far numbers of some columns may be from those kept, and why.

    Attributes:
        columns: pattern of ``TABLE.COLUMN``.
        absolute, relative: allowed is the larger of ``absolute`` and ``relative`` times the number.
        reason: why so far and no farther.
    """

    columns: str
    absolute: float
    relative: float
    reason: str


#: The first that fits a column counts; columns of text, truth and whole numbers must be the same.
#: All are about ten times what --spread finds for threads and kernels, and below what is printed.
TOLERANCES = (
    Tolerance("erase/erasures.r2_after", 1e-12, 0,
              "after erasure nothing can be read: zero, up to rounding"),
    Tolerance("probe/*", 2e-4, 1e-4,
              "single-precision features are sums of another order with other threads or kernels; "
              "the ridge solution amplifies that where features are nearly dependent"),
    Tolerance("erase/*", 2e-4, 5e-4,
              "as for probes, and the forces' own rounding: changes are differences of forces"),
    Tolerance("response/fits.anisotropy*", 2e-3, 1e-4,
              "a ratio of small numbers where the Coulomb form doesn't hold (metals)"),
    Tolerance("response/*", 1e-4, 1e-4, "second derivatives in single precision"),
    Tolerance("ood/*", 1e-5, 1e-4, "forces in single precision; energies, over thousands of eV"),
)  # fmt: skip


def tolerance(table: str, column: str) -> Tolerance:
    """The tolerance of a column."""
    return next(t for t in TOLERANCES if fnmatch(f"{table}.{column}", t.columns))


def kept(study: str) -> dict[str, pd.DataFrame]:
    """The tables kept of a study, by ``command/table``."""
    files = sorted((FOLDER / study).glob("*/*.csv"))
    return {f"{file.parent.name}/{file.stem}": pd.read_csv(file) for file in files}


def made(study: str, output: Path, variant: str | None = None) -> dict[str, pd.DataFrame]:
    """The same tables from a run of the study into ``output``."""
    variables, options = HARMLESS[variant] if variant else ({}, {})
    plan = yaml.safe_load(STUDIES[study].read_text(encoding="utf-8"))
    plan["shared"] |= options
    output.mkdir(parents=True, exist_ok=True)
    file = output.with_suffix(".yaml")
    file.write_text(yaml.safe_dump(plan, sort_keys=False), encoding="utf-8")
    command = [sys.executable, "-c", "from mpprobe.cli import main; main()"]
    subprocess.run(
        [*command, "run", str(file), "--quiet", "--output", str(output)],
        check=True, cwd=ROOT, env=environment() | variables, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    names = [f"{command}/{table}" for command, tables in TABLES.items() for table in tables]
    files = {name: output / f"{name}.csv" for name in names}
    return {name: pd.read_csv(file) for name, file in files.items() if file.exists()}


def moved(old: dict[str, pd.DataFrame], new: dict[str, pd.DataFrame]) -> Iterator[str]:
    """A line for each table, row or number that isn't as it was."""
    for name in sorted({*old, *new}):
        if name not in old or name not in new:
            yield f"{name}: is {'new' if name in new else 'gone'}"
            continue
        yield from _moved_table(name, old[name], new[name])


def _moved_table(name: str, old: pd.DataFrame, new: pd.DataFrame) -> Iterator[str]:
    if list(old) != list(new) or len(old) != len(new):
        yield f"{name}: {len(old)} rows of {list(old)} have become {len(new)} of {list(new)}"
        return
    for column in old:
        for row, (a, b) in enumerate(zip(old[column], new[column], strict=True)):
            if not _same(name, column, a, b):
                yield f"{name}, row {row}, {column}: was {a}, is {b}"


def _same(name: str, column: str, a: object, b: object) -> bool:
    if pd.isna(a) or pd.isna(b):
        return bool(pd.isna(a) and pd.isna(b))
    if not {float} <= {type(a), type(b)} <= {float, int}:
        return a == b
    allowed = tolerance(name, column)
    return abs(a - b) <= max(allowed.absolute, allowed.relative * abs(a))


def spread(study: str, folder: Path) -> pd.DataFrame:
    """How far each harmless change moves each column of numbers, at most and against its size."""
    base, rows = made(study, folder / "base"), []
    for variant in HARMLESS:
        other = made(study, folder / variant.replace(" ", "-"), variant)
        for name, table in base.items():
            for column in table.select_dtypes("float"):
                far = (table[column] - other[name][column]).abs()
                rows.append({"table": name, "column": column, "variant": variant,
                             "absolute": far.max(),
                             "relative": (far / table[column].abs()).max()})  # fmt: skip
    return pd.DataFrame(rows)


def keep(study: str, folder: Path) -> None:
    """Run a study and keep its tables."""
    for name, table in made(study, folder).items():
        file = FOLDER / study / f"{name}.csv"
        file.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(file, index=False, float_format="%.9g")
        print(f"kept {file.relative_to(ROOT)}: {len(table)} rows")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m trust.golden", description=__doc__)
    parser.add_argument("studies", nargs="*", default=list(STUDIES), metavar="STUDY")
    parser.add_argument("--spread", action="store_true", help="measure, and keep nothing")
    options = parser.parse_args()
    for study in options.studies:
        with tempfile.TemporaryDirectory() as folder:
            if options.spread:
                print(spread(study, Path(folder)).to_string())
            else:
                shutil.rmtree(FOLDER / study, ignore_errors=True)
                keep(study, Path(folder) / "run")


if __name__ == "__main__":
    main()
