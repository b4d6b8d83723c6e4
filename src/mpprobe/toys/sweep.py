"""Many models trained in worlds: one row each, on one machine or several, resumable."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mpprobe.activations.journal import Journal
from mpprobe.errors import ToyError
from mpprobe.models import load
from mpprobe.models.controls import TRAINED
from mpprobe.probes import Settings
from mpprobe.probes.executor import Executor, Item, Result
from mpprobe.probes.features import check_shared
from mpprobe.toys.structures import TRAINING
from mpprobe.toys.study import N_TEST, RANDOM, Assessed, assess, profile, training_sets
from mpprobe.toys.training import Hyperparameters, OnEpoch, Training, train
from mpprobe.toys.worlds import world

if TYPE_CHECKING:
    import pandas as pd

#: Of a set of structures that is not the domain of training.
OUTSIDE = "outside"


@dataclass(frozen=True)
class Job:
    """A model to be trained in a world.

    Attributes:
        world: its name.
        hyper: of the model and its training.
        n_train, n_valid: structures.
        max_seconds: after which no further epoch begins; None for no end.
    """

    world: str
    hyper: Hyperparameters
    n_train: int = 200
    n_valid: int = 12
    max_seconds: float | None = None

    @property
    def name(self) -> str:
        """Of its folder: what sets it apart from others of a sweep."""
        h = self.hyper
        return (
            f"{h.family}-{self.world.replace(':', '')}-rc{h.cutoff:g}-t{h.layers}-l{h.l_max}"
            f"-c{h.channels}-n{self.n_train}-s{h.seed}"
        )


def run_job(
    job: Job,
    folder: str | Path,
    *,
    device: str = "auto",
    n_test: int = N_TEST,
    settings: Settings | None = None,
    on_epoch: OnEpoch | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> tuple[Training, Assessed]:
    """Train a model in its world and judge it; one that was stopped goes on.

    Args:
        job: what to train.
        folder: for the model and the state of its training.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        n_test: structures of each domain by which it is judged.
        settings: folds, resamples and seed of the judging.
        on_epoch: called after each epoch with its row of the history.
        progress: called as the judging goes on.

    Raises:
        MPProbeError: a world, a setting or a device that isn't there; an error that isn't finite.
    """
    rule = world(job.world)
    training, validation = training_sets(rule, job.n_train, job.n_valid, job.hyper.seed)
    trained = train(
        training, validation, folder, job.hyper, device=device, max_seconds=job.max_seconds,
        on_epoch=on_epoch,
    )  # fmt: skip
    # The file was written a moment ago by mace in this process: it is no stranger's.
    potential = load(str(trained.model), device=device, trust_checkpoint=True)
    found = assess(potential, rule, n=n_test, settings=settings, progress=progress)
    return trained, found


def row_of(job: Job, trained: Training, found: Assessed) -> dict[str, Any]:
    """One model as one row: what it is, its errors by domain, and the best that probes read.

    Columns: ``name``, ``world``, the hyperparameters, ``n_train``, ``reach`` (Å), ``epochs`` and
    ``reason``; ``relative:DOMAIN``, force error over the size of the forces, of every domain and
    of all those outside training, ``relative:outside`` (their geometric mean); for each target
    ``r2:TARGET``, R² within kinds in the domain of training with structures held out, of the
    best layer, ``layer:TARGET``, and ``random:TARGET``, the same with random weights; ``strength``,
    ``exponent`` and ``residual`` of the response.
    """
    errors = found.forces.set_index("domain")["relative"].drop("all")
    outside = errors.drop(TRAINING)
    row = {
        "name": job.name, "world": job.world, **asdict(job.hyper), "n_train": job.n_train,
        "reach": job.hyper.cutoff * job.hyper.layers, "epochs": len(trained.history),
        "reason": trained.reason, "validation": trained.best["relative"],
        **{f"relative:{domain}": value for domain, value in errors.items()},
        f"relative:{OUTSIDE}": float(np.exp(np.log(outside).mean())),
    }  # fmt: skip
    for target, read in profile(found.scores).iterrows():
        name = str(target).partition("@")[0]
        layers = read.drop([0, RANDOM], errors="ignore").dropna()
        row |= {f"r2:{name}": layers.max(), f"layer:{name}": int(layers.idxmax()),
                f"random:{name}": read[RANDOM]}  # fmt: skip
        row |= {f"r2:{name}:{layer}": value for layer, value in layers.items()}
    fit = found.response[(found.response["model"] == TRAINED) & found.response["all"]].iloc[0]
    return row | {name: fit[name] for name in ("strength", "exponent", "residual")}


def grid(
    worlds: Sequence[str],
    families: Sequence[str] = ("sevenn",),
    cutoffs: Sequence[float] = (4.5,),
    layers: Sequence[int] = (3,),
    l_max: Sequence[int] = (1,),
    channels: Sequence[int] = (16,),
    n_train: Sequence[int] = (200,),
    seeds: Sequence[int] = (0,),
    base: Hyperparameters | None = None,
    max_seconds: float | None = None,
) -> list[Job]:
    """Every combination of what is given, as jobs.

    Raises:
        ToyError: a world or a setting that isn't there.
    """
    jobs = []
    for name in worlds:
        world(name)
    for name, family, cutoff, depth, order, width, n, seed in itertools.product(
        worlds, families, cutoffs, layers, l_max, channels, n_train, seeds
    ):
        hyper = replace(
            base or Hyperparameters(), family=family, cutoff=cutoff, layers=depth, l_max=order,
            channels=width, seed=seed,
        )  # fmt: skip
        jobs.append(Job(name, hyper, n_train=n, max_seconds=max_seconds))
    return jobs


def sweep(
    jobs: Sequence[Job],
    folder: str | Path,
    *,
    n_jobs: int = 1,
    executor: Executor | None = None,
    device: str = "auto",
    settings: Settings | None = None,
    journal: Journal | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> pd.DataFrame:
    """Train and judge every model, one row each as :func:`row_of` says.

    Args:
        jobs: from :func:`grid`, or made one by one.
        folder: in which each model has its own.
        n_jobs: processes at once (joblib), of one thread each if more than one.
        executor: who trains them instead, such as :func:`mpprobe.scale.dask_executor`; its workers
            must see ``folder``.
        device: of all.
        settings: folds, resamples and seed of the judging.
        journal: keeps rows that are done, so that a sweep that was stopped goes on.
        progress: called after every model.

    Raises:
        MPProbeError: of the first model that failed.
    """
    import pandas as pd

    journal = journal or Journal()
    folder = Path(folder).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    left = [job for job in jobs if job.name not in journal.parts]
    done = len(jobs) - len(left)
    if executor is None:
        executor = _Processes(min(n_jobs, max(len(left), 1)))
    elif not executor.in_process:
        check_shared([folder], executor)
    one_thread = not executor.in_process
    work = partial(_row, folder=folder, device=device, settings=settings, one_thread=one_thread)
    results = executor.map(work, left)
    for k, (job, row) in enumerate(zip(left, results, strict=True)):
        journal.part(job.name, partial(dict, row))
        if progress is not None:
            progress("models", done + k + 1, len(jobs))
    return pd.DataFrame([journal.parts[job.name] for job in jobs])


class _Processes:
    """An executor on processes of this machine, by joblib."""

    def __init__(self, n_jobs: int) -> None:
        self.n_jobs = n_jobs
        self.in_process = n_jobs == 1

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        from concurrent.futures.process import BrokenProcessPool

        from joblib import Parallel, delayed

        parallel = Parallel(n_jobs=self.n_jobs, return_as="generator")
        try:
            yield from parallel(delayed(function)(item) for item in items)
        except BrokenProcessPool as error:
            raise ToyError(
                "a training process was killed, most often for want of memory; the same line goes "
                "on, with fewer at once by --jobs"
            ) from error


def _row(
    job: Job, folder: Path, device: str, settings: Settings | None, one_thread: bool
) -> dict[str, Any]:
    import torch

    if one_thread:
        torch.set_num_threads(1)
    trained, found = run_job(job, folder / job.name, device=device, settings=settings)
    row = row_of(job, trained, found)
    return {k: v.item() if isinstance(v, np.generic) else v for k, v in row.items()}
