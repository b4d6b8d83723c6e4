"""What the work is done on and by whom: a model or a store, this process or Dask workers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import typer

from mpprobe.cli.completion import EXECUTORS
from mpprobe.cli.console import note
from mpprobe.errors import MPProbeError, require

# What a store has settled, so that giving it beside one would have no effect.
_SETTLED = (
    "structures", "label", "limit", "device", "dtype", "max_atoms", "modal", "head",
    "trust_checkpoint", "fast", "on_error",
)  # fmt: skip


def claim(context: typer.Context, output: Path, overwrite: bool) -> None:
    """Hold the output until the command has ended, so that no other run's work is lost there.

    Commands that keep a journal beside their output hold it by that.

    Raises:
        MPProbeError: it can't be written (see :func:`mpprobe.report.files.check_output`), or
            another run is making it.
    """
    from mpprobe.activations.journal import held_beside
    from mpprobe.report.files import check_output

    check_output(output, overwrite)
    context.with_resource(held_beside(output))


def choose_store(context: typer.Context, model: str | None, store: Path | None) -> Path | None:
    """The store to probe, or None to run the model; of a flag and a configuration, the flag wins.

    Raises:
        MPProbeError: neither is given or both are, or a flag that has no effect on a store.
    """
    if model is None and store is None:
        raise MPProbeError(
            "nothing to probe: give --model (see `mpprobe models`), or --store with features that "
            "`mpprobe extract` has stored"
        )
    if store is None or (model is not None and wins(context, "model", "store")):
        return None
    if model is not None and not wins(context, "store", "model"):
        raise MPProbeError(
            "--model and --store are both given, and a store has the features of its own model; "
            "leave one out"
        )
    idle = [name for name in _SETTLED if _on_the_command_line(context, name)]
    if idle:
        flags = ", ".join("--" + name.replace("_", "-") for name in idle)
        raise MPProbeError(
            f"{flags}: no effect with --store, whose features are there already; leave it out, or "
            "extract another store"
        )
    return store


def wins(context: typer.Context, one: str, other: str) -> bool:
    """Whether the option ``one`` is given on the command line and ``other`` in a configuration.

    What loses is out of force, and the configuration that is written says so.
    """
    won = _on_the_command_line(context, one) and not _on_the_command_line(context, other)
    if won:
        context.params[other] = None
    return won


def _on_the_command_line(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def choose_executor(executor: str, scheduler: str | None, workers: int | None) -> str:
    """``serial`` or ``dask``; a scheduler or a number of workers asks for Dask.

    Raises:
        MPProbeError: an unknown name, or flags that contradict each other.
        MissingPackageError: Dask isn't installed.
    """
    if executor not in EXECUTORS:
        raise MPProbeError(f"--executor {executor}: choose one of {', '.join(EXECUTORS)}")
    if scheduler and workers:
        raise MPProbeError(
            "--workers starts workers here, and --scheduler takes those that it has; leave one out"
        )
    name = "dask" if scheduler or workers else executor
    if name == "dask":
        require("distributed", "--executor dask")
    return name


@contextlib.contextmanager
def chosen_executor(
    executor: str, scheduler: str | None, workers: int | None, output: Path, quiet: bool
) -> Iterator[dict]:
    """``executor`` and ``folder`` as :meth:`mpprobe.probes.Plan.run` takes them.

    Workers of a running scheduler may be on other machines: what they share with this one is
    where the results go, so features are kept there meanwhile.

    Raises:
        MPProbeError: as :func:`choose_executor`; no scheduler answers.
    """
    if choose_executor(executor, scheduler, workers) == "serial":
        yield {}
        return
    from mpprobe.scale import dask_executor

    folder = None
    if scheduler:
        folder = output.resolve().parent
        folder.mkdir(parents=True, exist_ok=True)
    with dask_executor(scheduler, workers=workers) as workplace:
        n = workplace.n_threads
        where = f"of {scheduler}" if scheduler else "on this machine"
        waiting = "" if n else "; waiting for the first"
        note(f"{n} Dask worker thread{'s' * (n != 1)} {where}{waiting}", quiet)
        yield {"executor": workplace, "folder": folder}
