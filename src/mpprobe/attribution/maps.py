"""Which atoms and which features of a layer a number comes from: captum over node features."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms

from mpprobe.activations.finite import check_result
from mpprobe.attribution.scalars import Scalar
from mpprobe.errors import AttributionError
from mpprobe.models.graph import Batch
from mpprobe.models.hooks import Edit
from mpprobe.models.potential import Layer, Potential
from mpprobe.structures import Frame, as_frames

if TYPE_CHECKING:
    import pandas as pd
    import torch

#: What the features are compared with.
BASELINES = {
    "species mean": "the mean over the structure's atoms of the same species, of scalars only",
    "zero": "nothing",
}
#: Most atoms in one forward pass, over copies of a structure.
MAX_ATOMS = 2000
#: Steps of integrated gradients, Gauss and Legendre's.
STEPS = 32
#: Perturbations behind infidelity and sensitivity, and their size in standard deviations of the
#: features.
PERTURBATIONS, SIZE = 10, 0.05


@dataclass(frozen=True, eq=False)
class Attribution:
    """How much each feature of each atom adds to a number.

    Attributes:
        values: (n_atoms, layer.dim), in the unit of the number.
        layer: whose features.
        symbols: of the atoms, (n_atoms,).
        scalar, unit, method, baseline: what is explained, how, and compared with what.
        value, baseline_value: the number, and what it is with the features of the baseline.
        gap: (value − baseline_value − Σ values), which is zero if the map is complete; relative
            to the difference in ``relative_gap``.
        infidelity: mean square error of the change that the map predicts for small random changes
            of the features, over the mean square change (Yeh and others, 2019; captum's); NaN for
            methods that go by whole atoms.
        sensitivity: largest relative change of the map for small random changes of the features
            (captum's ``sensitivity_max``); NaN unless asked for.
    """

    values: np.ndarray
    layer: Layer
    symbols: list[str]
    scalar: str
    unit: str
    method: str
    baseline: str
    value: float
    baseline_value: float
    gap: float
    infidelity: float
    sensitivity: float

    @property
    def relative_gap(self) -> float:
        difference = self.value - self.baseline_value
        return abs(self.gap / difference) if difference else np.nan

    def by_atom(self) -> pd.DataFrame:
        """A row for each atom: ``atom``, ``species``, ``total``, and a column for each irrep."""
        import pandas as pd

        columns = {irrep: block.sum(axis=1) for irrep, block in self._blocks()}
        return pd.DataFrame({
            "atom": np.arange(len(self.values)), "species": self.symbols,
            "total": self.values.sum(axis=1), **columns,
        })  # fmt: skip

    def by_channel(self) -> pd.DataFrame:
        """A row for each channel: ``irrep``, ``channel``, ``total`` over atoms and components."""
        import pandas as pd

        tables = [
            pd.DataFrame({"irrep": irrep, "channel": np.arange(block.shape[1]),
                          "total": block.sum(axis=0)})
            for irrep, block in self._blocks()
        ]  # fmt: skip
        return pd.concat(tables, ignore_index=True)

    def _blocks(self) -> Iterator[tuple[str, np.ndarray]]:
        """Each irrep and the attributions summed over the components of a channel, (n, mul)."""
        for block in self.layer.blocks:
            own = self.values[:, block.start : block.stop]
            yield f"{block.l}{block.p}", own.reshape(len(own), block.mul, -1).sum(axis=2)


def attribute(
    potential: Potential,
    structure: Atoms | Frame,
    scalar: Scalar,
    layer: int,
    *,
    method: str = "integrated gradients",
    baseline: str = "species mean",
    seed: int = 0,
    sensitivity: bool = False,
    max_atoms: int = MAX_ATOMS,
) -> Attribution:
    """Share a number out among the node features of a layer.

    Args:
        potential: from :func:`mpprobe.load`.
        structure: whose number.
        scalar: which, see :mod:`mpprobe.attribution.scalars`. Forces are those of the features as
            they move with the atoms.
        layer: whose features; earlier than what is read, or the same.
        method: one of :data:`METHODS`.
        baseline: one of :data:`BASELINES`.
        seed: of random samples and perturbations.
        sensitivity: also measure it, which takes as long as ten maps.
        max_atoms: most atoms in one forward pass, copies of the structure counted.

    Raises:
        AttributionError: no such method, baseline or atom, or a layer that the number doesn't
            depend on.
        ModelError: an element that the potential doesn't know, no such layer, or a result that
            isn't finite.
    """

    (frame,) = as_frames(structure)
    about = potential.layer(layer)
    check_choices(method, baseline)
    scalar.check(potential, frame, layer)
    problem = Explained(potential, frame, scalar, layer, max_atoms)
    x, reference = problem.features[None], problem.baseline(about, baseline)[None]
    value, start = problem.ends(x, reference)
    explain = METHODS[method]

    def explanation(inputs: torch.Tensor) -> torch.Tensor:
        with _seeded(seed):
            return explain(problem, inputs, reference)

    found = explanation(x)
    values = found[0].detach().cpu().numpy().astype(np.float64)
    check_result(potential, frame, f"attributions of the {scalar.name}", values)
    faithful = method not in BY_ATOM + BY_CHANNEL
    return Attribution(
        values, about, frame.atoms.get_chemical_symbols(), scalar.name, scalar.unit, method,
        baseline, value, start, value - start - float(values.sum()),
        _infidelity(problem, x, x - reference, found, seed) if faithful else np.nan,
        _sensitivity(problem, explanation, x, seed) if sensitivity else np.nan,
    )  # fmt: skip


def check_choices(method: str, baseline: str) -> None:
    """Refuse a method or a baseline that isn't there.

    Raises:
        AttributionError: names those that are.
    """
    for chosen, known in ((method, METHODS), (baseline, BASELINES)):
        if chosen not in known:
            raise AttributionError(f"{chosen!r}: choose one of {', '.join(known)}")


class Explained:
    """A number as a function of a layer's features, (n, n_atoms, dim) → (n,)."""

    def __init__(
        self, potential: Potential, frame: Frame, scalar: Scalar, layer: int, max_atoms: int
    ) -> None:
        self.potential, self.frame, self.scalar, self.layer = potential, frame, scalar, layer
        self.copies = max(1, max_atoms // len(frame))
        self._batches: dict = {}
        features = potential.run(self._batch(1), [layer], energies=False).features
        self.features = features[layer].detach()
        self.spread = float(self.features.std())

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        import torch

        return torch.cat([self.values(part) for part in x.split(self.copies)])

    def ends(self, x: torch.Tensor, reference: torch.Tensor) -> tuple[float, float]:
        """The number with the features as they are, and with those of the baseline.

        Raises:
            ModelError: one isn't finite.
        """
        found = [self(features)[0].item() for features in (x, reference)]
        for value, what in zip(found, ("", ", with the baseline's features,"), strict=True):
            check_result(self.potential, self.frame, f"the {self.scalar.name}{what}", value)
        return found[0], found[1]

    def values(
        self, x: torch.Tensor, edits: Mapping[int, Edit] = MappingProxyType({})
    ) -> torch.Tensor:
        """The same in one forward pass, with later layers' features edited."""
        flat = x.flatten(0, 1)

        def put(features: torch.Tensor) -> torch.Tensor:
            # As large as x, and moving with the atoms as the features do.
            return features + (flat - features.detach())

        batch = self._batch(len(x))
        return self.scalar.values(self.potential, batch, {self.layer: put, **edits})

    def _batch(self, copies: int) -> Batch:
        if copies not in self._batches:
            self._batches[copies] = self.potential.batch([self.frame] * copies)
        return self._batches[copies]

    def baseline(self, layer: Layer, name: str) -> torch.Tensor:
        import torch

        reference = torch.zeros_like(self.features)
        if name == "zero":
            return reference
        numbers = torch.as_tensor(self.frame.numbers, device=reference.device)
        for block in layer.blocks:
            if block.l:
                continue
            columns = slice(block.start, block.stop)
            for z in numbers.unique():
                own = numbers == z
                reference[own, columns] = self.features[own, columns].mean(dim=0)
        return reference

    def atom_mask(self) -> torch.Tensor:
        """One feature an atom, for methods that take features away together."""
        import torch

        n, width = self.features.shape
        atoms = torch.arange(n, device=self.features.device)
        return atoms.repeat_interleave(width).reshape(1, n, width)

    def channel_mask(self) -> torch.Tensor:
        """One feature a channel: its components on all atoms together."""
        import torch

        blocks = self.potential.layer(self.layer).blocks
        widths = [2 * block.l + 1 for block in blocks for _ in range(block.mul)]
        repeats = torch.as_tensor(widths, device=self.features.device)
        channels = torch.arange(len(widths), device=self.features.device)
        return channels.repeat_interleave(repeats).expand(1, *self.features.shape)


def _integrated_gradients(
    problem: Explained, x: torch.Tensor, baseline: torch.Tensor
) -> torch.Tensor:
    from captum.attr import IntegratedGradients

    return IntegratedGradients(problem).attribute(x, baseline, n_steps=STEPS)


def _input_x_gradient(problem: Explained, x: torch.Tensor, baseline: torch.Tensor) -> torch.Tensor:
    from captum.attr import Saliency

    gradient = Saliency(problem).attribute(x.clone().requires_grad_(), abs=False)
    return gradient * (x - baseline)


def _gradient_shap(problem: Explained, x: torch.Tensor, baseline: torch.Tensor) -> torch.Tensor:
    from captum.attr import GradientShap

    return GradientShap(problem).attribute(x, baseline, n_samples=STEPS)


def _atom_ablation(problem: Explained, x: torch.Tensor, baseline: torch.Tensor) -> torch.Tensor:
    return _ablation(problem, x, baseline, problem.atom_mask())


def _channel_ablation(problem: Explained, x: torch.Tensor, baseline: torch.Tensor) -> torch.Tensor:
    return _ablation(problem, x, baseline, problem.channel_mask())


def _ablation(
    problem: Explained, x: torch.Tensor, baseline: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    from captum.attr import FeatureAblation

    found = FeatureAblation(problem).attribute(
        x, baseline, feature_mask=mask, perturbations_per_eval=problem.copies
    )
    # captum gives the whole of an atom or a channel to each of its features.
    return found / mask.unique(return_counts=True)[1][mask]


def _shapley(problem: Explained, x: torch.Tensor, baseline: torch.Tensor) -> torch.Tensor:
    from captum.attr import ShapleyValueSampling

    mask = problem.atom_mask()
    found = ShapleyValueSampling(problem).attribute(
        x, baseline, feature_mask=mask, n_samples=STEPS, perturbations_per_eval=problem.copies
    )
    return found / x.shape[-1]


#: Ways of sharing out.
METHODS: dict[str, Callable] = {
    "integrated gradients": _integrated_gradients,
    "gradient × input": _input_x_gradient,
    "gradient SHAP": _gradient_shap,
    "atom ablation": _atom_ablation,
    "channel ablation": _channel_ablation,
    "Shapley sampling": _shapley,
}


#: Those that take whole atoms away, or a channel of all atoms: within these they share evenly.
BY_ATOM, BY_CHANNEL = ("atom ablation", "Shapley sampling"), ("channel ablation",)


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """captum draws from torch's and NumPy's global generators; both are put back."""
    import torch

    state = np.random.get_state()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(state)


def _infidelity(
    problem: Explained, x: torch.Tensor, apart: torch.Tensor, found: torch.Tensor, seed: int
) -> float:
    """captum's infidelity over the mean square change; NaN where nothing changes."""
    import torch
    from captum.metrics import infidelity

    changes = []

    def perturb(inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        step = SIZE * problem.spread * torch.randn_like(inputs)
        changes.append((problem(inputs) - problem(inputs - step)).detach())
        return step, inputs - step

    # What a step is multiplied by: attributions per unit that the feature is from the baseline.
    slopes = torch.where(apart != 0, found / torch.where(apart != 0, apart, 1.0), 0.0)
    with _seeded(seed):
        value = infidelity(problem, perturb, x, slopes, n_perturb_samples=PERTURBATIONS)
    square = float((torch.cat(changes) ** 2).mean())
    return float(value[0]) / square if square else np.nan


def _sensitivity(problem: Explained, explanation: Callable, x: torch.Tensor, seed: int) -> float:
    from captum.metrics import sensitivity_max

    with _seeded(seed):
        value = sensitivity_max(
            lambda inputs: (explanation(*inputs),), x, perturb_radius=SIZE * problem.spread,
            n_perturb_samples=PERTURBATIONS, max_examples_per_batch=1,
        )  # fmt: skip
    return float(value[0])
