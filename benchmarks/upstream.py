"""What a user does without mpprobe: the peers, each as its own package means it to be used."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from ase import Atoms

from mpprobe.models.options import quiet_library

LAYERS = range(5)


@contextlib.contextmanager
def _features_kept(model: torch.nn.Module, kept: list[torch.Tensor]) -> Iterator[None]:
    """Forward hooks on the embedding and on every layer's last module."""

    def keep(module, inputs, output: dict[str, Any]) -> None:
        kept.append(output["x"].detach())

    names = ["onehot_to_feature_x", *(f"{t}_equivariant_gate" for t in LAYERS)]
    handles = [model._modules[name].register_forward_hook(keep) for name in names]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class SevenNetASE:
    """A loop over sevenn's ASE calculator; energies and forces are what it always computes."""

    def __init__(self) -> None:
        with quiet_library():
            from sevenn.calculator import SevenNetCalculator

            self.calculator = SevenNetCalculator("7net-0", device="cpu")

    def forces(self, structures: Sequence[Atoms]) -> list[np.ndarray]:
        found = []
        for atoms in structures:
            self.calculator.calculate(atoms)
            found.append(self.calculator.results["forces"])
        return found

    def features(self, structures: Sequence[Atoms]) -> list[np.ndarray]:
        """Node features of all layers, one array a layer."""
        kept: list[torch.Tensor] = []
        with _features_kept(self.calculator.model, kept):
            self.forces(structures)
        return _by_layer(kept)


class SevenNetBatched:
    """sevenn's model on its own batched graphs, without gradients and forces."""

    def __init__(self) -> None:
        with quiet_library():
            from sevenn.util import load_checkpoint

            checkpoint = load_checkpoint("7net-0")
            self.model = checkpoint.build_model().eval()
        self.cutoff = checkpoint.config["cutoff"]
        self.model.delete_module_by_key("force_output")
        self.model.key_grad = None
        self.model.set_is_batch_data(True)

    def graphs(self, structures: Sequence[Atoms], batch_size: int) -> list[Any]:
        """sevenn's graphs, joined as its own loader joins them."""
        from sevenn.atom_graph_data import AtomGraphData
        from sevenn.train.dataload import unlabeled_atoms_to_graph
        from torch_geometric.loader import DataLoader

        made = [
            AtomGraphData.from_numpy_dict(unlabeled_atoms_to_graph(atoms, self.cutoff))
            for atoms in structures
        ]
        return list(DataLoader(made, batch_size=batch_size))

    def features(self, structures: Sequence[Atoms], batch_size: int) -> list[np.ndarray]:
        """Node features of all layers; the forward pass can't stop early."""
        return self.from_graphs(self.graphs(structures, batch_size))

    def from_graphs(self, graphs: Sequence[Any]) -> list[np.ndarray]:
        kept: list[torch.Tensor] = []
        with torch.no_grad(), _features_kept(self.model, kept):
            for graph in graphs:
                # The model changes what it is given.
                self.model(graph.clone())
        return _by_layer(kept)


def _by_layer(kept: list[torch.Tensor]) -> list[np.ndarray]:
    n = len(LAYERS) + 1
    return [torch.cat(kept[t::n]).numpy() for t in range(n)]


class MaceASE:
    """A loop over ``MACECalculator.get_descriptors``, and mace's module without gradients."""

    def __init__(self, path: str) -> None:
        from mpprobe.models.mace import _mace_imported

        with _mace_imported(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from mace.calculators import MACECalculator

            module = torch.load(path, weights_only=False, map_location="cpu")
            self.calculator = MACECalculator(models=module, device="cpu", default_dtype="float32")

    def descriptors(self, structures: Sequence[Atoms]) -> list[np.ndarray]:
        """It computes forces too: mace's forward pass does so unless it is told not to."""
        return [self.calculator.get_descriptors(a, invariants_only=False) for a in structures]

    def forward(self, structures: Sequence[Atoms]) -> list[np.ndarray]:
        found = []
        model = self.calculator.models[0]
        with torch.no_grad():
            for atoms in structures:
                batch = self.calculator._atoms_to_batch(atoms)
                found.append(model(batch.to_dict(), compute_force=False)["node_feats"].numpy())
        return found
