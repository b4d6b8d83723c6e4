"""``mpprobe toy``: worlds in which the truth is known, and models trained there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mpprobe.cli import completion, options
from mpprobe.cli.console import note, progress, show
from mpprobe.cli.work import choose_executor, chosen_executor, claim

if TYPE_CHECKING:
    import pandas as pd

app = typer.Typer(
    help="Worlds in which charges and potentials are known, and models trained there.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

World = Annotated[
    str,
    typer.Option(
        "-w", "--world", metavar="NAME",
        help="fixed, equilibrated, screened (4 Å; screened:LENGTH) or band.",
        autocompletion=completion.choice(*completion.WORLDS),
    ),
]  # fmt: skip
_family = typer.Option(
    help="sevenn or mace.", autocompletion=completion.choice(*completion.TOY_FAMILIES)
)
Family = Annotated[str, _family]
Families = Annotated[list[str], _family]


@app.command()
def make(
    file: Annotated[Path, typer.Argument(help="Extended XYZ to write; .gz compresses it.")],
    world: World,
    domain: Annotated[
        list[str],
        typer.Option(
            metavar="NAME",
            help="crystal (as in training), stretched, surface, cluster, packing, larger, "
            "stoichiometry or doped; all for all. Repeatable.",
            autocompletion=completion.choice("all", *completion.TOY_DOMAINS),
        ),
    ] = ["crystal"],
    n: Annotated[int, typer.Option("-n", "--number", min=1, help="Structures of each.")] = 100,
    seed: options.Seed = 0,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:  # fmt: skip
    """Write structures with the energies, forces, charges and potentials of a world."""
    from mpprobe.errors import ToyError
    from mpprobe.structures import as_frames, write_extxyz
    from mpprobe.toys import DOMAINS, make_structures
    from mpprobe.toys import world as find

    if file.exists() and not overwrite:
        raise ToyError(f"{file}: is there already; choose another name, or pass --overwrite")
    rule = find(world)
    chosen = list(DOMAINS) if "all" in domain else domain
    frames = [frame for name in chosen for frame in as_frames(make_structures(rule, name, n, seed))]
    write_extxyz(file, frames)
    note(f"written to {file}: {len(frames)} structures of the world {rule.name}", quiet)


@app.command()
def train(
    context: typer.Context,
    world: World,
    family: Family = "sevenn",
    cutoff: Annotated[float, typer.Option(help="Of one message-passing step, Å.")] = 4.5,
    layers: Annotated[int, typer.Option("-t", "--layers", help="Of message passing.")] = 3,
    l_max: Annotated[int, typer.Option("--l-max", help="Largest order of node features.")] = 1,
    channels: Annotated[int, typer.Option(help="Of each order.")] = 16,
    structures: Annotated[int, typer.Option("-n", "--structures", help="To train on.")] = 200,
    test_structures: Annotated[
        int, typer.Option(min=5, help="Of each domain, by which the model is judged.")
    ] = 16,
    epochs: Annotated[int, typer.Option(help="At most.")] = 100,
    batch_size: Annotated[int, typer.Option(help="Structures.")] = 2,
    learning_rate: Annotated[float, typer.Option(help="Of the first epoch.")] = 0.02,
    minutes: Annotated[
        float | None, typer.Option(help="After which no further epoch begins.")
    ] = None,
    resamples: options.Resamples = 1000,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    output: options.Output = Path("mpprobe-toy"),
    overwrite: options.Overwrite = False,
    config: options.Config = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
    show_progress: options.ShowProgress = None,
) -> None:
    """Train a model on the crystals of a world with its own trainer, and judge it outside them.

    Forces by domain, probes for what the world knows in every layer, and the response of distant
    ions. A run that was stopped goes on when the same line is given again.
    """
    claim(context, output, overwrite)
    import shutil

    from mpprobe import Settings
    from mpprobe.activations.journal import SUFFIX
    from mpprobe.report.toys import LEGEND, toy_results, toy_tables, write_toy
    from mpprobe.toys import Hyperparameters, Job, run_job
    from mpprobe.toys import world as find

    hyper = Hyperparameters(
        family=family, cutoff=cutoff, layers=layers, l_max=l_max, channels=channels, seed=seed,
        epochs=epochs, batch_size=batch_size, learning_rate=learning_rate,
    )  # fmt: skip
    seconds = None if minutes is None else 60 * minutes
    job = Job(find(world).name, hyper, n_train=structures, max_seconds=seconds)
    unfinished = output.with_name(output.name + SUFFIX)
    note(
        f"{job.name}: {structures} structures to train on, until it is done in {unfinished}", quiet
    )
    with progress(show_progress, quiet) as report:

        def after(row: dict) -> None:
            report("epochs", int(row["epoch"]), epochs)
            if row["epoch"] % 5 == 1 and show_progress is not False:
                note(f"epoch {row['epoch']:.0f}: relative force error {row['relative']:.3f}", quiet)

        training, found = run_job(
            job, unfinished, device=device, n_test=test_structures, on_epoch=after,
            settings=Settings(n_resamples=resamples, seed=seed), progress=report,
        )  # fmt: skip
    show(toy_results(job, training, found), toy_tables(found), LEGEND, as_json)
    files = write_toy(
        job, training, found, output, overwrite=overwrite,
        configuration=options.effective_config(context),
    )  # fmt: skip
    shutil.rmtree(unfinished)
    note(f"written to {output}: {', '.join(file.name for file in files)}", quiet)


@app.command()
def sweep(
    context: typer.Context,
    world: Annotated[
        list[str],
        typer.Option(
            "-w", "--world", metavar="NAME", help="As of train. Repeatable, as all here.",
            autocompletion=completion.choice(*completion.WORLDS),
        ),
    ],
    family: Families = ["sevenn"],
    cutoff: Annotated[list[float], typer.Option(help="Å.")] = [4.5],
    layers: Annotated[list[int], typer.Option("-t", "--layers")] = [3],
    l_max: Annotated[list[int], typer.Option("--l-max")] = [1],
    channels: Annotated[list[int], typer.Option()] = [16],
    structures: Annotated[
        list[int], typer.Option("-n", "--structures", help="To train on.")
    ] = [200],
    seed: Annotated[list[int], typer.Option(help="Of weights and structures.")] = [0],
    epochs: Annotated[int, typer.Option(help="At most.")] = 100,
    minutes: Annotated[
        float | None, typer.Option(help="Of each model, after which no further epoch begins.")
    ] = None,
    jobs: Annotated[int, typer.Option("-j", "--jobs", min=1, help="Models at once.")] = 1,
    executor: options.Executor = "serial",
    scheduler: options.Scheduler = None,
    workers: options.Workers = None,
    device: options.Device = "auto",
    output: options.Output = Path("mpprobe-sweep"),
    overwrite: options.Overwrite = False,
    config: options.Config = None,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
    show_progress: options.ShowProgress = None,
) -> None:  # fmt: skip
    """Train and judge a model of every combination, and ask what they say together.

    Models and rows are kept beside the output until all are done: a sweep that was stopped goes on
    when the same line is given again.
    """
    from mpprobe.report.files import check_output

    choose_executor(executor, scheduler, workers)
    if not dry_run:
        check_output(output, overwrite)
    from dataclasses import asdict

    from mpprobe.activations.journal import SUFFIX, journal_beside
    from mpprobe.toys import Hyperparameters, answers, grid
    from mpprobe.toys import sweep as run

    base = Hyperparameters(epochs=epochs)
    planned = grid(
        world, family, cutoff, layers, l_max, channels, structures, seed, base=base,
        max_seconds=None if minutes is None else 60 * minutes,
    )  # fmt: skip
    note(f"{len(planned)} models", quiet)
    if dry_run:
        note("dry run: the input is fine; nothing was computed or written", quiet)
        return
    models = output.with_name(output.name + "-models")
    with journal_beside(output, asdict(base) | {"minutes": minutes}) as journal:
        if journal.found:
            note(f"{journal.found} were done before, in {output.name + SUFFIX}", quiet)
        with (
            chosen_executor(executor, scheduler, workers, output, quiet) as workplace,
            progress(show_progress, quiet) as report,
        ):
            rows = run(
                planned, models, n_jobs=jobs, executor=workplace.get("executor"), device=device,
                journal=journal, progress=report,
            )  # fmt: skip
        found = answers(rows)
        _report(context, rows, found, output, overwrite, as_json, quiet)
    note(f"the models are in {models}", quiet)


@app.command()
def report(
    context: typer.Context,
    sweeps: Annotated[list[Path], typer.Argument(help="Folders that sweeps have written.")],
    output: options.Output = Path("mpprobe-toy-report"),
    overwrite: options.Overwrite = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Ask what the models of several sweeps say together."""
    claim(context, output, overwrite)
    import pandas as pd

    from mpprobe.errors import ToyError
    from mpprobe.toys import answers

    tables = []
    for folder in sweeps:
        try:
            tables.append(pd.read_csv(folder / "models.csv"))
        except (OSError, ValueError) as error:
            raise ToyError(f"{folder}: has no models.csv of a sweep ({error})") from error
    rows = pd.concat(tables, ignore_index=True).drop_duplicates("name", ignore_index=True)
    _report(context, rows, answers(rows), output, overwrite, as_json, quiet)


def _report(
    context: typer.Context,
    rows: pd.DataFrame,
    found: pd.DataFrame,
    output: Path,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    from mpprobe.report.sweep import LEGEND, sweep_results, sweep_tables, write_sweep

    show(sweep_results(rows, found), sweep_tables(rows, found), LEGEND, as_json)
    files = write_sweep(
        rows, found, output, overwrite=overwrite, configuration=options.effective_config(context)
    )
    note(f"written to {output}: {', '.join(file.name for file in files)}", quiet)
