"""The one interface to a potential, whatever its family."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, overload

from mpprobe.errors import ModelError
from mpprobe.models.fused.layout import NotFusable
from mpprobe.models.graph import Batch, build_batch, split_batch
from mpprobe.models.hooks import Captured, Edit, Tap, hooked, run_hooked, scaled
from mpprobe.models.irreps import Block, irreps_dim, parse_irreps
from mpprobe.models.memory import enough_memory
from mpprobe.models.threads import in_own_threads
from mpprobe.structures.frame import Frame, as_frames

if TYPE_CHECKING:
    import torch
    from ase import Atoms


# Directed edges that a thread should have at least: Python's part of a forward pass, during which
# other threads wait, is then small beside the kernels'.
EDGES_PER_THREAD = 1000


@dataclass(frozen=True)
class Layer:
    """A layer of node features.

    Attributes:
        index: 0 is the species embedding, t the node features after the t-th message passing.
        irreps: e3nn irreps of the features, in e3nn's order and ``mul_ir`` layout.
        reach: Å, how far away an atom can be and still change these features: t times the cutoff.
    """

    index: int
    irreps: str
    reach: float

    @property
    def blocks(self) -> tuple[Block, ...]:
        return parse_irreps(self.irreps)

    @property
    def dim(self) -> int:
        return irreps_dim(self.irreps)


@dataclass(frozen=True)
class Output:
    """What one forward pass gave; parts that were not asked for are None or empty.

    Attributes:
        features: node features by layer, after their edits, each of shape (n_atoms, layer.dim).
        energies: eV, shape (n_frames,).
        site_energies: eV, shape (n_atoms,); they add up to the energies.
        forces: eV/Å, shape (n_atoms, 3): minus the gradient of the (edited) energy.
    """

    features: dict[int, torch.Tensor]
    energies: torch.Tensor | None = None
    site_energies: torch.Tensor | None = None
    forces: torch.Tensor | None = None


@dataclass(frozen=True)
class WithEnergies(Output):
    """An output of a pass that energies were asked of."""

    energies: torch.Tensor
    site_energies: torch.Tensor


@dataclass(frozen=True)
class WithForces(WithEnergies):
    """An output of a pass that forces were asked of."""

    forces: torch.Tensor


class Potential(ABC):
    """A potential whose node features can be read and edited.

    A family is one subclass: it says where each layer's features are (:meth:`_tap`) and how a
    batch becomes site energies (:meth:`_site_energies`); all else is here.

    Attributes:
        name: as given to :func:`mpprobe.load`.
        family: ``sevennet``, ``mace``, or a third party's.
        cutoff: Å, the radius of one message-passing step.
        species: atomic numbers the potential knows, ascending.
        layers: all its layers, index 0 first.
        receiver: which row of a batch's ``edge_index`` has the atoms that messages go to.
        module: the torch module; its parameters don't require gradients.
        provenance: what identifies the weights (SHA-256 of the checkpoint, its path, versions,
            modal or head, seed of random weights), and the path that forward passes take.
        fast: whether that is the fused path, see :meth:`use_fast`; ``not_fast`` says why if not.
        recipe: arguments with which :func:`mpprobe.load` makes the same potential in another
            process; None for one that was made otherwise.
    """

    family: str
    receiver = 0
    fast = False
    not_fast = ""
    recipe: Mapping[str, Any] | None = None

    def __init__(
        self,
        name: str,
        module: torch.nn.Module,
        *,
        cutoff: float,
        species: Iterable[int],
        irreps: Sequence[str],
        device: torch.device,
        dtype: torch.dtype,
        provenance: Mapping[str, str],
    ) -> None:
        self.name = name
        self.module = module.to(device=device, dtype=dtype).eval().requires_grad_(False)
        self.cutoff = float(cutoff)
        self.species = tuple(sorted(int(z) for z in species))
        self.layers = tuple(Layer(t, str(irr), t * self.cutoff) for t, irr in enumerate(irreps))
        self.device = device
        self.dtype = dtype
        self.provenance = dict(provenance)

    def use_fast(self, on: bool = True) -> bool:
        """Take the fused path if there is one for this potential, or the reference path.

        Both read the same weights and give the same numbers to rounding. Without a fused path the
        reference path is kept, and :attr:`not_fast` says why.

        Returns:
            Whether forward passes take the fused path from now on.
        """
        self.fast, self.not_fast, path = False, "it is switched off", "reference"
        if on:
            try:
                path = self._fuse()
            except NotFusable as reason:
                self.not_fast = str(reason)
            else:
                self.fast, self.not_fast = True, ""
        self.provenance["path"] = path
        if self.recipe is not None:
            self.recipe = {**self.recipe, "fast": on}
        return self.fast

    def _fuse(self) -> str:
        """Build the fused path, once, and name it; a family that has one overrides this.

        Raises:
            NotFusable: there is none for this model.
        """
        raise NotFusable("its family has none")

    @abstractmethod
    def _tap(self, layer: int) -> Tap:
        """Where the node features of ``layer`` are."""

    @abstractmethod
    def _site_energies(self, batch: Batch) -> torch.Tensor:
        """Run the whole model: site energies in eV, shape (n_atoms,), without derivatives."""

    @abstractmethod
    def randomised(self, seed: int = 0) -> Potential:
        """The same architecture with freshly drawn weights, for controls.

        Statistics of the training set (energy scales and references, average neighbour counts)
        stay as they are.
        """

    def layer_energies(self, batch: Batch) -> dict[int, torch.Tensor]:
        """Parts of the site energies that a model reads out layer by layer.

        Returns:
            For each layer with a readout of its own the part that it adds, eV, (n_atoms,), and for
            layer 0 the rest, which is fixed by the species; they add up to the site energies. Empty
            for a model that has one readout, after its last layer.
        """
        return {}

    def _products(self) -> list[torch.nn.Module]:
        """Of each layer from the first on, the tensor product that makes the messages."""
        raise ModelError(f"{self.name}: its messages can't be scaled")

    @contextmanager
    def scaled_messages(self, scales: torch.Tensor) -> Iterator[None]:
        """Multiply the message of every edge in the forward passes inside, on the reference path.

        Args:
            scales: for each layer from the first on and each edge of the batch that is run,
                (len(layers) - 1, n_edges). One changes nothing, zero takes the message away.

        Raises:
            ModelError: the family has no messages that can be scaled.
        """
        fast = self.fast
        self.use_fast(False)
        try:
            with scaled(self._products(), scales):
                yield
        finally:
            self.use_fast(fast)

    def batch(self, structures: Atoms | Frame | Iterable[Atoms | Frame]) -> Batch:
        """Neighbour graph of the structures, on this potential's device in its dtype.

        Raises:
            ModelError: no structure, an element that this potential doesn't know, or positions or
                a cell that aren't finite, or no cell along a periodic direction.
        """
        frames = as_frames(structures)
        if not frames or not all(len(frame) for frame in frames):
            raise ModelError("a batch needs at least one structure, and atoms in each")
        for frame in frames:
            self._check_species(frame)
            _check_geometry(frame)
        sources = tuple(frame.source for frame in frames)
        with enough_memory(sources, sum(map(len, frames))):
            joined = build_batch([frame.atoms for frame in frames], self.cutoff)
            return replace(joined, sources=sources).to(self.device, self._length_dtype)

    @property
    def _length_dtype(self) -> torch.dtype:
        """Lengths stay in float64 up to the edge vectors, where the device knows float64."""
        import torch

        return torch.float32 if self.device.type == "mps" else torch.float64

    def _check_species(self, frame: Frame) -> None:
        from ase.data import chemical_symbols

        unknown = sorted(set(frame.numbers.tolist()) - set(self.species))
        if unknown:
            symbols = ", ".join(chemical_symbols[z] for z in unknown)
            raise ModelError(
                f"{frame.source}: {self.name} doesn't know {symbols}; leave this structure out or "
                "choose a model trained on these elements"
            )

    def layer(self, index: int) -> Layer:
        """The layer with this index.

        Raises:
            ModelError: there is no such layer.
        """
        if not 0 <= index < len(self.layers):
            raise ModelError(
                f"layer {index}: {self.name} has layers 0 to {len(self.layers) - 1} "
                "(0 is the species embedding)"
            )
        return self.layers[index]

    @overload
    def run(
        self,
        batch: Batch,
        layers: Iterable[int] = ...,
        edits: Mapping[int, Edit] | None = ...,
        *,
        energies: bool = ...,
        forces: Literal[True],
        keep_graph: bool = ...,
    ) -> WithForces: ...

    @overload
    def run(
        self,
        batch: Batch,
        layers: Iterable[int] = ...,
        edits: Mapping[int, Edit] | None = ...,
        *,
        energies: Literal[True] = ...,
        forces: bool = ...,
        keep_graph: bool = ...,
    ) -> WithEnergies: ...

    @overload
    def run(
        self,
        batch: Batch,
        layers: Iterable[int] = ...,
        edits: Mapping[int, Edit] | None = ...,
        *,
        energies: bool,
        forces: bool = ...,
        keep_graph: bool = ...,
    ) -> Output: ...

    def run(
        self,
        batch: Batch,
        layers: Iterable[int] = (),
        edits: Mapping[int, Edit] | None = None,
        *,
        energies: bool = True,
        forces: bool = False,
        keep_graph: bool = False,
    ) -> Output:
        """One forward pass: energies, forces and node features, with edits applied.

        Args:
            batch: from :meth:`batch`.
            layers: whose node features to return.
            edits: for each layer to change, a function from its node features, shape
                (n_atoms, layer.dim), to new ones of the same shape. Later layers, energies and
                forces follow from the edited features.
            energies: compute energies. If neither energies nor forces are asked for, the pass
                stops after the deepest layer needed and keeps no autograd graph.
            forces: also compute forces, as minus the gradient of the (edited) energy.
            keep_graph: leave the returned tensors attached to ``batch.positions`` (and to what
                the edits used), for derivatives of your own. ``batch.positions`` must then
                require gradients where you differentiate by them.

        Raises:
            ModelError: no such layer, an edit that changes shape or dtype, a hook that didn't
                fire, or forces with ``keep_graph`` of positions that don't require gradients.
            OutOfMemoryError: the batch doesn't fit into memory.
        """
        if forces and keep_graph and not batch.positions.requires_grad:
            raise ModelError(
                "forces with keep_graph need a batch whose positions require gradients: call "
                "batch.positions.requires_grad_() first"
            )

        edits = dict(edits or {})
        wanted = set(layers)
        taps = {t: self._tap(self.layer(t).index) for t in sorted(wanted | set(edits))}
        stop = None if energies or forces else max(taps, default=None)
        if stop is None and not (energies or forces):
            return Output(features={})
        parts = [batch] if edits or keep_graph else self._parts(batch)
        with enough_memory(batch.sources, batch.n_atoms), ExitStack() as stack:
            seen = [stack.enter_context(hooked(taps, wanted, edits, stop)) for _ in parts]
            one = partial(self._pass, forces=forces, keep_graph=keep_graph)
            outputs = in_own_threads(one, list(zip(parts, seen, strict=True)))
        return _joined(outputs)

    def _parts(self, batch: Batch) -> list[Batch]:
        """The structures shared out among threads, which then needn't wait for each other.

        Only the fused path is: the plain one is held up by memory, which they share too.
        """
        import torch

        if not (self.fast and self.device.type == "cpu"):
            return [batch]
        n_edges = batch.edge_index.shape[1]
        return split_batch(batch, min(torch.get_num_threads(), n_edges // EDGES_PER_THREAD))

    def _pass(self, batch: Batch, captured: Captured, *, forces: bool, keep_graph: bool) -> Output:
        """One forward pass in this thread, and its derivative."""
        import torch

        if forces and not keep_graph:
            batch = replace(batch, positions=batch.positions.detach().clone().requires_grad_())
        with torch.set_grad_enabled(forces or keep_graph):
            site = run_hooked(captured, partial(self._site_energies, batch))
            return self._output(batch, captured.features, site, forces, keep_graph)

    def _output(
        self,
        batch: Batch,
        features: dict[int, torch.Tensor],
        site: torch.Tensor | None,
        forces: bool,
        keep_graph: bool,
    ) -> Output:
        import torch

        if site is None:
            return Output(features=features)
        energy = torch.zeros(batch.n_frames, dtype=site.dtype, device=site.device)
        energy = energy.index_add(0, batch.frame, site)
        force = None
        if forces:
            force = _minus_gradient(energy.sum(), batch.positions, keep_graph)
        if not keep_graph:
            features = {t: value.detach() for t, value in features.items()}
            energy, site = energy.detach(), site.detach()
        if force is None:
            return WithEnergies(features, energy, site)
        return WithForces(features, energy, site, force)

    def __repr__(self) -> str:
        return (
            f"<{self.family} potential {self.name}: {len(self.layers) - 1} message-passing layers, "
            f"cutoff {self.cutoff:g} Å, {len(self.species)} elements>"
        )


def _joined(outputs: Sequence[Output]) -> Output:
    """One output for the structures of all, in order."""
    import torch

    if len(outputs) == 1:
        return outputs[0]

    given = [
        name
        for name in ("energies", "site_energies", "forces")
        if getattr(outputs[0], name) is not None
    ]
    return replace(
        outputs[0],
        features={t: torch.cat([o.features[t] for o in outputs]) for t in outputs[0].features},
        **{name: torch.cat([getattr(o, name) for o in outputs]) for name in given},
    )


def _minus_gradient(
    energy: torch.Tensor, positions: torch.Tensor, keep_graph: bool
) -> torch.Tensor:
    """Forces: zero where the energy doesn't depend on the positions, as a patch can make it."""
    import torch

    if not energy.requires_grad:
        return torch.zeros_like(positions)
    (gradient,) = torch.autograd.grad(
        energy, positions, create_graph=keep_graph, allow_unused=True, materialize_grads=True
    )
    return -gradient


def _check_geometry(frame: Frame) -> None:
    """Refuse what would give wrong neighbours without a word."""
    import numpy as np

    atoms = frame.atoms
    if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()):
        raise ModelError(f"{frame.source}: a position or the cell isn't finite; correct the file")
    if np.linalg.matrix_rank(atoms.cell.array[atoms.pbc], tol=1e-6) < atoms.pbc.sum():
        raise ModelError(
            f"{frame.source}: has no cell along a periodic direction; give the cell, or set pbc to "
            "F F F"
        )
