"""What a named model and a family of potentials are: data only."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass


def resolve_reference(reference: str) -> Callable:
    """The function that ``module:function`` names, imported now."""
    module, _, name = reference.partition(":")
    return getattr(importlib.import_module(module), name)


@dataclass(frozen=True)
class ModelSpec:
    """A named model.

    Attributes:
        name: what ``--model`` takes.
        aliases: other spellings, case and ``_`` for ``-`` aside.
        upstream: the name its own package gives it.
        cutoff: Å, or None where it is known only once the file is there.
        irreps: node-feature irreps of layers 0, 1, ..., or empty where known only then.
        modals, heads: what ``--modal`` or ``--head`` must choose from, if anything.
        licence: of the weights.
        training_set: what they were trained on.
        source: where the weights come from.
        locate: module:function giving the file's path if it is on this machine, else None.
    """

    name: str
    upstream: str
    licence: str
    training_set: str
    source: str
    locate: str
    aliases: tuple[str, ...] = ()
    cutoff: float | None = None
    irreps: tuple[str, ...] = ()
    modals: tuple[str, ...] = ()
    heads: tuple[str, ...] = ()

    @property
    def is_downloaded(self) -> bool:
        """Whether the weights come from the network, rather than inside a package."""
        return self.source.startswith("downloaded")

    @property
    def available(self) -> bool:
        """Whether the weights are on this machine now."""
        return resolve_reference(self.locate)(self.upstream) is not None


@dataclass(frozen=True)
class Accelerator:
    """Another package's kernels for the convolutions, with which hooks still see all features.

    Attributes:
        name: what it is called.
        package: what must be importable for it.
    """

    name: str
    package: str

    @property
    def available(self) -> bool:
        """Whether the package is installed; it may still need a device that isn't there."""
        from importlib.util import find_spec

        return find_spec(self.package) is not None


@dataclass(frozen=True)
class Family:
    """A kind of potential: how its checkpoints are recognised and loaded.

    Attributes:
        name: of the family.
        package: what must be importable for it.
        load: module:function(source, *, name, device, dtype, modal, head, trust_checkpoint,
            fast) returning a Potential; ``source`` is a ModelSpec or a CheckpointFile.
        recognises: module:function(CheckpointFile) saying whether a file is of this family.
        models: its named models.
        fused_on_cpu: whether it has mpprobe's fused path.
        accelerators: on CUDA, in the order in which they are tried.
        note: on CUDA, what else to know.
    """

    name: str
    package: str
    load: str
    recognises: str
    models: tuple[ModelSpec, ...] = ()
    fused_on_cpu: bool = False
    accelerators: tuple[Accelerator, ...] = ()
    note: str = ""
