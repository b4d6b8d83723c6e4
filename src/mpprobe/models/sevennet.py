"""SevenNet: its checkpoints and its layers."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mpprobe.errors import ModelError, require
from mpprobe.models.downloads import check_first, fetch
from mpprobe.models.families import (
    SEVENN_FILES,
    SEVENNET_ACCELERATORS,
    is_sevennet,
    locate_sevennet,
    sevennet_cache,
)
from mpprobe.models.foreign import ForeignModule
from mpprobe.models.fused import PAIRS, check_cpu, pairs_of
from mpprobe.models.graph import Batch
from mpprobe.models.hooks import Tap
from mpprobe.models.irreps import irreps_dim, parse_irreps
from mpprobe.models.options import quiet_library, unscripted
from mpprobe.models.plain import NotPlainError, plain_copy, safe_names
from mpprobe.models.potential import Potential
from mpprobe.models.spec import ModelSpec
from mpprobe.models.trust import CheckpointFile, inspect, require_trust

if TYPE_CHECKING:
    from sevenn.checkpoint import SevenNetCheckpoint

#: Parameters that start as statistics of the training set, and may be trained further.
_STATISTICS = (".shift", ".scale", ".denominator")


class SevenNet(Potential):
    """A SevenNet model; see :class:`mpprobe.models.potential.Potential`.

    SevenNet differentiates inside its own forward pass. That module is left out here: forces are
    the gradient of the site energies with respect to the positions, taken by ``run``.
    """

    family = "sevennet"

    module: ForeignModule

    def __init__(
        self,
        name: str,
        checkpoint: SevenNetCheckpoint,
        *,
        modal: str | None,
        device: torch.device,
        dtype: torch.dtype | None,
        provenance: Mapping[str, str],
        module: ForeignModule = None,
        fast: bool = True,
    ) -> None:
        config = checkpoint.config
        self._checkpoint = checkpoint
        self._modal = _check_modal(name, config, modal)
        module = module if module is not None else _build(checkpoint)
        super().__init__(
            name,
            _prepare(module, dtype or torch.float32),
            cutoff=config["cutoff"],
            species=config["_type_map"],
            irreps=_layer_irreps(module),
            device=device,
            dtype=dtype or torch.float32,
            provenance={**provenance, **({"modal": modal} if modal else {})},
        )
        self._fused: dict[str, torch.nn.Module] = {}
        self.use_fast(fast)

    def _fuse(self) -> str:
        if not self._fused:
            self._path, self._fused = self._fused_modules()
        return self._path

    def _fused_modules(self) -> tuple[str, dict[str, torch.nn.Module]]:
        """The name of the fused path, and the modules that it goes through."""
        if self.device.type == "cuda":
            from mpprobe.models.fused.cuda import accelerated_modules

            def build(changes: dict[str, Any]) -> ForeignModule:
                return _new_module(self._checkpoint, changes)

            return accelerated_modules(self.module, build, SEVENNET_ACCELERATORS)
        from mpprobe.models.fused.sevennet import fused_modules

        check_cpu(self.device)
        return "fused", fused_modules(self.module)

    @property
    def _sequence(self) -> dict[str, torch.nn.Module]:
        """The modules that a forward pass goes through."""
        return self._fused if self.fast else self.module._modules

    def _tap(self, layer: int) -> Tap:
        name = "onehot_to_feature_x" if layer == 0 else f"{layer - 1}_equivariant_gate"
        return Tap(self._sequence[name], _read_x, _write_x)

    def _products(self) -> list[torch.nn.Module]:
        modules = self.module._modules
        return [modules[f"{t}_convolution"].convolution for t in range(len(self.layers) - 1)]

    def _site_energies(self, batch: Batch) -> torch.Tensor:
        data: dict[str, Any] = {}
        if self.fast and self.device.type == "cpu":
            pairs = pairs_of(batch)
            data[PAIRS] = pairs
            batch = batch.with_edges(pairs.edges)
        data |= {
            "x": batch.numbers,
            "atomic_numbers": batch.numbers,
            "pos": batch.positions,
            "edge_index": batch.edge_index,
            "edge_vec": batch.edge_vectors().to(self.dtype),
            "batch": batch.frame,
            "num_atoms": torch.bincount(batch.frame, minlength=batch.n_frames),
        }
        if self._modal is not None:
            data["modal_type"] = torch.full(
                (batch.n_frames,), self._modal, dtype=torch.int64, device=self.device
            )
        data = self.module._preprocess(data)
        for module in self._sequence.values():
            data = module(data)
        return data["atomic_energy"].reshape(-1)

    def randomised(self, seed: int = 0) -> SevenNet:
        """The same architecture with weights drawn as sevenn draws them before training."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            fresh = _new_module(self._checkpoint)
        learned = {
            name
            for name, p in fresh.named_parameters()
            if p.requires_grad and not name.endswith(_STATISTICS)
        }
        kept = {
            name: value for name, value in self.module.state_dict().items() if name not in learned
        }
        fresh.load_state_dict(kept, strict=False)
        modals = (self._checkpoint.config.get("_modal_map") or {}).items()
        return SevenNet(
            f"random:{self.name}:{seed}",
            self._checkpoint,
            modal=next((key for key, index in modals if index == self._modal), None),
            device=self.device,
            dtype=self.dtype,
            provenance=self.provenance | {"random_weights_seed": str(seed)},
            module=fresh,
            fast=self.fast,
        )


def load(
    source: ModelSpec | CheckpointFile,
    *,
    name: str,
    device: torch.device,
    dtype: torch.dtype | None,
    modal: str | None,
    head: str | None,
    trust_checkpoint: bool,
    fast: bool,
) -> SevenNet:
    """Load a named SevenNet or a checkpoint file; see :func:`mpprobe.models.registry.load`."""
    require("sevenn", f"the SevenNet model {name}")
    if head is not None:
        raise ModelError(f"{name}: SevenNet models have no heads; choose a fidelity with --modal")
    if isinstance(source, ModelSpec):
        file = inspect(_path(source))
        if source.is_downloaded:
            check_first(source.name, file)
    else:
        file = source
    checkpoint = _read(file, trust_checkpoint)
    _refuse_accelerated(name, checkpoint.config)
    return SevenNet(
        name,
        checkpoint,
        modal=modal,
        device=device,
        dtype=dtype,
        provenance={"checkpoint": file.path.name, "sha256": file.sha256},
        fast=fast,
    )


def _path(spec: ModelSpec) -> Path:
    """The named model's file, downloaded to where sevenn itself keeps it if it isn't there."""
    import sevenn._const as const

    path = locate_sevennet(spec.upstream)
    if path is not None:
        return path
    place = Path(const._prefix, SEVENN_FILES[spec.upstream])
    return fetch(
        const.CHECKPOINT_DOWNLOAD_LINKS[str(place)],
        (place, sevennet_cache() / SEVENN_FILES[spec.upstream]),
        name=spec.name,
        recognises=is_sevennet,
    )


def _read(file: CheckpointFile, trusted: bool) -> SevenNetCheckpoint:
    """Read a checkpoint without running code in it; other ones only when trusted."""
    content = file.content()
    try:
        plain = plain_copy(file.path, content)
    except NotPlainError as more:
        require_trust(file, trusted, f" (holds {more})")
        plain = None
    try:
        with torch.serialization.safe_globals([*safe_names()]):
            held = torch.load(
                plain or io.BytesIO(content), weights_only=plain is not None, map_location="cpu"
            )
    except Exception as error:  # torch raises UnpicklingError, RuntimeError, EOFError, ...
        raise ModelError(f"{file.path}: a damaged SevenNet checkpoint") from error
    return _as_checkpoint(file, held, len(content))


def _as_checkpoint(file: CheckpointFile, content: dict[str, Any], size: int) -> SevenNetCheckpoint:
    """sevenn's own checkpoint object, filled without its unrestricted ``torch.load``.

    Args:
        file: the checkpoint.
        content: what was unpickled.
        size: of the file, in bytes.
    """
    from sevenn.checkpoint import SevenNetCheckpoint, _config_cp_routine

    whole = isinstance(content, dict) and content.get("config") and content.get("model_state_dict")
    if not whole:
        raise ModelError(
            f"{file.path}: holds no configuration or no weights; give the checkpoint that "
            "sevenn's trainer wrote"
        )
    with _sevenn_reads(file.path):
        config = _config_cp_routine(content["config"])
    _check_sizes(file.path, config, size)
    checkpoint = SevenNetCheckpoint(file.path)  # which reads the file itself unless all is set
    checkpoint._config_original = content["config"]
    checkpoint._config = config
    checkpoint._model_state_dict = content["model_state_dict"]
    checkpoint._optimizer_state_dict = {}
    checkpoint._scheduler_state_dict = {}
    checkpoint._epoch = content.get("epoch")
    checkpoint._time = content.get("time", "Not found")
    checkpoint._hash = content.get("hash", "Not found")
    checkpoint._loaded = True
    return checkpoint


def _check_sizes(path: Path, config: dict[str, Any], size: int) -> None:
    """Refuse a configuration of more weights than a file has bytes: sevenn makes room for all.

    Raises:
        ModelError: it asks for more, or isn't one of sevenn's.
    """
    with _sevenn_reads(path):
        layers, manual = config["num_convolution_layer"], config["irreps_manual"]
        irreps = manual or [f"{config['channel']}x0e"] * 2
        inputs = [parse_irreps(layer) for layer in irreps[:-1]]
        last = irreps_dim(irreps[-1])
        basis = config["radial_basis"].get("bessel_basis_num", 1)
        hidden = config["readout_fcn_hidden_neurons"] if config["readout_as_fcn"] else [last // 2]
        # A lower bound: the embedding, in each layer a linear map of its input and the network of
        # distances but for its last step, and the readout.
        linear = sum(block.mul**2 for blocks in inputs for block in blocks)
        needed = basis + config["_number_of_species"] * inputs[0][0].mul
        needed += linear if manual else layers * linear
        needed += layers * _weights(basis, *config["weight_nn_hidden_neurons"])
        needed += _weights(last, *hidden)
    if needed > size:
        raise ModelError(
            f"{path}: its configuration asks for {needed:,} weights or more, which the file can't "
            "hold; give the checkpoint that sevenn's trainer wrote"
        )


def _weights(*widths: int) -> int:
    """Of a network of so many neurons a layer."""
    return sum(abs(a * b) for a, b in pairwise(widths))


def _build(checkpoint: SevenNetCheckpoint) -> ForeignModule:
    with _sevenn_reads(checkpoint.checkpoint_path), quiet_library(), unscripted():
        return checkpoint.build_model()


@contextlib.contextmanager
def _sevenn_reads(path: Path | str) -> Iterator[None]:
    """Say which file it was when sevenn can't make sense of a checkpoint's contents."""
    try:
        yield
    except Exception as error:  # sevenn and torch raise many kinds
        reason = str(error).splitlines()[0] if str(error) else "no reason given"
        raise ModelError(
            f"{path}: sevenn can't build this model ({type(error).__name__}: {reason}); give the "
            "checkpoint that its trainer wrote"
        ) from error


def _new_module(
    checkpoint: SevenNetCheckpoint, changes: dict[str, Any] | None = None
) -> ForeignModule:
    """A model of the checkpoint's configuration, its weights freshly drawn."""
    from sevenn.model_build import build_E3_equivariant_model

    with quiet_library(), unscripted():
        return build_E3_equivariant_model(checkpoint.config | (changes or {}))


def _prepare(module: ForeignModule, dtype: torch.dtype) -> ForeignModule:
    """Leave out the module that differentiates, and let one-hot vectors follow the dtype."""
    from sevenn.nn.node_embedding import OnehotEmbedding

    module.delete_module_by_key("force_output")
    module.key_grad = None
    module.eval_modal_map = False  # run() passes the modal's index itself
    module.set_is_batch_data(True)
    for name, child in list(module._modules.items()):
        if isinstance(child, OnehotEmbedding):
            module.replace_module(name, _CastOnehot(child, dtype))
    return module


class _CastOnehot(torch.nn.Module):
    """sevenn's one-hot embedding, whose output is float32 whatever the model's dtype."""

    def __init__(self, inner: ForeignModule, dtype: torch.dtype) -> None:
        super().__init__()
        self.inner: ForeignModule = inner
        self.dtype = dtype

    def forward(self, data: dict[str, Any]) -> dict[str, Any]:
        data = self.inner(data)
        for key in (self.inner.key_output, self.inner.key_additional_output):
            if key is not None:
                data[key] = data[key].to(self.dtype)
        return data


def _layer_irreps(module: ForeignModule) -> list[str]:
    """Irreps of layers 0, 1, ... as e3nn writes them."""
    gates = [m for name, m in module._modules.items() if name.endswith("_equivariant_gate")]
    embedding = module._modules["onehot_to_feature_x"].linear.irreps_out
    return [str(embedding), *(str(gate.gate.irreps_out.simplify()) for gate in gates)]


def _check_modal(name: str, config: dict[str, Any], modal: str | None) -> int | None:
    """The index of the fidelity, None for models that have but one."""
    modals = config.get("_modal_map") if config.get("use_modality") else None
    if not modals:
        if modal is not None:
            raise ModelError(f"{name}: has no fidelities to choose from; leave out --modal {modal}")
        return None
    if modal not in modals:
        given = "needs --modal" if modal is None else f"doesn't have the modal {modal!r}"
        raise ModelError(f"{name}: {given}; choose one of {', '.join(modals)}")
    return modals[modal]


def _refuse_accelerated(name: str, config: dict[str, Any]) -> None:
    """Checkpoints saved for a fused kernel need that kernel; the plain layout is asked for."""
    fused = {
        "cuEquivariance": (config.get("cuequivariance_config") or {}).get("use", False),
        "FlashTP": config.get("use_flash_tp", False),
        "OpenEquivariance": config.get("use_oeq", False),
    }
    used = [kernel for kernel, on in fused.items() if on]
    if used:
        raise ModelError(
            f"{name}: saved with {used[0]} switched on, which mpprobe can't hook yet; convert it "
            "to the plain e3nn form with sevenn first"
        )


def _read_x(data: dict[str, Any]) -> torch.Tensor:
    return data["x"]


def _write_x(data: dict[str, Any], value: torch.Tensor) -> dict[str, Any]:
    data["x"] = value
    return data
