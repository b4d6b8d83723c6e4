"""Training SevenNet and MACE from Python with their own trainers: one loop, resumable."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import math
import os
import random
import sys
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO, StringIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from mpprobe.errors import ToyError
from mpprobe.files import replacing
from mpprobe.models.options import pick_device
from mpprobe.provenance import structures_sha256
from mpprobe.structures import as_frames

if TYPE_CHECKING:
    import torch
    from ase import Atoms

#: Names of the families.
FAMILIES = ("sevenn", "mace")
#: Called after each epoch with its row of the history.
OnEpoch = Callable[[dict[str, float]], None]

_LAST = "last.pt"


@dataclass(frozen=True)
class Hyperparameters:
    """What a model is built and trained with.

    Attributes:
        family: one of :data:`FAMILIES`.
        cutoff: Å.
        layers: of message passing.
        l_max: largest order of the node features.
        channels: of each order.
        seed: of the weights and of the order of the structures.
        epochs: at most.
        batch_size: structures.
        learning_rate: of the first epoch; it falls linearly to a hundredth of that.
        patience: epochs without a smaller validation error after which training stops.
        goal: relative force error at which it stops; zero for never.
    """

    family: str = "sevenn"
    cutoff: float = 4.5
    layers: int = 3
    l_max: int = 1
    channels: int = 16
    seed: int = 0
    epochs: int = 100
    batch_size: int = 2
    learning_rate: float = 0.02
    patience: int = 30
    goal: float = 0.0

    def __post_init__(self) -> None:
        if self.family not in FAMILIES:
            raise ToyError(f"family {self.family!r}: choose {' or '.join(FAMILIES)}")
        for name in ("cutoff", "layers", "channels", "epochs", "batch_size", "learning_rate"):
            if getattr(self, name) <= 0:
                raise ToyError(f"{name}: give more than zero, not {getattr(self, name):g}")
        if self.l_max < 0:
            raise ToyError(f"l_max: give zero or more, not {self.l_max}")


@dataclass(frozen=True)
class Training:
    """How a training run went.

    Attributes:
        model: the file of the best epoch's model, for :func:`mpprobe.load`.
        history: of each epoch ``epoch``, ``train_loss``, ``energy_rmse`` (eV an atom) and
            ``force_rmse`` (eV/Å) of the validation set, ``relative``, the latter over the root
            mean square of the forces, ``seconds``.
        reason: why it stopped: ``epochs``, ``patience``, ``goal`` or ``time``.
    """

    model: Path
    history: list[dict[str, float]]
    reason: str

    @property
    def best(self) -> dict[str, float]:
        """The epoch whose model was kept."""
        return min(self.history, key=lambda row: row["force_rmse"])


class Trainee(ABC):
    """A model in training, with its family's own data, loss, optimiser and epoch."""

    @abstractmethod
    def epoch(self, number: int) -> dict[str, float]:
        """Train for one epoch: ``train_loss``, and ``energy_rmse`` and ``force_rmse`` after it."""

    @abstractmethod
    def write(self, file: IO[bytes]) -> None:
        """Write the model as its validation saw it, as the family's users would."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """All that training goes on from: tensors and plain containers."""

    @abstractmethod
    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a :meth:`state`."""


def train(
    training: Sequence[Atoms],
    validation: Sequence[Atoms],
    folder: str | Path,
    hyper: Hyperparameters = Hyperparameters(),
    *,
    device: str = "auto",
    max_seconds: float | None = None,
    on_epoch: OnEpoch | None = None,
) -> Training:
    """Train a model; one that was stopped goes on after its last whole epoch.

    Args:
        training, validation: structures with energies and forces.
        folder: for the model and the state of training.
        hyper: of the model and the training.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        max_seconds: after which no further epoch begins.
        on_epoch: called after each epoch with its row of the history.

    Raises:
        ToyError: no structures, a folder with another training run, or an error that isn't finite.
        ModelError: no such device.
        MissingPackageError: the family's package is missing.
    """
    import torch

    if not training or not validation:
        raise ToyError("nothing to train on: give structures to train and to validate on")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    chosen = pick_device(device)
    about = _about(training, validation, hyper)
    last = folder / _LAST
    held = _held(last) if last.exists() else None
    if held is not None and held["about"] != about:
        raise ToyError(f"{folder}: holds another training run; choose another folder, or remove it")
    history = held["history"] if held else []
    model = folder / ("model.pth" if hyper.family == "sevenn" else "best.model")
    forces = np.concatenate([atoms.get_forces().ravel() for atoms in validation])
    size = float(np.sqrt((forces**2).mean()))
    started = time.monotonic()
    streams = sys.stdout, sys.stderr
    with contained(hyper.seed):
        trainee = _trainee(training, validation, hyper, chosen)
        if held is not None:
            trainee.restore(held["state"])
        while (reason := _reason(history, hyper, started, max_seconds)) is None:
            row = _one_epoch(trainee, len(history) + 1, size)
            history.append(row)
            if row["force_rmse"] == min(r["force_rmse"] for r in history):
                _keep(model, trainee.write)
            kept = {"about": about, "history": history, "state": trainee.state()}
            _keep(last, partial(torch.save, kept))
            if on_epoch is not None:
                with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
                    on_epoch(row)
    return Training(model, history, reason)


def _held(last: Path) -> dict[str, Any]:
    """What a training run has left to go on from; read as data, so that nothing in it is run."""
    import torch

    try:
        held = torch.load(last, weights_only=True, map_location="cpu")
        if {"about", "history", "state"} <= held.keys():
            return held
        reason = "it holds something else"
    except Exception as error:  # torch raises many kinds
        reason = type(error).__name__
    raise ToyError(
        f"{last}: isn't what a training run leaves to go on from ({reason}); remove it to train "
        "from the start"
    )


def _keep(path: Path, save: Callable[[IO[bytes]], Any]) -> None:
    """Write a file whole or not at all; ``save`` writes it to memory.

    Raises:
        StoreError: it can't be written.
    """
    content = BytesIO()  # on a full disk torch's own files raise what isn't an OSError
    save(content)
    with replacing(path) as part:
        part.write_bytes(content.getbuffer())


def _one_epoch(trainee: Trainee, number: int, size: float) -> dict[str, float]:
    began = time.monotonic()
    errors = trainee.epoch(number)
    if not all(map(math.isfinite, errors.values())):
        raise ToyError(f"epoch {number}: the error isn't finite; lower the learning rate")
    relative = errors["force_rmse"] / size
    seconds = round(time.monotonic() - began, 2)
    return {"epoch": number, **errors, "relative": relative, "seconds": seconds}


def _reason(
    history: list[dict], hyper: Hyperparameters, started: float, max_seconds: float | None
) -> str | None:
    """Why to begin no further epoch; None to go on."""
    if len(history) >= hyper.epochs:
        return "epochs"
    if history:
        best = min(history, key=lambda row: row["force_rmse"])
        if best["relative"] <= hyper.goal:
            return "goal"
        if history[-1]["epoch"] - best["epoch"] >= hyper.patience:
            return "patience"
        if max_seconds is not None and time.monotonic() - started >= max_seconds:
            return "time"
    return None


def _about(training: Sequence[Atoms], validation: Sequence[Atoms], hyper: Hyperparameters) -> str:
    """What makes a training run the same one."""
    labels = [
        (a.get_potential_energy(), float(np.abs(a.get_forces()).sum()))
        for a in (*training, *validation)
    ]
    return json.dumps({
        "hyperparameters": dataclasses.asdict(hyper), "labels": np.sum(labels, axis=0).tolist(),
        "structures": [structures_sha256(as_frames(part)) for part in (training, validation)],
    })  # fmt: skip


def _trainee(
    training: Sequence[Atoms],
    validation: Sequence[Atoms],
    hyper: Hyperparameters,
    device: torch.device,
) -> Trainee:
    if hyper.family == "mace":
        from mpprobe.toys.mace_trainer import MACETrainee

        return MACETrainee(training, validation, hyper, device)
    from mpprobe.toys.sevennet_trainer import SevenNetTrainee

    return SevenNetTrainee(training, validation, hyper, device)


@contextlib.contextmanager
def contained(seed: int) -> Iterator[None]:
    """Seeded, silent, and nothing that the libraries change in the process stays changed."""
    import torch

    root = logging.getLogger()
    logs = root.handlers[:], root.filters[:], root.level
    unsafe = os.environ.get("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD")
    dtype, drawn = torch.get_default_dtype(), np.random.get_state()
    shuffled = random.getstate()
    with (
        torch.random.fork_rng(),
        warnings.catch_warnings(),
        contextlib.redirect_stdout(StringIO()),
        contextlib.redirect_stderr(StringIO()),
    ):
        warnings.simplefilter("ignore")
        # Without a handler the libraries' first message would set up logging for the process.
        root.handlers[:] = [logging.NullHandler()]
        try:
            torch.set_default_dtype(torch.float32)
            torch.manual_seed(seed)
            np.random.seed(seed)
            random.seed(seed)
            yield
        finally:
            torch.set_default_dtype(dtype)
            np.random.set_state(drawn)
            random.setstate(shuffled)
            root.handlers[:], root.filters[:] = logs[:2]
            root.setLevel(logs[2])
            os.environ.pop("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", None)
            if unsafe is not None:
                os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = unsafe


def epoch_seed(seed: int, number: int) -> int:
    """Of the order of the structures in one epoch, the same whether training was resumed or not."""
    return 1_000_003 * seed + number
