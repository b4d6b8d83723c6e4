"""Errors of what is decoded are those of a ridge with fixed effects: one constant for each kind."""

from __future__ import annotations

import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from sklearn.linear_model import Ridge

import mpprobe
from interventions.toy import Layered, salts
from mpprobe.activations.evaluate import Evaluator
from mpprobe.explain import encoding_errors
from mpprobe.explain.encoding import check_encoding
from mpprobe.models.hooks import Tap
from mpprobe.probes import make_split
from mpprobe.probes.chosen import kinds
from mpprobe.probes.crossfit import cross_predict
from mpprobe.probes.ridge import PENALTIES
from mpprobe.structures import Frame

A, B = np.array([1.0, -0.5, 0.3, 0.2, -0.8, 0.4]), np.array([0.7, -0.4, 0.2, 0.1])
SETTINGS = mpprobe.Settings(in_domain=("bulk",))
NAMES = ("noisy", "moved", "kind", "first", "last")
# Frames of other compounds, and the constants of the nine kinds.
COMPOUNDS = {0: "alone", 1: "new", 3: "new"}
OF_KINDS = np.array([3.7, -20.0, 0.3, 14.1, 50.0, -7.7, 2.9, 31.0, 8.8])


class Two(Layered):
    """With a layer between, which is the first two scalars alone."""

    irreps = (Layered.irreps[0], "2x0e", Layered.irreps[1])

    def _tap(self, layer: int) -> Tap:
        if layer == 2:
            return Tap(self.module[1], lambda x: x, lambda x, new: new)
        return Tap(self.module[0], lambda x: x[:, : layer + 1], lambda x, new: x)


@pytest.fixture(scope="module")
def model():
    return Two(A, B)


@pytest.fixture(scope="module")
def frames(model):
    """Crystals in domain, a compound of one group among them; slabs, some of another compound."""
    made = []
    for k, frame in enumerate(salts(28)):
        atoms = frame.atoms.copy()
        if k in COMPOUNDS:
            atoms.info["compound"] = COMPOUNDS[k]
        made.append(Frame.from_atoms(atoms, frame.source))
    x, kind = Evaluator(model, made).features([2])[2], kinds(made)
    rng = np.random.default_rng(0)
    used, first = x[:, :6] @ A, x[:, 0]
    noisy, nearly = (
        v + 0.5 * centred(v, kind).std() * rng.normal(size=len(v)) for v in (used, first)
    )
    columns = {
        "noisy": noisy, "kind": OF_KINDS[kind], "moved": noisy + OF_KINDS[kind],
        "first": nearly, "last": used,
    }  # fmt: skip
    for k, frame in enumerate(made):
        for name, values in columns.items():
            frame.atoms.arrays[name] = values[8 * k : 8 * k + 8]
        frame.atoms.calc = SinglePointCalculator(frame.atoms, forces=rng.normal(size=(8, 3)))
    return made


@pytest.fixture(scope="module")
def kind(frames):
    return kinds(frames)


@pytest.fixture(scope="module")
def split(frames):
    return make_split("domain", frames, in_domain=("bulk",))


@pytest.fixture(scope="module")
def features(model, frames):
    return Evaluator(model, frames).features([1, 2])


@pytest.fixture(scope="module")
def found(model, frames):
    targets = [f"array:{name}" for name in NAMES]
    return encoding_errors(model, frames, targets=targets, random_weights=False, settings=SETTINGS)


def values_of(frames, name):
    return np.concatenate([f.atoms.arrays[name] for f in frames])


def centred(values, kind):
    values = values.copy()
    for k in np.unique(kind):
        values[kind == k] -= values[kind == k].mean(axis=0)
    return values


def weights(x, y, kind, rows, penalty):
    """scikit-learn's ridge of what the kinds leave of features and target."""
    x, y = centred(x[rows], kind[rows]), centred(y[rows], kind[rows])
    size = x.std(axis=0)
    return Ridge(alpha=penalty * len(y), fit_intercept=False).fit(x / size, y).coef_ / size


def chosen(x, y, kind, cells, fold):
    """The least error within kinds over the inner folds, and its penalty, the larger of equals."""

    def error(penalty):
        left = np.full(len(y), np.nan)
        for train, validation in fold.inner:
            known, rows = np.isin(cells, train), np.isin(cells, validation)
            off = y - x @ weights(x, y, kind, known, penalty)
            for k in np.unique(kind[rows]):
                own = kind == k
                seen = own & known if (own & known).any() else own & rows
                left[own & rows] = off[own & rows] - off[seen].mean()
        held = np.isfinite(left)
        return (centred(left[held], kind[held]) ** 2).sum()

    errors = [error(penalty) for penalty in PENALTIES[::-1]]
    return min(errors), PENALTIES[::-1][int(np.argmin(errors))]


def fixed_effects(layers, y, kind, domain, split):
    """|y − ŷ|, whether the atom's kind was trained on, and the layer of the last fold.

    Each fold reads the layer with the least inner error.
    """
    off, known = np.zeros(len(y)), np.zeros(len(y), dtype=bool)
    for k, fold in enumerate(split.folds):
        train = np.isin(split.cells, fold.train)
        options = {t: chosen(x, y, kind, split.cells, fold) for t, x in layers.items()}
        layer = min(options, key=lambda t: options[t][0])
        x = layers[layer]
        w = weights(x, y, kind, train, options[layer][1])
        for i in np.flatnonzero(split.test == k):
            own, scale = train & (kind == kind[i]), 1.0
            known[i] = own.any()
            if not known[i]:
                own = (split.test == k) & (kind == kind[i]) & (domain == domain[i])
                scale = np.sqrt(own.sum() / (own.sum() - 1))
            off[i] = scale * (y[i] - x[i] @ w - (y[own] - x[own] @ w).mean())
    return np.abs(off), known, layer


def test_errors_are_those_of_a_ridge_with_fixed_effects(found, frames, kind, split, features):
    domain = np.repeat([f.domain for f in frames], 8)
    layers = found.layers.set_index("target")["layer"]
    for name in ("noisy", "first"):
        x = {layer: features[layer][:, :width] for layer, width in ((1, 2), (2, 6))}
        expected, known, layer = fixed_effects(x, values_of(frames, name), kind, domain, split)
        assert layer == layers[f"array:{name}"]
        np.testing.assert_allclose(found.atoms[f"error:array:{name}"], expected, atol=1e-6)
        assert expected.mean() > 0.1 * centred(values_of(frames, name), kind).std()
        compound = found.atoms["compound"]
        np.testing.assert_array_equal(known, ~compound.isin(["alone", "new"]))


def test_what_is_composition_only_is_known_without_error(found, frames):
    assert np.ptp(values_of(frames, "kind")) > 50
    assert found.atoms["error:array:kind"].max() < 1e-10
    assert found.layers.set_index("target")["r2"].isna()["array:kind"]


def test_what_composition_tells_has_no_say(found):
    np.testing.assert_allclose(
        found.atoms["error:array:moved"], found.atoms["error:array:noisy"], atol=1e-8
    )
    layers = found.layers.set_index("target")
    own, moved = layers.loc["array:noisy"], layers.loc["array:moved"]
    assert own["layer"] == moved["layer"]
    assert own["r2"] == pytest.approx(moved["r2"])
    assert 0.3 < own["r2"] < 0.99


def test_the_layer_has_the_least_inner_error(found, frames, kind, split, features):
    layers = found.layers.set_index("target")["layer"]
    for name in ("noisy", "first", "last"):
        y = values_of(frames, name)[:, None]
        errors = {
            layer: cross_predict(x, y, split, kinds=kind).maps[-1].error[0]
            for layer, x in ((1, features[1]), (2, features[2][:, :6]))
        }
        assert layers[f"array:{name}"] == min(errors, key=errors.get)
    assert layers["array:last"] == 2


def test_nothing_out_of_domain_has_a_say(model, frames, found):
    other = []
    for frame in frames:
        atoms = frame.atoms.copy()
        atoms.calc = frame.atoms.calc
        if frame.domain != "bulk":
            atoms.arrays["noisy"] = -9 * atoms.arrays["noisy"][::-1]
        other.append(Frame.from_atoms(atoms, frame.source))
    again = encoding_errors(
        model, other, targets=["array:noisy"], random_weights=False, settings=SETTINGS
    )
    inside = found.atoms["in_domain"]
    errors, moved = (t.atoms["error:array:noisy"] for t in (found, again))
    np.testing.assert_array_equal(errors[inside], moved[inside])
    assert (moved[~inside] > errors[~inside]).mean() > 0.8
    layer, other_layer = (t.layers.set_index("target").loc["array:noisy"] for t in (found, again))
    assert layer.equals(other_layer)


def test_copies_are_kept_on_one_side(model, frames):
    copies = []
    for frame in frames:
        atoms = frame.atoms.copy()
        atoms.calc = frame.atoms.calc
        copies.append(Frame.from_atoms(atoms, f"{frame.source}'"))
    _, split = check_encoding(model, [*frames, *copies], ["array:noisy"], SETTINGS)
    own, other = split.test.reshape(2, -1)
    np.testing.assert_array_equal(own, other)
