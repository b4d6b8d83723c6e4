"""MACE in training: mace's own arguments, data, model, loss, optimiser and epoch."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from copy import deepcopy
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import torch

from mpprobe.errors import require
from mpprobe.toys.training import Hyperparameters, Trainee, epoch_seed

if TYPE_CHECKING:
    from ase import Atoms

_HEADS = ["Default"]


class MACETrainee(Trainee):
    """See :class:`mpprobe.toys.training.Trainee`."""

    def __init__(
        self,
        training: Sequence[Atoms],
        validation: Sequence[Atoms],
        hyper: Hyperparameters,
        device: torch.device,
    ) -> None:
        require("mace", "training MACE")
        from mace import data, modules, tools
        from mace.tools import torch_geometric
        from mace.tools.model_script_utils import configure_model
        from mace.tools.scripts_utils import (
            dict_to_array,
            get_loss_fn,
            get_optimizer,
            get_params_options,
        )
        from torch_ema import ExponentialMovingAverage

        self.hyper, self.device = hyper, device
        self.args = _arguments(hyper, device)
        parts = {"train": training, "valid": validation}
        configurations = {name: _configurations(part) for name, part in parts.items()}
        table = tools.get_atomic_number_table_from_zs(
            z for part in configurations.values() for c in part for z in c.atomic_numbers.tolist()
        )
        references = data.compute_average_E0s(configurations["train"], table)
        self.order = torch.Generator()
        self.loaders = {}
        for name, part in configurations.items():
            graphs = [data.AtomicData.from_config(c, z_table=table, cutoff=hyper.cutoff,
                                                  heads=_HEADS) for c in part]  # fmt: skip
            own = {"shuffle": True, "generator": self.order} if name == "train" else {}
            self.loaders[name] = torch_geometric.dataloader.DataLoader(
                dataset=graphs, batch_size=hyper.batch_size, drop_last=False, **own
            )
        self.args.avg_num_neighbors = modules.compute_avg_num_neighbors(self.loaders["train"])
        torch.manual_seed(hyper.seed)
        self.module, self.outputs = configure_model(
            self.args, self.loaders["train"], dict_to_array({_HEADS[0]: references}, _HEADS),
            heads=_HEADS, z_table=table,
        )  # fmt: skip
        self.module.to(device)
        self.loss = get_loss_fn(self.args, dipole_only=False, compute_dipole=False).to(device)
        self.optimizer = get_optimizer(self.args, get_params_options(self.args, self.module))
        self.scheduler = torch.optim.lr_scheduler.LinearLR(
            self.optimizer, 1.0, 0.01, max(hyper.epochs - 1, 1)
        )
        self.average = ExponentialMovingAverage(self.module.parameters(), decay=self.args.ema_decay)

    def epoch(self, number: int) -> dict[str, float]:
        from mace.tools.train import evaluate, train_one_epoch

        self.order.manual_seed(epoch_seed(self.hyper.seed, number))
        losses = _Losses()
        train_one_epoch(
            model=self.module, loss_fn=self.loss, data_loader=self.loaders["train"],
            optimizer=self.optimizer, epoch=number, output_args=self.outputs,
            max_grad_norm=self.args.clip_grad, ema=self.average, logger=losses,
            device=self.device, distributed=False,
        )  # fmt: skip
        with self.average.average_parameters():
            _, errors = evaluate(
                model=self.module, loss_fn=self.loss, data_loader=self.loaders["valid"],
                output_args=self.outputs, device=self.device,
            )  # fmt: skip
        self.scheduler.step()
        return {
            "train_loss": float(np.mean(losses.values)),
            "energy_rmse": float(errors["rmse_e_per_atom"]),
            "force_rmse": float(errors["rmse_f"]),
        }

    def write(self, file: IO[bytes]) -> None:
        with self.average.average_parameters():
            torch.save(deepcopy(self.module).to("cpu"), file)

    def state(self) -> dict[str, Any]:
        parts = (self.module, self.optimizer, self.scheduler, self.average)
        names = ("module", "optimizer", "scheduler", "average")
        return {name: part.state_dict() for name, part in zip(names, parts, strict=True)}

    def restore(self, state: dict[str, Any]) -> None:
        for name, part in state.items():
            getattr(self, name).load_state_dict(part)


class _Losses:
    """In place of mace's logger, which writes to a file."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def log(self, row: dict[str, Any]) -> None:
        self.values.append(float(row["loss"]))


def _arguments(hyper: Hyperparameters, device: torch.device) -> Namespace:
    """What mace makes of its command line."""
    from mace import tools

    args = tools.build_default_arg_parser().parse_args(["--name", "model"])
    vars(args).update(
        model="MACE", seed=hyper.seed, device=str(device), default_dtype="float32",
        r_max=float(hyper.cutoff), num_interactions=hyper.layers, num_channels=hyper.channels,
        max_L=hyper.l_max, max_ell=max(hyper.l_max, 1), correlation=2,
        radial_MLP="[64, 64, 64]", interaction="RealAgnosticResidualInteractionBlock",
        E0s="average", scaling="rms_forces_scaling", loss="weighted", energy_weight=1.0,
        forces_weight=30.0, optimizer="adam", amsgrad=True, lr=hyper.learning_rate,
        weight_decay=5e-7, batch_size=hyper.batch_size, valid_batch_size=hyper.batch_size,
        max_num_epochs=hyper.epochs, clip_grad=10.0, ema=True, ema_decay=0.99,
    )  # fmt: skip
    args, _ = tools.check_args(args)
    args.compute_energy, args.compute_dipole, args.compute_polarizability = True, False, False
    return args


def _configurations(structures: Sequence[Atoms]) -> list:
    from mace.data import KeySpecification, config_from_atoms

    keys = KeySpecification(
        info_keys={"energy": "REF_energy"}, arrays_keys={"forces": "REF_forces"}
    )
    found = []
    for atoms in structures:
        copied = atoms.copy()
        copied.info = {"REF_energy": float(atoms.get_potential_energy())}
        copied.arrays["REF_forces"] = np.asarray(atoms.get_forces(), dtype=float)
        found.append(config_from_atoms(copied, key_specification=keys))
    return found
