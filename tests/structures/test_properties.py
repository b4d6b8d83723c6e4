"""What must hold of any structure and of any file, tried on made-up ones (hypothesis)."""

from __future__ import annotations

import functools
import itertools
import json
import warnings
from collections import Counter

import numpy as np
import pytest
from ase import Atoms
from ase.build import make_supercell
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mpprobe.errors import StructureError
from mpprobe.structures import Frame, find_problems, read, usable, write_extxyz
from mpprobe.structures.check import OVERLAP, closest_pair

# The same examples in every run, as many as take about a second.
FEW = settings(
    max_examples=60, derandomize=True, deadline=None, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
MANY = settings(FEW, max_examples=250)

finite = st.floats(-50, 50).map(lambda x: round(x, 6))
anything = st.floats(width=64)
periodicity = st.tuples(st.booleans(), st.booleans(), st.booleans())
words = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12
)


@st.composite
def cells(draw):
    """Cells from cubes to flat and skewed ones, of a few Å."""
    lengths = draw(arrays(float, 3, elements=st.floats(1.0, 8.0)))
    skew = draw(arrays(float, (3, 3), elements=st.floats(-1.5, 1.5)))
    cell = np.diag(lengths) + np.tril(skew, -1) * lengths
    return cell[list(draw(st.permutations(range(3))))]


@st.composite
def small(draw, most=4):
    """A few atoms in such a cell, some of them outside it."""
    n = draw(st.integers(1, most))
    cell, pbc = draw(cells()), draw(periodicity)
    places = draw(arrays(float, (n, 3), elements=st.floats(-1.5, 1.5).map(lambda x: round(x, 4))))
    numbers = draw(st.lists(st.integers(1, 103), min_size=n, max_size=n))
    return Atoms(numbers, positions=places @ cell, cell=cell, pbc=pbc)


@st.composite
def bad(draw):
    """Any numbers at all as positions and cell, also none, NaN and infinite ones."""
    n = draw(st.integers(0, 4))
    numbers = draw(st.lists(st.integers(0, 118), min_size=n, max_size=n))
    positions = draw(arrays(float, (n, 3), elements=anything))
    cell = draw(st.one_of(cells(), arrays(float, (3, 3), elements=anything)))
    return {"numbers": numbers, "positions": positions, "cell": cell, "pbc": draw(periodicity)}


TRIED: Counter[str] = Counter()


def counted(test):
    """Count the examples that a test is tried on."""

    @functools.wraps(test)
    def wrapped(*args, **values):
        TRIED[test.__name__] += 1
        return test(*args, **values)

    return wrapped


@pytest.fixture(autouse=True)
def _said(request, record_property):
    yield
    record_property("tried", TRIED[request.function.__name__])


# Writing and reading


@FEW
@given(
    atoms=small(most=6),
    info=st.dictionaries(
        st.sampled_from(["compound", "domain", "group", "note", "number", "flag", "vector"]),
        st.one_of(
            words,
            st.integers(-9, 9),
            st.booleans(),
            st.lists(finite, min_size=2),
            arrays(float, st.sampled_from([2, 9, (3, 3)]), elements=finite),
        ),
    ),
    data=st.data(),
)
@counted
def test_what_is_written_is_read_back(tmp_path, atoms, info, data):
    column = data.draw(arrays(float, (len(atoms), 3), elements=finite))
    atoms.set_array("mine", column)
    atoms.info.update(info)
    frame = Frame.from_atoms(atoms, "made@0")
    path = tmp_path / "out.extxyz"
    write_extxyz(path, [frame, frame])
    for back in read(path):
        np.testing.assert_allclose(back.atoms.positions, atoms.positions, atol=1e-7)
        np.testing.assert_allclose(back.atoms.cell.array, atoms.cell.array, atol=1e-7)
        np.testing.assert_array_equal(back.atoms.pbc, atoms.pbc)
        np.testing.assert_array_equal(back.numbers, atoms.numbers)
        np.testing.assert_allclose(back.atoms.arrays["mine"], column, atol=1e-7)
        for key in set(info) & {"number", "flag"}:
            if not isinstance(info[key], str):
                np.testing.assert_allclose(np.asarray(back.atoms.info[key], float),
                                           np.asarray(info[key], float))  # fmt: skip


@MANY
@given(text=words)
@example(text='a"b').via("a quote")
@example(text="a\\b").via("a backslash")
@example(text="{1 2}").via("a delimiter")
@example(text="=cmd|x").via("a formula")
@example(text="0").via("false")
@example(text="1 2").via("an array")
@example(text="T").via("a truth")
@example(text="_JSON [1]").via("data")
@example(text="nan").via("no number")
@example(text="1e5").via("a number")
@counted
def test_labels_survive_whatever_their_characters(tmp_path, text):
    assume(text == " ".join(text.split()))
    atoms = Atoms("Na", info={"compound": text, "domain": text, "group": text})
    frame = Frame.from_atoms(atoms, "made@0")
    assert (frame.compound, frame.domain, frame.group) == (text,) * 3
    write_extxyz(tmp_path / "out.extxyz", [frame])
    (back,) = read(tmp_path / "out.extxyz")
    if _is_more_than_text(text):
        assert back.compound == back.domain == back.group
        return
    assert (back.compound, back.domain, back.group) == (text,) * 3


def _is_more_than_text(text):
    """Whether extended XYZ takes it for numbers, truths or data; quotes don't change that."""
    parts = [p for p in text.replace(",", " ").split() if p not in ("T", "F")]
    if text.startswith("_JSON") or all(p.lower() in ("true", "false") for p in parts):
        return True
    try:
        return bool(np.array(parts, float).size)
    except ValueError:
        return False


@FEW
@given(
    n=st.integers(1, 7),
    start=st.one_of(st.none(), st.integers(-9, 9)),
    stop=st.one_of(st.none(), st.integers(-9, 9)),
    step=st.one_of(st.none(), st.integers(-3, 3).filter(bool)),
    one=st.integers(-9, 9),
)
@counted
def test_slices_are_pythons(tmp_path, n, start, stop, step, one):
    path = tmp_path / "run.xyz"
    write_extxyz(path, [Frame.from_atoms(Atoms("H"), f"made@{i}") for i in range(n)])
    parts = [start, stop] if step is None else [start, stop, step]
    text = ":".join("" if p is None else str(p) for p in parts)
    for spec, wanted in ((text, list(range(n))[slice(*parts)]), (str(one), _item(n, one))):
        if wanted:
            found = [f.source for f in read(f"{path}@{spec}")]
            assert found == [f"{path}@{i}" for i in wanted]
            assert [f.atoms.info["mpprobe_source"] for f in read(f"{path}@{spec}")] == [
                f"made@{i}" for i in wanted
            ]
        else:
            with pytest.raises(StructureError, match=r"no structures in that slice|no such frame"):
                read(f"{path}@{spec}")


def _item(n, one):
    return [range(n)[one]] if -n <= one < n else []


# Checking


def two(x, **cell):
    return {"numbers": [1, 1], "positions": [[0, 0, 0], [x, 0, 0]], **cell}


CUBE, SKEW = {"cell": [9, 9, 9], "pbc": True}, [[4, 0, 0], [4e6, 4, 0], [0, 0, 4]]
PARALLEL = {"cell": [[4, 0, 0], [8, 0, 0], [0, 0, 4]], "pbc": [True, False, True]}


@MANY
@given(parts=bad())
@example(parts=two(1e308)).via("overflow")
@example(parts=two(1e300, **CUBE)).via("overflow in a cell")
@example(parts=two(1.0, **PARALLEL)).via("a vector that isn't used, along one that is")
@example(parts=two(2.0, cell=[1e308] * 3, pbc=True)).via("huge")
@example(parts=two(2.0, cell=[1e-308] * 3, pbc=True)).via("tiny")
@example(parts=two(2.0, cell=[1e5, 0.4, 0.4], pbc=True)).via("needle")
@example(parts=two(2.0, cell=SKEW, pbc=True)).via("skew")
@counted
def test_finding_problems_never_raises(parts):
    atoms = Atoms(**parts)
    options = {"species": range(1, 90), "cutoff": 5.0, "needs_ewald": True}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        problems = find_problems(atoms, **options)
        assert all(len(str(p).splitlines()) == 1 for p in problems)
        kept, failures = usable(atoms, species=options["species"], cutoff=5.0)
    assert len(kept) + len(failures) == 1


@MANY
@given(atoms=small(), radius=st.floats(0.2, 4.0))
@counted
def test_the_closest_pair_is_that_of_brute_force(atoms, radius):
    assume(not find_problems(atoms) or "apart" in find_problems(atoms)[0].message)
    expected = brute_force(atoms)
    assume(abs(expected - radius) > 1e-9)
    found = closest_pair(atoms, radius)
    if expected > radius:
        assert found is None
        return
    i, j, distance = found
    assert distance == pytest.approx(expected, abs=1e-9)
    assert brute_force(atoms, i, j) == pytest.approx(expected, abs=1e-9)


def brute_force(atoms, *pair):
    """Shortest distance (Å) over so many images that a shorter one can't be beyond them."""
    heights = 1 / np.linalg.norm(np.linalg.inv(atoms.cell.array), axis=0)
    spread = np.abs(atoms.get_scaled_positions(wrap=False)).max(axis=0)
    reach = np.where(atoms.pbc, np.ceil(4.0 / heights + 2 * spread) + 1, 0).astype(int)
    assume(np.prod(2 * reach + 1) < 30_000)
    shifts = np.array(list(itertools.product(*(range(-n, n + 1) for n in reach))))
    best = np.inf
    pairs = [pair] if pair else itertools.product(range(len(atoms)), repeat=2)
    for i, j in pairs:
        vectors = atoms.positions[j] - atoms.positions[i] + shifts @ atoms.cell.array
        lengths = np.linalg.norm(vectors, axis=1)
        best = min(best, lengths[shifts.any(axis=1)].min(initial=np.inf) if i == j
                   else lengths.min())  # fmt: skip
    return best


@FEW
@given(atoms=small(), data=st.data())
@counted
def test_the_check_doesnt_mind_how_a_structure_is_given(atoms, data):
    """Turned, shifted, in another order, with other cell vectors, or as a supercell."""
    closest = closest_pair(atoms, 8.0)
    assume(closest is None or min(abs(closest[2] - r) for r in (OVERLAP, 5.0)) > 1e-6)
    assume(not find_problems(atoms) or "apart" in find_problems(atoms)[0].message)
    plain = kinds(atoms)
    turned = atoms.copy()
    turned.rotate(data.draw(st.floats(1, 179)), (1, 2, 3), rotate_cell=True)
    assert kinds(turned) == plain
    moved = atoms.copy()
    moved.positions += data.draw(arrays(float, 3, elements=st.floats(-30, 30)))
    assert kinds(moved) == plain
    assert kinds(atoms[data.draw(st.permutations(range(len(atoms))))]) == plain
    if atoms.pbc.all():
        repeats = data.draw(st.tuples(*[st.integers(1, 2)] * 3))
        assert kinds(atoms.repeat(repeats)) == plain
        sheared = make_supercell(atoms, [[1, 1, 0], [0, 1, 0], [0, 0, 1]], wrap=False)
        assert kinds(sheared) == plain


def kinds(atoms):
    """What is wrong, less the names of atoms and digits."""
    return sorted(
        "".join(c for c in p.message.partition(" are ")[2] or p.message if c.isalpha())
        for p in find_problems(atoms, species=range(1, 90), cutoff=5.0)
    )


# Files of any content

NAMES = ("in.xyz", "in.extxyz", "in.cif", "POSCAR", "in.vasp")
lines = st.lists(
    st.one_of(
        st.text(max_size=20),
        st.integers(-2, 10**10).map(str),
        st.lists(st.one_of(anything, st.sampled_from(["Na", "T", "1", "x,y,z"])), max_size=7).map(
            lambda values: " ".join(map(str, values))
        ),
        st.sampled_from([
            "2", "loop_", "data_x", "_atom_site_label", "_cell_length_a 4", "Direct", "Cl 1 1 1",
            'Lattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3', "Na 0 0 0", "1.0", "1 1",
        ]),
    ),
    max_size=14,
).map("\n".join)  # fmt: skip


@settings(MANY, max_examples=400)
@given(
    name=st.sampled_from(NAMES),
    content=st.one_of(
        st.binary(max_size=200), lines.map(lambda text: text.encode("utf-8", "replace"))
    ),
)
@example(name="in.xyz", content=b"999999999\n\nNa 0 0 0\n").via("a number that isn't true")
@example(name="in.xyz", content=b"1" + b"0" * 30 + b"\n\nNa 0 0 0\n").via("a huge number")
@example(name="in.xyz", content=b"-2\n\nNa 0 0 0\n").via("a negative number")
@example(name="in.xyz", content=b"1\nProperties=species:S:1:pos:R:999999999\nNa 0 0 0\n")
@example(name="in.xyz", content=b'1\na="_JSON ' + b"[" * 99999 + b'"\nNa 0 0 0\n').via("nesting")
@example(name="in.xyz", content=b'1\ncompound="1 2 3" group=0\nNa 0 0 0\n').via("labels")
@example(name="POSCAR", content=b"x\n1\n4 0 0\n0 4 0\n0 0 4\nNa\n999999999\nDirect\n0 0 0\n")
@example(name="POSCAR", content=b"x\n1\n4 0 0\n0 4 0\n0 0 4\nNa Cl\n2 -1\nDirect\n0 0 0\n")
@example(name="in.cif", content=b"data_x\n_cell_length_a 1e400\nloop_\n_atom_site_label\nNa\n")
@counted
def test_any_file_gives_frames_or_one_line_that_names_it(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            found = [str(p) for p in find_problems(read(path), species=["Na"], cutoff=5.0)]
        except StructureError as error:
            found = [str(error)]
    for line in [*found, *(str(w.message) for w in said)]:
        assert line.startswith((f"{path}: ", f"{path}@"))
        assert len(line.splitlines()) == 1


@FEW
@given(n=st.integers(2, 5), data=st.data())
@counted
def test_a_bad_frame_is_named_and_the_others_can_be_had(tmp_path, n, data):
    path = tmp_path / "run.xyz"
    bad = data.draw(st.integers(0, n - 1))
    texts = [f"1\nnumber={i}\n{'Na zero 0 0' if i == bad else 'Na 0 0 0'}\n" for i in range(n)]
    path.write_text("".join(texts))
    with pytest.raises(StructureError, match=rf"run\.xyz@{bad}: can't be read"):
        read(path)
    failures = []
    frames = read(path, failures=failures)
    assert [f.atoms.info["number"] for f in frames] == [i for i in range(n) if i != bad]
    assert [(f.source, f.stage) for f in failures] == [(f"{path}@{bad}", "read")]
    assert json.loads(json.dumps(failures[0].__dict__)) == failures[0].__dict__
