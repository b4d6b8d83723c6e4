"""MACE: its whole-pickled models and its layers."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import torch

from mpprobe.errors import ModelError, require
from mpprobe.models.downloads import check_first, fetch
from mpprobe.models.families import is_mace, locate_mace, mace_cache, mace_cached_name
from mpprobe.models.foreign import ForeignModule
from mpprobe.models.fused import check_cpu, pairs_of
from mpprobe.models.graph import Batch
from mpprobe.models.hooks import Tap
from mpprobe.models.options import quiet_library
from mpprobe.models.potential import Potential
from mpprobe.models.spec import ModelSpec
from mpprobe.models.trust import CheckpointFile, inspect, require_trust

if TYPE_CHECKING:
    from pathlib import Path

    from mpprobe.models.fused.mace import FusedMACE

#: The classes whose forward pass is species embedding, then (interaction, product) pairs.
SUPPORTED = ("MACE", "ScaleShiftMACE")

_FORCE_UNSAFE = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"


class MACE(Potential):
    """A MACE model; see :class:`mpprobe.models.potential.Potential`.

    Layer t is the output of the t-th product block: what the next interaction and the t-th
    readout take in.
    """

    family = "mace"
    receiver = 1
    module: ForeignModule

    def __init__(
        self,
        name: str,
        module: ForeignModule,
        *,
        head: str | None,
        device: torch.device,
        dtype: torch.dtype | None,
        provenance: Mapping[str, str],
        fast: bool = True,
    ) -> None:
        heads = [str(h) for h in getattr(module, "heads", None) or ["Default"]]
        self._head = _check_head(name, heads, head)
        super().__init__(
            name,
            module,
            cutoff=float(module.r_max),
            species=module.atomic_numbers.tolist(),
            irreps=[
                str(module.node_embedding.linear.irreps_out),
                *(str(product.linear.irreps_out.simplify()) for product in module.products),
            ],
            device=device,
            dtype=dtype or next(module.parameters()).dtype,
            provenance={**provenance, **({"head": heads[self._head]} if len(heads) > 1 else {})},
        )
        index = torch.full((max(self.species) + 1,), -1, dtype=torch.int64)
        index[module.atomic_numbers.cpu()] = torch.arange(len(self.species))
        self._element_index = index.to(device)
        self._fused: FusedMACE | None = None
        self.use_fast(fast)

    def _fuse(self) -> str:
        from mpprobe.models.fused.mace import FusedMACE

        check_cpu(self.device)
        self._fused = self._fused or FusedMACE(self.module)
        return "fused"

    def _tap(self, layer: int) -> Tap:
        block = self.module.node_embedding if layer == 0 else self.module.products[layer - 1]
        return Tap(block, read=lambda output: output, write=lambda output, value: value)

    def _products(self) -> list[torch.nn.Module]:
        return [interaction.conv_tp for interaction in self.module.interactions]

    def _site_energies(self, batch: Batch) -> torch.Tensor:
        if not self.fast or self._fused is None:
            return self._node_energies(batch)
        pairs = pairs_of(batch, receiver=self.receiver, paired=self._fused.paired)
        with self._fused.exchanged(pairs):
            return self._node_energies(batch.with_edges(pairs.edges))

    def _node_energies(self, batch: Batch) -> torch.Tensor:
        one_hot = torch.nn.functional.one_hot(
            self._element_index[batch.numbers], num_classes=len(self.species)
        )
        sizes = torch.bincount(batch.frame, minlength=batch.n_frames)
        data = {
            # mace switches gradients on in the tensor it is given: let that be a copy.
            "positions": batch.positions.to(self.dtype, copy=True),
            "node_attrs": one_hot.to(self.dtype),
            "edge_index": batch.edge_index,
            "shifts": batch.shifts.to(self.dtype),
            "unit_shifts": batch.unit_shifts.to(self.dtype),
            "cell": batch.cells.to(self.dtype).reshape(-1, 3),
            "batch": batch.frame,
            "ptr": torch.cat([sizes.new_zeros(1), sizes.cumsum(0)]),
            "head": sizes.new_full((batch.n_frames,), self._head),
        }
        return self.module(data, compute_force=False)["node_energy"]

    def layer_energies(self, batch: Batch) -> dict[int, torch.Tensor]:
        """See :meth:`mpprobe.models.potential.Potential.layer_energies`."""
        readouts = list(self.module.readouts)
        if len(readouts) < 2:
            return {}
        seen: dict[int, torch.Tensor] = {}

        def keep(t: int) -> Callable[..., None]:
            return lambda module, inputs, output: seen.update({t: output[:, self._head]})

        handles = [r.register_forward_hook(keep(t)) for t, r in enumerate(readouts, start=1)]
        try:
            with torch.no_grad():
                total = self._site_energies(batch)
        finally:
            for handle in handles:
                handle.remove()
        scaling = getattr(self.module, "scale_shift", None)
        scale = 1.0 if scaling is None else torch.atleast_1d(scaling.scale)[self._head]
        parts = {t: (scale * part).to(total.dtype) for t, part in seen.items()}
        return {0: total - sum(parts.values()), **parts}

    def randomised(self, seed: int = 0) -> MACE:
        """The same architecture with weights drawn as mace draws them before training."""
        return MACE(
            f"random:{self.name}:{seed}",
            _fresh_module(self.module, seed, self.dtype),
            head=self.provenance.get("head"),
            device=self.device,
            dtype=self.dtype,
            provenance=self.provenance | {"random_weights_seed": str(seed)},
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
) -> MACE:
    """Load a named MACE model or a model file; see :func:`mpprobe.models.registry.load`."""
    require("mace", f"the MACE model {name}")
    if modal is not None:
        raise ModelError(f"{name}: MACE models have no modals; choose a head with --head")
    if isinstance(source, ModelSpec):
        with _mace_imported():
            file, origin = inspect(_path(source)), f" ({source.source})"
        check_first(source.name, file)
    else:
        file, origin = source, ""
    require_trust(file, trust_checkpoint, origin)
    with _mace_imported():
        module = _unpickle(file)
    _check_supported(name, module)
    return MACE(
        name,
        module,
        head=head,
        device=device,
        dtype=dtype,
        provenance={"checkpoint": file.path.name, "sha256": file.sha256},
        fast=fast,
    )


@contextlib.contextmanager
def _mace_imported() -> Iterator[None]:
    """Import mace without what it does to the process: it lets torch.load run any code."""
    before = os.environ.get(_FORCE_UNSAFE)
    try:
        with quiet_library():
            import mace.calculators  # noqa: F401 - for what the import does

            yield
    finally:
        if before is None:
            os.environ.pop(_FORCE_UNSAFE, None)
        else:
            os.environ[_FORCE_UNSAFE] = before


def _path(spec: ModelSpec) -> Path:
    """The named model's file, downloaded to where mace itself keeps it if it isn't there."""
    from mace.calculators import foundations_models as foundations

    path = locate_mace(spec.upstream)
    if path is not None:
        return path
    size = spec.upstream.removeprefix("off23-")
    organic = size != spec.upstream
    return fetch(
        foundations.mace_off_urls[size] if organic else foundations.mace_mp_urls[spec.upstream],
        [mace_cache() / mace_cached_name(spec.upstream)],
        name=spec.name,
        recognises=is_mace,
        licence=spec.licence,
    )


def _unpickle(file: CheckpointFile) -> ForeignModule:
    """The whole module in the file. The caller has made sure that it may run code."""
    content = io.BytesIO(file.content())
    try:
        return torch.load(content, weights_only=False, map_location="cpu")
    except Exception as error:  # anything at all can go wrong inside a pickle
        raise ModelError(
            f"{file.path}: mace can't unpickle this model ({type(error).__name__}: "
            f"{str(error).splitlines()[0] if str(error) else 'no reason given'})"
        ) from error


def _check_supported(name: str, module: ForeignModule) -> None:
    """Refuse what hooks on the product blocks wouldn't read right."""
    kind = type(module).__name__
    if kind not in SUPPORTED:
        raise ModelError(
            f"{name}: is a {kind}; mpprobe reads {' and '.join(SUPPORTED)} models (a state dict "
            "or a compiled model won't do: give the model that mace's trainer saved)"
        )
    # mace keeps the configuration of its kernels in the blocks, not in the model.
    kernels = [getattr(product, "cueq_config", None) for product in module.products]
    if any(getattr(kernel, "enabled", False) for kernel in kernels):
        raise ModelError(
            f"{name}: is converted to cuEquivariance, whose layout differs; give the plain model"
        )
    if hasattr(module, "joint_embedding"):
        raise ModelError(
            f"{name}: takes more than the structure as input (a total charge or spin, say), which "
            "mpprobe doesn't give it; choose another model"
        )


def _check_head(name: str, heads: list[str], head: str | None) -> int:
    """The index of the head; several heads and no choice is an error, as is an unknown one."""
    if head is None and len(heads) == 1:
        return 0
    if head not in heads:
        given = "has several heads" if head is None else f"has no head {head!r}"
        raise ModelError(f"{name}: {given}; choose with --head one of {', '.join(heads)}")
    return heads.index(head)


def _fresh_module(module: ForeignModule, seed: int, dtype: torch.dtype) -> ForeignModule:
    """A new module of the same configuration, its weights drawn by mace's own constructors."""
    with _mace_imported():
        from mace.tools.scripts_utils import extract_config_mace_model

        config = extract_config_mace_model(module)
        if "error" in config:
            raise ModelError(
                f"random weights: mace can't read the configuration of a {type(module).__name__}"
            )
        default = torch.get_default_dtype()
        try:
            torch.set_default_dtype(dtype)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                return type(module)(**config)
        finally:
            torch.set_default_dtype(default)
