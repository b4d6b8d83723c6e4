"""The fused path of SevenNet: one module for each message-passing layer."""

from __future__ import annotations

from typing import Any

import torch

from mpprobe.models.foreign import ForeignModule
from mpprobe.models.fused.convolution import Convolution, Rows
from mpprobe.models.fused.irreps import (
    ByIrrep,
    GateByIrrep,
    LinearByIrrep,
    Radial,
    SpeciesLinear,
    names,
    rows,
    split,
)
from mpprobe.models.fused.layout import NotFusable, read_layout
from mpprobe.models.fused.pairs import PAIRS
from mpprobe.models.threads import by_rows

#: A layer's modules in the order in which sevenn runs them; the gate's output is the layer's.
PARTS = (
    "self_connection_intro", "self_interaction_1", "convolution",
    "self_interaction_2", "self_connection_outro", "equivariant_gate",
)  # fmt: skip


class FusedLayer(torch.nn.Module):
    """A SevenNet layer from node features to node features, both in e3nn's layout.

    Expects :data:`PAIRS` in the data, and one row of edge embedding and spherical harmonics for
    each pair.

    Args:
        parts: the layer's modules, by the names in :data:`PARTS`.

    Raises:
        NotFusable: one of them computes something else than expected here.
    """

    def __init__(self, parts: dict[str, ForeignModule]) -> None:
        super().__init__()
        _check_parts(parts)
        convolution = parts["convolution"]
        self.intro: ForeignModule = parts["self_connection_intro"]
        self.interaction: ForeignModule = parts["self_interaction_1"]
        self.filter: ForeignModule = convolution
        self.convolution = Convolution(*read_layout(convolution.convolution))
        self.radial = Radial(convolution.weight_nn)
        self.connection = _connection(parts["self_connection_intro"])
        self.before = LinearByIrrep(parts["self_interaction_1"].linear)
        self.after = LinearByIrrep(parts["self_interaction_2"].linear)
        self.gate = GateByIrrep(parts["equivariant_gate"].gate)
        self._by_species = isinstance(self.connection, SpeciesLinear)
        self._sent = names(convolution.convolution.irreps_out)
        _check_irreps(convolution.convolution, self.before, self.after)

    def forward(self, data: dict[str, Any]) -> dict[str, Any]:
        convolution, modal = self.filter, self._modal(data)
        species = data[self.intro.key_operand] if self._by_species else None
        (gathered,) = by_rows(self._before, data["x"], modal)
        messages = self.convolution(
            data[PAIRS], gathered, data[convolution.key_filter],
            self._hidden(data[convolution.key_weight_input]), self.radial.matrix(),
        )  # fmt: skip
        (data["x"],) = by_rows(self._after, data["x"], species, modal, *messages)
        return data

    def _before(self, x: torch.Tensor, modal: torch.Tensor | None) -> tuple[torch.Tensor]:
        """What the kernel gathers."""
        features = split(x, self.filter.convolution.irreps_in1)
        return (rows(self.before(_with_modal(features, modal))),)

    def _hidden(self, edges: torch.Tensor) -> torch.Tensor | Rows:
        """Hidden values of the radial network, left to the convolution where it can be."""
        if torch.is_grad_enabled():
            return by_rows(lambda some: (self.radial(some),), edges)[0]
        return lambda rows: self.radial(edges[rows])

    def _after(
        self,
        x: torch.Tensor,
        species: torch.Tensor | None,
        modal: torch.Tensor | None,
        *blocks: torch.Tensor,
    ) -> tuple[torch.Tensor]:
        """Node features after this layer, from those before it and the messages by irrep."""
        if self._by_species:
            connection = split(self.connection(x, species), self.connection.irreps_out)
        else:
            connection = self.connection(split(x, self.filter.convolution.irreps_in1))
        messages = dict(zip(self._sent, blocks, strict=True))
        # The messages are divided by the denominator after the linear map, where they are fewer.
        denominator = self.filter.denominator
        update = self.after(_with_modal(messages, None if modal is None else modal * denominator))
        update = {name: block / denominator for name, block in update.items()}
        return (self.gate(update | {name: update[name] + connection[name] for name in connection}),)

    def _modal(self, data: dict[str, Any]) -> torch.Tensor | None:
        """One-hot fidelity of each node, (n_nodes, 1, n_modals), where the linear maps take it."""
        linear = self.interaction
        if linear.num_modalities <= 1:
            return None
        one_hot = data[linear.key_modal_attr].reshape(-1, linear.num_modalities)
        return one_hot[data["batch"]].to(data["x"].dtype).unsqueeze(1)


def fused_modules(module: ForeignModule) -> dict[str, torch.nn.Module]:
    """The model's modules in order, each layer's six replaced by one under its gate's name.

    Raises:
        NotFusable: the model holds a layer that can't be.
    """
    fused: dict[str, torch.nn.Module] = {}
    for name in module._modules:
        layer, _, part = name.partition("_")
        if not (layer.isdigit() and part in PARTS):
            fused[name] = module._modules[name]
        elif part == PARTS[-1]:
            held = {p: module._modules.get(f"{layer}_{p}") for p in PARTS}
            if None in held.values():
                raise NotFusable(f"layer {layer} lacks one of {', '.join(PARTS)}")
            fused[name] = FusedLayer(held)
    return fused


def _connection(intro: ForeignModule) -> LinearByIrrep | SpeciesLinear:
    """sevenn's two self-connections: one linear map, or one for each species."""
    if type(intro).__name__ == "SelfConnectionIntro":
        return SpeciesLinear(intro.fc_tensor_product)
    return LinearByIrrep(intro.linear)


def _with_modal(features: ByIrrep, modal: torch.Tensor | None) -> ByIrrep:
    """sevenn appends the fidelity to the scalars that its linear maps take."""
    if modal is None:
        return features
    return features | {"0e": torch.cat([features["0e"], modal], dim=2)}


def _check_irreps(product: ForeignModule, before: LinearByIrrep, after: LinearByIrrep) -> None:
    """The maps around the convolution speak of the same channels in the same order."""
    if str(before.irreps_out) != str(product.irreps_in1) or len(names(product.irreps_in1)) != len(
        product.irreps_in1
    ):
        raise NotFusable("node features come in several blocks of one irrep")
    if set(after.reached) != set(names(after.irreps_out)):
        raise NotFusable("its messages lack an irrep that the gate expects")


def _check_parts(parts: dict[str, ForeignModule]) -> None:
    kinds = {
        "self_connection_intro": ("SelfConnectionLinearIntro", "SelfConnectionIntro"),
        "self_interaction_1": ("IrrepsLinear",),
        "convolution": ("IrrepsConvolution",),
        "self_interaction_2": ("IrrepsLinear",),
        "self_connection_outro": ("SelfConnectionOutro",),
        "equivariant_gate": ("EquivariantGate",),
    }
    for part, kind in kinds.items():
        if type(parts[part]).__name__ not in kind:
            raise NotFusable(f"its {part} is a {type(parts[part]).__name__}")
    if parts["convolution"].is_parallel:
        raise NotFusable("it is laid out for parallel LAMMPS")
