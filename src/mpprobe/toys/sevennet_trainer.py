"""SevenNet in training: sevenn's own configuration, data set, model and Trainer."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import torch

from mpprobe.errors import require
from mpprobe.toys.training import Hyperparameters, Trainee, epoch_seed

if TYPE_CHECKING:
    from ase import Atoms

# Decay of the moving average of the weights, which validation and the model file have.
_DECAY = 0.99


class SevenNetTrainee(Trainee):
    """See :class:`mpprobe.toys.training.Trainee`."""

    def __init__(
        self,
        training: Sequence[Atoms],
        validation: Sequence[Atoms],
        hyper: Hyperparameters,
        device: torch.device,
    ) -> None:
        require("sevenn", "training SevenNet")
        from sevenn.error_recorder import ErrorRecorder
        from sevenn.model_build import build_E3_equivariant_model
        from sevenn.scripts.train import loader_from_config
        from sevenn.train.trainer import Trainer

        self.seed = hyper.seed
        species = {s for atoms in (*training, *validation) for s in atoms.get_chemical_symbols()}
        self.config = _configuration(hyper, sorted(species), device)
        graphs = {name: _graphs(part, hyper.cutoff)
                  for name, part in (("train", training), ("valid", validation))}  # fmt: skip
        _fill_statistics(self.config, graphs["train"])
        self.loaders = {name: loader_from_config(self.config, part, is_train=name == "train")
                        for name, part in graphs.items()}  # fmt: skip
        torch.manual_seed(hyper.seed)
        self.trainer = Trainer.from_config(build_E3_equivariant_model(self.config), self.config)
        recorder = ErrorRecorder.from_config(self.config, self.trainer.loss_functions)
        self.recorders = {name: copy.deepcopy(recorder) for name in graphs}
        self.average = _Average(self.trainer.optimizer)
        self.number = 0

    def epoch(self, number: int) -> dict[str, float]:
        self.number = number
        torch.manual_seed(epoch_seed(self.seed, number))
        errors = {}
        self.trainer.run_one_epoch(
            self.loaders["train"], is_train=True, error_recorder=self.recorders["train"]
        )
        with self.average:
            self.trainer.run_one_epoch(
                self.loaders["valid"], error_recorder=self.recorders["valid"]
            )
        for name, recorder in self.recorders.items():
            errors[name] = recorder.get_metric_dict(with_unit=False)
            recorder.epoch_forward()
        self.trainer.scheduler_step(errors["valid"]["TotalLoss"])
        return {
            "train_loss": errors["train"]["TotalLoss"],
            "energy_rmse": errors["valid"]["Energy_RMSE"],
            "force_rmse": errors["valid"]["Force_ComponentRMSE"],
        }

    def write(self, file: IO[bytes]) -> None:
        with self.average:
            weights = {k: v.detach().cpu() for k, v in self.trainer.model.state_dict().items()}
        # Without sevenn's date and random hash, so that the same training gives the same bytes.
        torch.save({
            "model_state_dict": weights, "config": self.config, "epoch": self.number,
            "optimizer_state_dict": {}, "scheduler_state_dict": {},
        }, file)  # fmt: skip

    def state(self) -> dict[str, Any]:
        names = ("model_state_dict", "optimizer_state_dict", "scheduler_state_dict")
        held = self.trainer.get_checkpoint_dict()
        return {name: held[name] for name in names} | {"average": self.average.state()}

    def restore(self, state: dict[str, Any]) -> None:
        names = ("model_state_dict", "optimizer_state_dict", "scheduler_state_dict")
        self.trainer.load_state_dicts(*(state[name] for name in names))
        self.average.restore(state["average"])


class _Average:
    """A moving average of the weights, which inside a with block take the weights' place."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.weights = [p for group in optimizer.param_groups for p in group["params"]]
        self.mean = [p.detach().clone() for p in self.weights]
        self.steps = 0
        optimizer.register_step_post_hook(self._update)

    def _update(self, *_: Any) -> None:
        self.steps += 1
        decay = min(_DECAY, (1 + self.steps) / (10 + self.steps))
        with torch.no_grad():
            torch._foreach_lerp_(self.mean, self.weights, 1 - decay)

    def _exchange(self) -> None:
        with torch.no_grad():
            for weight, mean in zip(self.weights, self.mean, strict=True):
                own = weight.detach().clone()
                weight.copy_(mean)
                mean.copy_(own)

    def __enter__(self) -> None:
        self._exchange()

    def __exit__(self, *_: object) -> None:
        self._exchange()

    def state(self) -> dict[str, Any]:
        return {"steps": self.steps, "mean": [mean.cpu() for mean in self.mean]}

    def restore(self, state: dict[str, Any]) -> None:
        self.steps = state["steps"]
        for mean, held in zip(self.mean, state["mean"], strict=True):
            mean.copy_(held)


def _configuration(
    hyper: Hyperparameters, species: list[str], device: torch.device
) -> dict[str, Any]:
    """What sevenn makes of its input file, from the same keys."""
    import sevenn
    from sevenn.parse_input import init_data_config, init_model_config, init_train_config

    model = init_model_config({
        "chemical_species": species, "cutoff": float(hyper.cutoff), "channel": hyper.channels,
        "lmax": hyper.l_max, "num_convolution_layer": hyper.layers, "is_parity": False,
        "self_connection_type": "nequip", "weight_nn_hidden_neurons": [64, 64],
        "radial_basis": {"radial_basis_name": "bessel", "bessel_basis_num": 8},
        "cutoff_function": {"cutoff_function_name": "poly_cut", "poly_cut_p_value": 6},
        "act_gate": {"e": "silu", "o": "tanh"}, "act_scalar": {"e": "silu", "o": "tanh"},
        "conv_denominator": "avg_num_neigh", "train_shift_scale": False,
        "train_denominator": False,
    })  # fmt: skip
    steps = max(hyper.epochs - 1, 1)
    train = init_train_config({
        "random_seed": hyper.seed, "epoch": hyper.epochs, "device": str(device),
        "is_train_stress": False, "loss": "mse", "loss_param": {},
        "force_loss_weight": 1.0, "optimizer": "adam",
        "optim_param": {"lr": hyper.learning_rate, "amsgrad": True}, "scheduler": "linearlr",
        "scheduler_param": {"start_factor": 1.0, "end_factor": 0.01, "total_iters": steps},
        "error_record": [["Energy", "RMSE"], ["Force", "ComponentRMSE"], ["TotalLoss", "None"]],
    })  # fmt: skip
    data = init_data_config({
        "batch_size": hyper.batch_size, "shift": "elemwise_reference_energies",
        "scale": "force_rms",
    })  # fmt: skip
    config = copy.deepcopy(model | train | data)  # the parsers give out sevenn's own defaults
    return config | {
        "version": sevenn.__version__, "_model_type": "E3_equivariant_model",
        "is_ddp": False, "rank": 0,
    }  # fmt: skip


def _graphs(structures: Sequence[Atoms], cutoff: float) -> list:
    from sevenn.train.dataload import graph_build

    labelled = []
    for atoms in structures:
        copied = atoms.copy()  # without its calculator, which sevenn would ask for a stress
        copied.info = {"y_energy": float(atoms.get_potential_energy())}
        copied.arrays = {name: atoms.arrays[name].copy() for name in ("numbers", "positions")}
        copied.arrays["y_force"] = np.asarray(atoms.get_forces(), dtype=float)
        labelled.append(copied)
    return graph_build(labelled, cutoff, transfer_info=False)


def _fill_statistics(config: dict[str, Any], graphs: list) -> None:
    """Put the training set's numbers where the configuration names a statistic, as sevenn does."""
    import sevenn._keys as KEY  # noqa: N812 - sevenn's own name for it
    from sevenn.train.graph_dataset import (
        SevenNetGraphDataset,
        _elemwise_reference_energies,
        _run_stat,
    )

    dataset = SevenNetGraphDataset.__new__(SevenNetGraphDataset)  # its constructor wants files
    dataset.statistics = _run_stat(graphs)
    dataset.statistics["elemwise_reference_energies"] = _elemwise_reference_energies(
        dataset.statistics["_composition"].numpy(),
        dataset.statistics[KEY.ENERGY]["_array"].numpy(),
    )
    for key in ("shift", "scale", "conv_denominator"):
        if isinstance(config[key], str):
            config[key] = getattr(dataset, config[key])
