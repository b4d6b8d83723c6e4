"""Through which layers a number comes: captum's layer conductance over node features."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from ase import Atoms

from mpprobe.activations.finite import check_result
from mpprobe.attribution.maps import MAX_ATOMS, Attribution, Explained, check_choices
from mpprobe.attribution.scalars import ForceComponent, Scalar
from mpprobe.errors import AttributionError
from mpprobe.models.potential import Potential
from mpprobe.structures import Frame, as_frames

#: Steps along the path. captum takes differences of features between steps: the gap falls with
#: their number only.
_STEPS = 64
#: Why forces have none.
FORCE_PASSES = (
    "layers: a force comes through the derivatives of all layers, not through one; ask for those "
    "of an energy or of what a probe reads"
)


def conductance(
    potential: Potential,
    structure: Atoms | Frame,
    scalar: Scalar,
    layer: int,
    through: Sequence[int] | None = None,
    *,
    baseline: str = "species mean",
    max_atoms: int = MAX_ATOMS,
) -> list[Attribution]:
    """Share a number out among the features of later layers, on the way from one layer.

    As the features of ``layer`` go from the baseline to what they are, those of a later layer move
    too: its conductance is how much of the number's change comes through each of them (Dhamdhere,
    Sundararajan and Yan, 2018).

    Args:
        potential: from :func:`mpprobe.load`.
        structure: whose number.
        scalar: an energy, or what a probe reads.
        layer: where the path begins.
        through: later layers; all that the number depends on if not given.
        baseline: one of :data:`mpprobe.attribution.BASELINES`.
        max_atoms: most atoms in one forward pass, copies of the structure counted.

    Returns:
        One for each layer, whose ``gap`` is what goes past it, as it does where a model reads
        energies out of earlier layers, and the error of the finite steps.

    Raises:
        AttributionError: a force, which is a derivative and comes past every layer too; no such
            baseline or atom; a layer that the number doesn't depend on.
        ModelError: an element that the potential doesn't know, no such layer, or a result that
            isn't finite.
    """
    from captum.attr import LayerConductance

    if isinstance(scalar, ForceComponent):
        raise AttributionError(FORCE_PASSES)
    (frame,) = as_frames(structure)
    start = potential.layer(layer)
    check_choices("integrated gradients", baseline)
    last = getattr(scalar, "layer", len(potential.layers) - 1)
    chosen = range(layer + 1, last + 1) if through is None else through
    for t in (layer, *chosen):
        scalar.check(potential, frame, potential.layer(t).index)
    for t in chosen:
        if t <= layer:
            raise AttributionError(f"layer {t}: isn't later than layer {layer}, where it begins")
    problem = Explained(potential, frame, scalar, layer, max_atoms)
    x, reference = problem.features[None], problem.baseline(start, baseline)[None]
    value, first = problem.ends(x, reference)
    found = []
    for t in chosen:
        module = _Through(problem, t)
        values = LayerConductance(module, module.seen).attribute(
            x, reference, n_steps=_STEPS, internal_batch_size=problem.copies
        )
        values = values[0].detach().cpu().numpy().astype(np.float64)
        check_result(potential, frame, f"conductances of the {scalar.name}", values)
        found.append(Attribution(
            values, potential.layer(t), frame.atoms.get_chemical_symbols(), scalar.name,
            scalar.unit, "layer conductance", baseline, value, first,
            value - first - float(values.sum()), np.nan, np.nan,
        ))  # fmt: skip
    return found


class _Through(torch.nn.Module):
    """The number as a module in which captum finds a later layer's features."""

    def __init__(self, problem: Explained, layer: int) -> None:
        super().__init__()
        self.problem, self.layer = problem, layer
        self.seen = torch.nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        def see(features: torch.Tensor) -> torch.Tensor:
            return self.seen(features.reshape(len(x), -1, features.shape[1])).flatten(0, 1)

        return self.problem.values(x, {self.layer: see})
