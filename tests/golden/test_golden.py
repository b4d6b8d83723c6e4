"""The bundled study's tables are those kept, and a number that moves is noticed."""

import numpy as np
import pytest

from trust import golden


@pytest.fixture(scope="module")
def old():
    return golden.kept("bundled")


@pytest.mark.parametrize(
    "study", ["small", pytest.param("bundled", marks=pytest.mark.slow)]
)  # fmt: skip
def test_the_tables_are_those_kept(study, tmp_path, record_property):
    old = golden.kept(study)
    record_property("tried", sum(table.size for table in old.values()))
    assert list(golden.moved(old, golden.made(study, tmp_path / "run"))) == []


def test_all_tables_of_all_commands_are_kept(old):
    assert set(old) == {f"{c}/{t}" for c, tables in golden.TABLES.items() for t in tables}


def changed(old, name, column, change):
    new = {key: table.copy() for key, table in old.items()}
    new[name][column] = change(new[name][column])
    return list(golden.moved(old, new))


def test_nothing_has_moved_in_the_same_tables(old):
    assert changed(old, "probe/scores", "r2", lambda v: v) == []


@pytest.mark.parametrize(
    ("name", "column"),
    [("probe/scores", "r2_within"), ("probe/differences", "low"), ("erase/summary", "value"),
     ("response/fits", "strength"), ("ood/by_domain", "force_mae")],
)  # fmt: skip
def test_a_number_may_move_by_its_tolerance_and_no_farther(old, name, column):
    allowed = golden.tolerance(name, column)

    def by(share):
        return lambda v: v + share * np.maximum(allowed.absolute, allowed.relative * v.abs())

    assert changed(old, name, column, by(0.9)) == []
    finite = old[name][column].notna().sum()
    assert len(changed(old, name, column, by(1.1))) == finite > 0


@pytest.mark.parametrize(
    ("column", "change"),
    [("features", lambda v: v + "?"), ("n_atoms", lambda v: v + 1), ("r2", lambda v: v * np.nan)],
)  # fmt: skip
def test_text_counts_and_missing_numbers_are_noticed(old, column, change):
    lines = changed(old, "probe/scores", column, change)
    assert len(lines) == old["probe/scores"][column].notna().sum()
    assert lines[0].startswith(f"probe/scores, row 0, {column}: was ")


def test_missing_tables_rows_and_columns_are_noticed(old):
    without = {k: v for k, v in old.items() if k != "response/fits"}
    assert list(golden.moved(old, without)) == ["response/fits: is gone"]
    assert list(golden.moved(without, old)) == ["response/fits: is new"]
    short = old | {"probe/scores": old["probe/scores"].iloc[:-1]}
    narrow = old | {"probe/scores": old["probe/scores"].drop(columns="mae")}
    for new in (short, narrow):
        (line,) = golden.moved(old, new)
        assert line.startswith("probe/scores: ")


def test_every_tolerance_is_of_some_column_and_says_why(old):
    used = {golden.tolerance(name, column) for name, table in old.items()
            for column in table.select_dtypes("float")}  # fmt: skip
    assert used == set(golden.TOLERANCES)
    assert all(len(t.reason) > 20 for t in golden.TOLERANCES)
