"""Nothing that a figure shows is cut off: every text, every legend, of every figure function."""

from __future__ import annotations

import importlib
import inspect
import itertools
import pkgutil
from pathlib import Path
from types import SimpleNamespace

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from ase import Atoms
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text

import mpprobe.report
from mpprobe.attribution.study import PAST
from mpprobe.explain.nonlocal_forces import COMPARED
from mpprobe.explain.questions import ALL, CONTROL, DISTANCE, ERROR
from mpprobe.explain.study import (
    CORRELATION,
    ERASURE,
    HELD_OUT,
    IN_DOMAIN,
    MIXED,
    OUT_OF_DOMAIN,
)
from mpprobe.interventions import effects, erasing, steering
from mpprobe.models.controls import RANDOM_WEIGHTS, TRAINED
from mpprobe.report.canvas import as_label, legend_below, new_figure
from mpprobe.report.explaining import _SETS
from mpprobe.report.figures import save
from mpprobe.report.style import BASELINE_STYLES, CONTROL_STYLES
from mpprobe.response import METAL, SITES
from mpprobe.toys import TRAINING
from mpprobe.toys.study import SHELLS
from mpprobe.toys.sweep import OUTSIDE

#: Pixels at 200 dpi, and inches that a panel must keep.
TOLERANCE, LEAST = 1, 0.9
UNDERSCORE = "_relaxed_runs"
#: Those drawn in profiles.
BASELINES = [name for name in BASELINE_STYLES if not name.endswith("same width")]


class Names:
    """Names of models, domains and so on, as many as are asked for."""

    def __init__(self, many: bool, long: bool) -> None:
        self.many, self.long = many, long

    def __call__(self, kind: str, most: int = 3) -> list[str]:
        tail = " of a relaxation with every setting in its name" if self.long else ""
        names = [f"{kind} {k}{tail}" for k in range(most if self.many else 1)]
        return [UNDERSCORE, *names[1:]] if kind in ("domain", "compound", "model") else names

    @property
    def model(self) -> dict:
        name = "SevenNet-0" + self.long * " fine-tuned on relaxations, the second of two"
        return {"name": name}


def table(columns: dict, *values: str) -> pd.DataFrame:
    """A row for each combination of labels, with random numbers from 0.1 to 1 as values."""
    rows = pd.DataFrame(itertools.product(*columns.values()), columns=list(columns))
    rng = np.random.default_rng(0)
    for name in values:
        rows[name] = rng.uniform(0.1, 1, len(rows))
    return rows


def bars(*names: str) -> list[str]:
    return [f"{name}{end}" for name in names for end in ("", "_low", "_high")]


def scores(names: Names, **labels) -> pd.DataFrame:
    """Of every kind of features, layer by layer; of baselines one row."""
    columns = {
        "model": [names.model["name"]], "target": names("target"), "split": names("split"),
        "subset": ["all"], "features": ["model", *CONTROL_STYLES, *BASELINE_STYLES],
        "layer": range(6), **labels,
    }  # fmt: skip
    rows = table(columns, *bars("r2_within", "r2"), "spread_low", "spread_high")
    return rows[~rows["features"].isin(list(BASELINE_STYLES)) | (rows["layer"] == 0)]


# A figure for each function, and the labels that its legends must have.


def layer_profile(draw, names):
    return draw(scores(names)), ["trained model", *CONTROL_STYLES, *BASELINES]


def model_profiles(draw, names):
    models = names("model")
    rows = scores(names, model=models, structures=names("set", 2), target=names("target", 2),
                  split=names("split", 2))  # fmt: skip
    return draw(rows), [*models, RANDOM_WEIGHTS, *BASELINES]


def transfer_figure(draw, names):
    domains = names("domain", 6)
    kinds = ["model", RANDOM_WEIGHTS, *BASELINE_STYLES]
    labels = {"model": [names.model["name"]], "target": names("target"), "subset": domains,
              "features": kinds, "layer": [2], "metric": ["r2_within"]}  # fmt: skip
    rows = table(labels, "value", "low", "high")
    rows["in_domain"] = rows["subset"] == domains[0]
    return draw(rows), ["trained model", *kinds[1:]]


def parity(draw, names, vector=False):
    domains, target = names("domain", 9), names("target")[0]
    frames = [SimpleNamespace(domain=name, compound=f"c{k % 2}")
              for k, name in enumerate(np.repeat(domains, 4))]  # fmt: skip
    true = np.random.default_rng(0).normal(size=(len(frames), 3) if vector else len(frames))
    decoded = {(target, "structure", 1): 0.9 * true}
    study = SimpleNamespace(
        frames=frames, rows=SimpleNamespace(frame=np.arange(len(frames))), true={target: true},
        predictions=decoded, within=decoded, centred=lambda values: values - values.mean(),
        trivial=(), targets={target: SimpleNamespace(unit="e")},
        scores=pd.DataFrame({"model": [names.model["name"]]}),
    )  # fmt: skip
    return draw(study, target, "structure", 1), domains


def parity_of_vectors(draw, names):
    return parity(draw, names, vector=True)


def domain_figure(draw, names):
    models = names("model", 5)
    rows = table({"domain": [*names("domain", 6), "all"], "model": models},
                 *bars("force_mae", "slope"))  # fmt: skip
    return draw(rows), models


def lens_figure(draw, names):
    columns = {"potential": names("potential"), "model": [TRAINED, RANDOM_WEIGHTS],
               "readout": ["fitted", "own"], "layer": range(1, 6)}  # fmt: skip
    return draw(table(columns, *bars("r2_within"))), [f"{TRAINED}, fitted", f"{TRAINED}, own"]


def force_constants_figure(draw, names):
    sources = ["_the reference", "the model" + names.long * " fine-tuned on a lot of structures"]
    labels = {"compound": names("compound"), "forces": sources}
    pairs = table({**labels, "k": range(20)}, "charge_i", "charge_j", "T_along", "K_along",
                  "published")  # fmt: skip
    found = draw(pairs, table(labels, "strength", "published"))
    return found, [f"{name}: " for name in sources]


def response(names):
    compounds = names("compound", 8)
    labels = {"model": [TRAINED, RANDOM_WEIGHTS], "compound": compounds}
    shells = table({**labels, "distance": np.linspace(3, 12, 9)}, "rms")
    shells["domain"] = np.where(shells["compound"] == compounds[-1], METAL, "bulk")
    fits = table(labels, *bars("strength"), "published", "formal").assign(all=True)
    fits["strength_low"], fits["strength_high"] = 0.9 * fits["strength"], 1.1 * fits["strength"]
    structures = [f"a/folder/{name}.extxyz@3" for name in names("structure", 12)]
    shares = table({"model": [TRAINED], "structure": structures, "species": ["Na"],
                    "other": ["Cl"], "distance": [2.8, 5.6]}, *SITES)  # fmt: skip
    settings = {"seed": 0, "n_resamples": 50}
    return SimpleNamespace(shells=shells, fits=fits, shares=shares,
                           provenance={"model": names.model, "settings": settings})  # fmt: skip


def response_figure(draw, names):
    return draw(response(names)), [*names("compound", 8), RANDOM_WEIGHTS]


def shares_figure(draw, names):
    return draw(response(names)), list(SITES)


def nonlocal_figure(draw, names):
    labels = {"model": names("model"), "domain": names("domain"), "cutoffs": [1.0, 2.5, 4.0]}
    atoms = table(labels, *(f"{kind}_{x}" for kind in ("model", "reference") for x in "xyz"))
    pairs = table({**labels, "species": ["Na-Cl"], "distance": [7.1, 9.2]},
                  "K_model", *(f"K_{part}" for part in COMPARED))  # fmt: skip
    return draw(SimpleNamespace(atoms=atoms, pairs=pairs)), [*names("domain"), *COMPARED, "model"]


def erasing_figure(draw, names):
    target = names("target")[0]
    kinds = [erasing.RANDOM, erasing.SPECIES, erasing.TARGET]
    domains = [*names("domain", 6), effects.ALL]
    models = [TRAINED, RANDOM_WEIGHTS]
    found = SimpleNamespace(
        effects=table({"model": models, "edit": kinds, "domain": domains}, "mae_change", "change"),
        decoding=table({"model": models, "layer": range(1, 6)}, "before", "after"),
        provenance={"model": names.model, "target": target, "target_l": 0, "layers": [2]},
    )  # fmt: skip
    labels = [f"{model}, {when}" for model in models for when in ("before", "after")]
    return draw(found), [target, *kinds[:2], *labels]


def steering_figure(draw, names):
    models = [TRAINED, RANDOM_WEIGHTS]
    species = ["Na", "Cl", "Mg", "O", "K", "F", "Li", "Br"][: 8 if names.many else 2]
    doses = {"model": models, "direction": [steering.PROBE, steering.RANDOM],
             "dose": [-1, 0, 1], "domain": [effects.ALL]}  # fmt: skip
    found = SimpleNamespace(
        atoms=table({"model": models, "species": species, "k": range(5)}, "analytic", "slope"),
        doses=table(doses, "coulomb_slope", "change"),
        distances=table({"model": models, "from": range(5)}, "change"),
        provenance={"model": names.model, "target": names("target")[0], "layer": 2, "unit": "e"},
    )
    found.distances["to"] = found.distances["from"] + 1
    return draw(found), [*species, steering.PROBE, steering.RANDOM, *models]


def patch_figure(draw, names):
    kinds = ["all features", "target's subspace"]
    atoms = table({"patch": kinds, "atom": range(9)}, "distance", "force_change", "after", "into")
    found = SimpleNamespace(atoms=atoms, provenance={"model": names.model, "layer": 2})
    return draw(found), kinds


def explained_figure(draw, names):
    targets = names("target", 5)
    what = [*(ERROR + t for t in targets), *(CONTROL + t for t in targets), DISTANCE]
    asked = [((CORRELATION, MIXED), what), ((HELD_OUT,), ["encoding"]), ((ERASURE,), targets)]
    values = ["value", "low", "high", "random_median", "random_low", "random_high", "p",
              "p_corrected"]  # fmt: skip
    where = [IN_DOMAIN, OUT_OF_DOMAIN]
    parts = [table({"question": questions, "what": of, "domain": where}, *values)
             for questions, of in asked]  # fmt: skip
    random = {"target": targets, "domain": where, "draw": range(20)}
    domains = {"predictors": list(_SETS), "domain": [*names("domain", 6), ALL]}
    found = SimpleNamespace(
        effects=pd.concat(parts).assign(supported=True),
        domains=table(domains, "value", "low", "high"),
        random=table(random, "value"),
        provenance={"model": names.model, "targets": targets, "draws": 20},
    )
    labels = [CORRELATION, MIXED, *(label for label, _ in _SETS.values()), "random subspaces"]
    return draw(found), labels


def attributed(names):
    models = [TRAINED, RANDOM_WEIGHTS] if names.many else [TRAINED]
    atoms = Atoms("NaClNaCl", positions=np.random.default_rng(0).uniform(0, 6, (4, 3)))
    rows = {"model": models, "atom": range(4)}
    with_layers = {**rows, "layer": [1, 2, 3]}
    graph = nx.DiGraph()
    for i, j in itertools.permutations(range(4), 2):
        graph.add_edge(i, j, weight=1.0, bonds=abs(i - j))
    found = SimpleNamespace(
        atoms=table(rows, "total", "influence"),
        layers=table(with_layers, "total"),
        edges=table({**with_layers, "receiver": range(4)}, "value"),
        bonds=table({"model": models, "bonds": [1, 2, 3]}, "mean"),
        through=table({**with_layers, "atom": [PAST, 0, 1]}, "share"),
        graphs={TRAINED: graph},
        frame=SimpleNamespace(atoms=atoms, numbers=atoms.numbers),
        checks=pd.DataFrame({"scalar": [names("scalar")[0]], "unit": ["eV"]}),
        provenance={"model": names.model},
    )
    for rows in (found.atoms, found.layers, found.through):
        rows["distance"] = 2.0 * rows["atom"].clip(lower=0)
    return found


def attribution_figure(draw, names):
    return draw(attributed(names)), [f"{TRAINED}: attribution"]


def layers_figure(draw, names):
    return draw(attributed(names)), [f"{TRAINED}: received by the atom", TRAINED]


def influence_figure(draw, names):
    return draw(attributed(names)), [TRAINED, "1 bond", "past the layer"]


def sweep_figure(draw, names):
    worlds, families = names("world", 4), ["sevenn", "mace"]
    shells = [f"r2:potential:shell-{k}:{layer}" for k in SHELLS for layer in (1, 2, 3)]
    random = [f"random:potential:shell-{k}" for k in SHELLS]
    values = [f"relative:{OUTSIDE}", "r2:potential", "reach", *shells, *random]
    rows = table({"world": worlds, "family": families}, *values)
    return draw(rows), [f"{w}, {f}" for w in worlds for f in families] + ["shell 1"]


def toy_figure(draw, names):
    targets = names("target", 6)
    kinds = {"split": ["domain"], "subset": [TRAINING], "target": targets,
             "features": ["model", RANDOM_WEIGHTS], "layer": range(4)}  # fmt: skip
    forces = table({"domain": [TRAINING, *names("domain", 5), "all"]}, *bars("relative"))
    history = [{"epoch": k, "relative": 0.5**k} for k in range(5)]
    training = SimpleNamespace(history=history, best=history[-1])
    found = SimpleNamespace(forces=forces, scores=table(kinds, *bars("r2_within", "r2")))
    return draw(SimpleNamespace(name=names.model["name"]), training, found), targets


def figure_functions() -> dict:
    """Every public function of the reports that returns a figure, by its name."""
    found = {}
    for module in pkgutil.walk_packages(mpprobe.report.__path__, "mpprobe.report."):
        for name, value in vars(importlib.import_module(module.name)).items():
            if (inspect.isfunction(value) and not name.startswith("_")
                    and inspect.signature(value).return_annotation == "Figure"):  # fmt: skip
                found[name] = value
    return found


FUNCTIONS = figure_functions()
CASES = {name: (globals().get(name), draw) for name, draw in FUNCTIONS.items()}
CASES["parity_of_vectors"] = parity_of_vectors, FUNCTIONS["parity"]


@pytest.fixture
def drawn(monkeypatch):
    """What ``save`` draws of a figure: each text with its box in pixels of the PNG."""
    draw_text, found = Text.draw, []

    def draw(text, renderer):
        draw_text(text, renderer)
        if text.get_visible() and text.get_text().strip("\u200b \n"):
            found.append((text, text.get_window_extent(renderer)))

    def savefig(figure, file, dpi, **_):
        if Path(file).suffix == ".png":
            figure.set_dpi(dpi)
            FigureCanvasAgg(figure)
            figure.draw_without_rendering()

    def drawn(figure):
        found.clear()  # some are drawn before, to find places for names
        save(figure, Path("unwritten"))
        return found

    monkeypatch.setattr(Text, "draw", draw)
    monkeypatch.setattr(Figure, "savefig", savefig)
    return drawn


def inside(box, outer) -> bool:
    return bool(min(*(box.min - outer.min), *(outer.max - box.max)) >= -TOLERANCE)


def overlap(a, b) -> bool:
    return bool((np.minimum(a.max, b.max) - np.maximum(a.min, b.min) > TOLERANCE).all())


def plain(label: str) -> str:
    """A label without its line ends, and without the mark before an underscore."""
    return "".join(label.split()).replace("\u200b", "")


def legends(figure) -> list:
    """All of a figure, each with its own panel, if it is of one."""
    own = [(axis.get_legend(), axis) for axis in figure.axes]
    return [(legend, None) for legend in figure.legends] + [pair for pair in own if pair[0]]


def check_texts(figure, texts):
    for text, box in texts:
        assert inside(box, figure.bbox), f"{text.get_text()!r} is cut off"
    ticks = {id(t) for a in figure.axes for t in (*a.get_xticklabels(), *a.get_yticklabels())}
    others = [(text, box) for text, box in texts
              if id(text) not in ticks and not isinstance(text, Annotation)]  # fmt: skip
    for (a, first), (b, second) in itertools.combinations(others, 2):
        assert not overlap(first, second), f"{a.get_text()!r} is over {b.get_text()!r}"


def check_legends(figure, texts):
    for legend, panel in legends(figure):
        box = legend.get_window_extent()
        assert inside(box, figure.bbox), "the legend is cut off"
        if panel is not None and overlap(box, panel.bbox):
            assert inside(box, panel.bbox), "the legend leaves its panel"
            continue
        assert not any(overlap(box, axis.bbox) for axis in figure.axes)
        own = {*legend.get_texts(), legend.get_title()}
        covered = [t.get_text() for t, other in texts if t not in own and overlap(box, other)]
        assert not covered


def test_every_figure_function_is_tried():
    assert [name for name, (case, _) in CASES.items() if case is None] == []


@pytest.mark.parametrize(
    ("many", "long"), [(False, False), (False, True), (True, True)],
    ids=["one-short", "one-long", "many-long"],
)  # fmt: skip
@pytest.mark.parametrize("name", CASES)
def test_nothing_is_cut_off_or_covered(name, many, long, drawn):
    case, draw = CASES[name]
    figure, expected = case(draw, Names(many, long))
    texts = drawn(figure)
    check_texts(figure, texts)
    check_legends(figure, texts)
    panels = [axis for axis in figure.axes if axis.get_label() != "<colorbar>"]
    assert min(min(axis.bbox.size) for axis in panels) > LEAST * figure.dpi, "a panel has shrunk"
    shown = [plain(t.get_text()) for legend, _ in legends(figure) for t in legend.get_texts()]
    for label in expected:
        assert any(plain(label) in text for text in shown), f"{label!r} is in no legend"


@pytest.mark.parametrize("n", [0, 1, 12, 40])
def test_a_legend_of_any_length_fits_below_a_narrow_panel(n, drawn):
    labels = [f"_kind {k} of those with a name of some length" for k in range(n)]
    with new_figure(2.5, 2.5) as figure:
        axis = figure.subplots()
        for label in labels:
            axis.plot([0, 1], label=as_label(label))
        legend_below(figure, [axis], "a note that is longer than the figure is wide " * 3)
    texts = drawn(figure)
    check_texts(figure, texts)
    check_legends(figure, texts)
    assert axis.bbox.height > 1.5 * figure.dpi
    assert [plain(t.get_text()) for t in figure.legends[0].get_texts()] == [*map(plain, labels)]
