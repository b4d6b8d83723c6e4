"""Readings claim what the numbers support, and no more: four questions, each answered both ways."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from mpprobe.probes import Settings, Study
from mpprobe.probes.sources import CHOSEN, ELECTROSTATICS, WITH_LAYER
from mpprobe.probes.tables import is_clear
from mpprobe.report.readings import counted_lines, reading, readings
from mpprobe.targets import get_target

NAN = float("nan")
BEYOND = "potential:beyond"


def scored(layer, value, low, high, *, target="potential", metric="r2_within", **more):
    row = {"model": "m", "target": target, "split": "compound", "features": "model",
           "layer": layer, "block": "8x0e", "subset": "all"}  # fmt: skip
    row |= {m + end: NAN for m in ("r2", "r2_within") for end in ("", "_low", "_high")}
    return row | {metric: value, metric + "_low": low, metric + "_high": high} | more


def chosen(value, low, high, **more):
    """The layers that the training folds choose, scored outside; and the local electrostatics."""
    weights = {"block": "formal charges", **more, "features": ELECTROSTATICS}
    return [scored(None, value, low, high, **{**more, "features": CHOSEN, "block": ""}),
            scored(None, 0.8, 0.7, 0.9, **weights)]  # fmt: skip


def gap(layer, control, difference, low, high, target="potential"):
    return {"target": target, "split": "compound", "layer": layer, "control": control,
            "difference": difference, "low": low, "high": high,
            "above": is_clear(difference, low)}  # fmt: skip


def added(layer, gain, above_random=(NAN, NAN, NAN), *, target="potential", features="model"):
    """What a layer adds to the local electrostatics, and how much more than random weights."""
    row = {"target": target, "split": "compound", "layer": layer, "features": features,
           "alone": 0.8, "together": 0.8 + gain[0]}  # fmt: skip
    for name, values in (("gain", gain), ("above_random", above_random)):
        row |= dict(zip((name, f"{name}_low", f"{name}_high"), values, strict=True))
    return row


PROFILE = [scored(0, 0.0, 0.0, 0.0), scored(1, 0.4, 0.3, 0.5), scored(2, 0.7, 0.61, 0.784),
           *chosen(0.69, 0.6, 0.77)]  # fmt: skip
CLEAR = [gap(2, "layer 0", 0.7, 0.61, 0.78), gap(2, "layer 1", 0.3, 0.1, 0.5),
         gap(2, "random weights", 0.3, 0.1, 0.5), gap(2, "SOAP", 0.2, 0.15, 0.25),
         gap(2, "radial densities", 0.21, 0.15, 0.25)]  # fmt: skip
ADDS = [added(2, (0.05, 0.02, 0.08), (0.04, 0.01, 0.07)),
        added(2, (0.01, 0.0, 0.02), features="random weights")]  # fmt: skip
SHARES = {1: 0.2, 2: 0.8}


def study(scores=PROFILE, differences=CLEAR, conditional=ADDS, *, choices=None, trivial=(), **more):
    scores = pd.DataFrame(scores)
    pairs = scores[["target", "split"]].drop_duplicates().itertuples(index=False)
    return Study(
        scores=scores, differences=pd.DataFrame(differences),
        conditional=pd.DataFrame(conditional),
        choices={tuple(pair): choices or SHARES for pair in pairs},
        predictions={}, within={}, true={}, trivial=trivial, frames=[], rows=None, layers=(0, 1, 2),
        targets={name: get_target(name) for name in scores["target"].unique()},
        provenance=more.get("provenance", {}), kinds=None,
        settings=more.get("settings", Settings()),
    )  # fmt: skip


def test_what_counts_and_what_kinds_are_is_said_where_it_is_not_the_usual():
    usual = [reading(study(), "potential", "compound")]
    assert readings(study(settings=Settings(within="kind", atoms="all"))) == usual
    settings = Settings(within="group", atoms="array:watched")
    assert readings(study(settings=settings))[1:] == [
        "atoms that count: array:watched",
        "kind, within which probes are fitted and scored: species in a group of structures",
    ]
    vectors = replace(study(settings=settings), targets={"field": get_target("field")})
    assert counted_lines(vectors.settings, vectors.targets.values())[-1] == (
        "field: of vectors no mean is taken off, so their scores hold what is the same within "
        "these kinds too"
    )
    (line,) = readings(study(settings=Settings(within="array:site")))[1:]
    assert line.endswith(": species in array:site")


def parts(made, target="potential"):
    """The reading, cut at its semicolons, and without its beginning."""
    line = reading(made, target, "compound")
    start = f"{target}, held out by compound: "
    assert line.startswith(start)
    assert "\n" not in line
    return line.removeprefix(start).split("; ")


def of_charges(made):
    """The answer to the third question, with its number."""
    return next(part for part in parts(made) if "beyond a one-cutoff sum" in part)


def of_beyond(made, target="potential"):
    """The answer to the fourth question."""
    (said,) = (part for part in parts(made, target) if part.startswith("beyond the cutoff"))
    return said.removeprefix("beyond the cutoff: ")


def test_one_line_answers_the_four_questions():
    assert reading(study(), "potential", "compound") == (
        "potential, held out by compound: read by layer 2, R² within kinds 0.69 [0.60, 0.77]; "
        "beyond geometry: clear of random weights, SOAP, radial densities, nearest +0.20 [+0.15, "
        "+0.25]; beyond a one-cutoff sum (formal charges), which alone reads 0.80: adds +0.05 "
        "[+0.02, +0.08], more than random weights do; beyond the cutoff: not asked (target "
        "potential:beyond)"
    )


def test_one_line_for_each_target_and_split_in_order():
    rows = [
        *PROFILE,
        scored(2, -0.1, -0.2, 0.1, target="charge:eeq"),
        *chosen(-0.1, -0.2, 0.1, target="charge:eeq"),
        scored(2, -0.2, -0.3, 0.1, split="structure"),
        *chosen(-0.2, -0.3, 0.1, split="structure"),
    ]
    lines = readings(study(rows))
    assert [line.split(": ")[0] for line in lines] == [
        "potential, held out by compound",
        "charge:eeq, held out by compound",
        "potential, held out by structure",
    ]
    assert not any("\n" in line for line in lines)


class TestIsItRead:
    @pytest.mark.parametrize(
        ("value", "low", "high", "shown"),
        [
            (0.2, -0.1, 0.4, "0.20 [−0.10, 0.40]"),
            (-0.5, -0.8, -0.1, "−0.50 [−0.80, −0.10]"),
            (3e-16, 1e-16, 4e-16, "0.00 [0.00, 0.00]"),  # above zero by rounding only
            (0.004, 0.001, 0.008, "0.00 [0.00, 0.01]"),  # 0.00, whatever its interval
            (0.9, NAN, NAN, "0.90"),  # too few units for an interval
        ],
    )
    def test_not_above_zero_claims_nothing_whatever_the_controls(self, value, low, high, shown):
        made = study([scored(2, 0.9, 0.8, 1.0), *chosen(value, low, high)], choices={2: 1.0})
        assert reading(made, "potential", "compound") == (
            f"potential, held out by compound: layer 2, R² within kinds {shown}: not clear above "
            "zero, so not read"
        )

    def test_a_trivial_target_claims_nothing_however_well_it_scores(self):
        target = {"target": "charge:formal", "metric": "r2"}
        rows = [scored(2, 1.0, 0.99, 1.0, **target), *chosen(1.0, 0.99, 1.0, **target)]
        differences = [gap(2, "SOAP", 0.5, 0.4, 0.6, target="charge:formal")]
        made = study(rows, differences, choices={2: 1.0}, trivial=("charge:formal",))
        text = reading(made, "charge:formal", "compound")
        assert "the species alone fix this target" in text
        assert "read by" not in text
        assert "beyond" not in text
        assert "1.00" not in text

    def test_plain_r2_is_read_where_there_is_no_other(self):
        target = {"target": "field", "metric": "r2"}
        rows = [scored(1, 0.7, 0.6, 0.8, **target), *chosen(0.72, 0.6, 0.8, **target)]
        differences = [gap(1, "random weights", 0.6, 0.5, 0.7, target="field")]
        made = study(rows, differences, choices={1: 1.0})
        assert parts(made, "field")[0] == "read by layer 1, R² 0.72 [0.60, 0.80]"

    def test_scores_of_other_features_and_domains_are_not_taken_for_the_chosen_layers(self):
        others = [
            scored(2, 0.99, 0.98, 1.0, features="random weights"),
            scored(2, 0.99, 0.98, 1.0, features=WITH_LAYER),
            scored(2, 0.98, 0.97, 1.0, subset="bulk"),
            scored(None, 0.98, 0.97, 1.0, subset="bulk", features=CHOSEN),
            scored(2, 0.97, 0.96, 1.0, split="structure"),
            *chosen(0.97, 0.96, 1.0, split="structure"),
            *chosen(0.96, 0.95, 1.0, target=BEYOND),
        ]
        assert parts(study([*others, *PROFILE]))[0].endswith(" 0.69 [0.60, 0.77]")

    def test_the_layer_is_the_one_that_training_folds_choose_not_the_one_that_scores_best(self):
        gaps = [gap(1, "layer 2", -0.3, -0.5, -0.1), gap(1, "SOAP", 0.2, 0.1, 0.3)]
        for shares in ({1: 0.6, 2: 0.4}, {1: 0.5, 2: 0.5}):
            said = parts(study(PROFILE, gaps, choices=shares))[0]
            assert said == "read by layer 1, R² within kinds 0.69 [0.60, 0.77]"

    @pytest.mark.parametrize(
        ("differences", "named"),
        [
            ([(1, 0.02, -0.01, 0.05), (3, 0.2, 0.1, 0.3)], "layer 2 (tied with layer 1)"),
            (
                [(1, 0.0, -0.01, 0.01), (3, -0.02, -0.05, 0.01)],
                "layer 2 (tied with layer 1, layer 3)",
            ),
            ([(1, 0.02, 0.01, 0.05), (3, -0.2, -0.3, -0.1)], "layer 2"),
            ([(1, 0.02, NAN, NAN), (3, 0.2, NAN, NAN)], "layer 2"),
            # Layer 0 is not among those that are chosen from.
            ([(0, 0.01, -0.01, 0.02), (1, 0.1, 0.05, 0.2), (3, 0.1, 0.05, 0.2)], "layer 2"),
        ],
    )
    def test_layers_whose_difference_covers_zero_are_called_tied(self, differences, named):
        gaps = [gap(2, f"layer {t}", *values) for t, *values in differences]
        gaps += [gap(1, "layer 3", 0.0, -1.0, 1.0), gap(2, "SOAP", 0.0, -1.0, 1.0)]
        made = study(PROFILE, gaps, choices={1: 0.3, 2: 0.5, 3: 0.2})
        assert parts(made)[0].startswith(f"read by {named}, R²")

    def test_ties_are_named_of_what_is_not_read_too(self):
        rows = [scored(2, 0.1, -0.1, 0.3), *chosen(0.1, -0.1, 0.3)]
        assert parts(study(rows, [gap(2, "layer 1", 0.0, -0.1, 0.1)])) == [
            "layer 2 (tied with layer 1), R² within kinds 0.10 [−0.10, 0.30]: not clear above "
            "zero, so not read"
        ]


class TestIsItBeyondGeometry:
    def test_clear_of_every_control_names_the_nearest(self):
        assert parts(study())[1] == (
            "beyond geometry: clear of random weights, SOAP, radial densities, "
            "nearest +0.20 [+0.15, +0.25]"
        )

    @pytest.mark.parametrize(
        ("difference", "shown"),
        [
            ((0.05, -0.02, 0.12), "+0.05 [−0.02, +0.12]"),
            ((0.003, 0.001, 0.006), "+0.00 [+0.00, +0.01]"),  # 0.00, whatever its interval
            ((-0.2, -0.3, -0.1), "−0.20 [−0.30, −0.10]"),
            ((0.3, NAN, NAN), "+0.30 [–, –]"),
        ],
    )
    @pytest.mark.parametrize("control", ["random weights", "SOAP", "radial densities"])
    def test_not_clear_of_one_control_names_that_one(self, control, difference, shown):
        gaps = [row for row in CLEAR if row["control"] != control]
        others = [row["control"] for row in gaps if not row["control"].startswith("layer")]
        assert parts(study(PROFILE, [*gaps, gap(2, control, *difference)]))[1:3] == [
            f"not beyond geometry: not clear of {control} ({shown})",
            f"clear of {', '.join(others)} only",
        ]

    def test_clear_of_none_names_them_all(self):
        gaps = [gap(2, "random weights", 0.1, -0.1, 0.3), gap(2, "SOAP", -0.1, -0.2, 0.0)]
        said = parts(study(PROFILE, gaps))
        assert said[1] == (
            "not beyond geometry: not clear of random weights (+0.10 [−0.10, +0.30]), "
            "SOAP (−0.10 [−0.20, +0.00])"
        )
        assert not any("only" in part for part in said)

    def test_other_controls_layers_and_targets_have_no_say(self):
        others = [
            gap(2, name, -0.5, -0.6, -0.4)
            for name in ("layer 1", ELECTROSTATICS, "SOAP, same width", "species mean",
                         "shuffled target", "neighbour vectors")
        ]  # fmt: skip
        others += [gap(1, "SOAP", -0.5, -0.6, -0.4), gap(2, "SOAP", -0.5, -0.6, -0.4, target="x")]
        assert parts(study(PROFILE, [*CLEAR, *others]))[1:] == parts(study())[1:]

    def test_vectors_stand_against_neighbour_vectors(self):
        target = {"target": "field", "metric": "r2"}
        rows = [scored(1, 0.7, 0.6, 0.8, **target), *chosen(0.72, 0.6, 0.8, **target)]
        gaps = [gap(1, "random weights", 0.6, 0.5, 0.7, target="field"),
                gap(1, "neighbour vectors", 0.1, 0.05, 0.2, target="field"),
                gap(1, "SOAP", -0.1, -0.2, 0.0, target="field")]  # fmt: skip
        adds = [added(1, (0.1, 0.05, 0.15), (0.1, 0.05, 0.15), target="field")]
        assert parts(study(rows, gaps, adds, choices={1: 1.0}), "field") == [
            "read by layer 1, R² 0.72 [0.60, 0.80]",
            "beyond geometry: clear of random weights, neighbour vectors, "
            "nearest +0.10 [+0.05, +0.20]",
            "beyond a one-cutoff sum (formal charges), which alone reads 0.80: adds +0.10 "
            "[+0.05, +0.15], more than random weights do",
        ]


class TestIsItBeyondASumOfCharges:
    @pytest.mark.parametrize(
        ("gain", "above_random", "said"),
        [
            ((0.05, 0.02, 0.08), (0.04, 0.01, 0.07),
             "adds +0.05 [+0.02, +0.08], more than random weights do"),
            ((0.05, 0.02, 0.08), (NAN, NAN, NAN), "adds +0.05 [+0.02, +0.08]"),  # none were made
        ],
    )  # fmt: skip
    def test_what_adds_clearly_and_more_than_random_weights(self, gain, above_random, said):
        made = study(conditional=[added(2, gain, above_random)])
        assert of_charges(made) == (
            f"beyond a one-cutoff sum (formal charges), which alone reads 0.80: {said}"
        )

    @pytest.mark.parametrize(
        ("gain", "above_random", "said"),
        [
            ((0.05, -0.01, 0.11), (0.04, 0.01, 0.07), "adds +0.05 [−0.01, +0.11], not clear"),
            ((0.004, 0.002, 0.006), (0.04, 0.01, 0.07), "adds +0.00 [+0.00, +0.01], not clear"),
            ((-0.1, -0.2, -0.05), (NAN, NAN, NAN), "adds −0.10 [−0.20, −0.05], not clear"),
            ((0.1, NAN, NAN), (0.1, NAN, NAN), "adds +0.10 [–, –], not clear"),
            ((0.05, 0.02, 0.08), (0.0, -0.01, 0.01),
             "adds +0.05 [+0.02, +0.08], not clearly more than random weights do"),
            ((0.05, 0.02, 0.08), (0.004, 0.002, 0.006),
             "adds +0.05 [+0.02, +0.08], not clearly more than random weights do"),
        ],
    )  # fmt: skip
    def test_what_does_not(self, gain, above_random, said):
        made = study(conditional=[added(2, gain, above_random)])
        assert of_charges(made) == (
            f"not beyond a one-cutoff sum (formal charges), which alone reads 0.80: {said}"
        )

    def test_no_claim_where_the_difference_from_random_weights_covers_zero(self):
        made = study(conditional=[added(2, (0.05, 0.02, 0.08), (0.04, -0.01, 0.09))])
        assert of_charges(made).startswith("not beyond a one-cutoff sum (formal charges),")

    def test_the_charges_are_those_of_the_target(self):
        rows = [row | {"block": "eeq charges"} if row["features"] == ELECTROSTATICS else row
                for row in PROFILE]  # fmt: skip
        assert of_charges(study(rows)).startswith("beyond a one-cutoff sum (eeq charges),")

    def test_what_random_weights_and_other_layers_add_is_not_taken_for_the_layers(self):
        others = [
            added(2, (0.5, 0.4, 0.6), features="random weights"),
            added(1, (0.6, 0.5, 0.7), (0.6, 0.5, 0.7)),
            added(2, (0.7, 0.6, 0.8), (0.7, 0.6, 0.8), target="x"),
        ]
        made = study(conditional=[*others, *ADDS])
        assert of_charges(made) == of_charges(study())

    def test_nothing_is_said_where_the_layer_was_not_set_beside_them(self):
        made = study(conditional=[added(1, (0.05, 0.02, 0.08))])
        assert not any("one-cutoff sum" in part for part in parts(made))


class TestIsItBeyondTheCutoff:
    """Of a study that has probed ``potential:beyond`` too, of the charges of ``at``."""

    def far(self, value=(0.3, 0.2, 0.4), weights=(0.2, 0.1, 0.3), adds=None, at=""):
        target = {"target": BEYOND + at}
        near = [row | {"target": f"potential{at}"} for row in PROFILE]
        rows = [*near, scored(1, *value, **target), scored(2, *value, **target),
                *chosen(*value, **target)]  # fmt: skip
        gaps = [row | {"target": f"potential{at}"} for row in CLEAR]
        gaps += [gap(2, "random weights", *weights, **target), gap(2, "SOAP", -1, -2, 0, **target)]
        gain = [added(2, adds, (NAN, NAN, NAN), **target)] if adds else []
        return study(rows, gaps, [row | {"target": f"potential{at}"} for row in ADDS] + gain)

    @pytest.mark.parametrize("at", ["", "@eeq"])
    def test_not_asked(self, at):
        rows = [row | {"target": f"potential{at}"} for row in PROFILE]
        said = of_beyond(study(rows), f"potential{at}")
        assert said == f"not asked (target {BEYOND}{at})"

    def test_of_other_charges_is_not_asked(self):
        rows = [*PROFILE, *chosen(0.3, 0.2, 0.4, target=f"{BEYOND}@eeq")]
        assert of_beyond(study(rows)) == f"not asked (target {BEYOND})"

    @pytest.mark.parametrize("at", ["", "@eeq"])
    def test_read_and_more_than_by_random_weights(self, at):
        assert of_beyond(self.far(at=at), f"potential{at}") == (
            f"{BEYOND}{at} is read with 0.30 [0.20, 0.40], more than random weights read"
        )

    def test_what_it_adds_to_the_sum(self):
        assert of_beyond(self.far(adds=(0.04, 0.01, 0.07))) == (
            f"{BEYOND} is read with 0.30 [0.20, 0.40], more than random weights read, "
            "and adds +0.04 [+0.01, +0.07] to the one-cutoff sum"
        )

    @pytest.mark.parametrize("weights", [(-0.1, -0.2, -0.05), (0.003, 0.001, 0.006)])
    def test_read_as_well_by_random_weights(self, weights):
        assert of_beyond(self.far(weights=weights)) == (
            f"{BEYOND} is read with 0.30 [0.20, 0.40], not clearly more than random weights read"
        )

    def test_no_claim_where_the_difference_from_random_weights_covers_zero(self):
        said = of_beyond(self.far(weights=(0.1, -0.1, 0.3)))
        assert said.startswith(f"{BEYOND} is read with 0.30 [0.20, 0.40], ")
        assert ", more than random weights read" not in said

    @pytest.mark.parametrize(
        ("value", "shown"),
        [
            ((0.1, -0.1, 0.3), "0.10 [−0.10, 0.30]"),
            ((0.004, 0.001, 0.008), "0.00 [0.00, 0.01]"),
            ((0.3, NAN, NAN), "0.30"),
        ],
    )
    def test_not_read(self, value, shown):
        assert of_beyond(self.far(value)) == f"{BEYOND} is not read ({shown})"

    @pytest.mark.parametrize("target", [BEYOND, "potential:shell-2", "potential:dft", "charge:eeq"])
    def test_only_of_potentials(self, target):
        rows, gaps, adds = (
            [row | {"target": target} for row in table] for table in (PROFILE, CLEAR, ADDS)
        )
        said = parts(study(rows, gaps, adds), target)
        assert said[0].startswith("read by layer 2")
        assert not any(part.startswith("beyond the cutoff") for part in said)


class TestNearDuplicates:
    KEPT = (
        "7 structures are copies or neighbouring frames of earlier ones; such structures are kept "
        "on one side of every split"
    )
    APART = (
        "7 structures are copies or neighbouring frames of earlier ones; such structures may fall "
        "on both sides of a split, as asked: scores can be too high"
    )

    @pytest.mark.parametrize(
        ("provenance", "how", "said"),
        [
            ({"near_duplicates": 7}, "together", [KEPT]),
            ({"near_duplicates": 7}, "apart", [APART]),
            ({"near_duplicates": 0}, "apart", []),
            ({}, "together", []),
        ],
    )
    def test_a_line_after_the_others_where_there_are_any(self, provenance, how, said):
        lines = readings(study(provenance=provenance, settings=Settings(near_duplicates=how)))
        assert lines == [reading(study(), "potential", "compound"), *said]
