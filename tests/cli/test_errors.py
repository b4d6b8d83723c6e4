"""Every mistake is one line on stderr and the documented exit code, and nothing is left behind."""

from __future__ import annotations

import importlib.util

import ase.io
import pytest
from ase.build import bulk

from mpprobe.report import files


@pytest.fixture
def bad_files(tmp_path_factory):
    """Files that can't be used, by what is wrong with them."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "garbage.extxyz").write_text("this is\nno structure\n")
    (folder / "garbage.model").write_bytes(b"\x80\x02not a model")
    ase.io.write(folder / "potassium.extxyz", [bulk("KCl", "rocksalt", 6.3, cubic=True)] * 4)
    empty = bulk("NaCl", "rocksalt", 5.6)
    empty.positions[1] = empty.positions[0]
    ase.io.write(folder / "overlap.extxyz", [empty] * 4)
    return folder


def one_line(result, code, *parts):
    assert result.code == code, result.err
    assert result.out == ""
    assert result.err.startswith("mpprobe: ")
    assert result.err.count("\n") == 1
    assert "Traceback" not in result.err
    for part in parts:
        assert part in result.err


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (("-m", "sevnn-0"), ("sevnn-0: no model of this name", "did you mean sevenn-0")),
        (("-m", "nosuch"), ("nosuch: no model of this name, and no such file",)),
        (("-m", "no/such.model"), ("no/such.model: no such checkpoint file",)),
        (("-m", "{bad}/garbage.model"), ("garbage.model: not a readable PyTorch checkpoint",)),
        (("-m", "random:nosuch:1"), ("nosuch",)),
        (("-m", "{model}"), ("--trust-checkpoint", "SHA-256")),
        (("-l", "9"), ("layer 9", "layers 0 to 2")),
        (("-l", "last"), ("layer 'last'", "whole number, or all")),
        (("-l", "0", "-t", "field"), ("holds no l = 1 features; layers that do: 1",)),
        (("-s", "{bad}/garbage.extxyz"), ("garbage.extxyz: can't be read as structures",)),
        (("-s", "{bad}/none.extxyz"), ("none.extxyz: no such file",)),
        (("-s", "{bad}/*.cif"), ("*.cif: no file matches",)),
        (("-s", "ionic:surfaces"), ("no part 'surfaces' (did you mean surface?)",)),
        (("-s", "{bad}/potassium.extxyz"), ("potassium.extxyz@0", "does not know K", "3 more")),
        (("-s", "{bad}/overlap.extxyz"), ("overlap.extxyz@0", "Å apart")),
        (("-t", "charge:eqe"), ("no target 'charge:eqe'", "did you mean 'charge:eeq'")),
        (("-t", "array:nothing"), ("nothing",)),
        (("-q", "-t", "charge:dft"), ("mine.extxyz@0", "dft")),
        (("--split", "structures"), ("unknown split 'structures': choose one of structure",)),
        (("--split", "domain", "--in-domain", "molten"), ("no structure is in domain (molten)",)),
        (("--dtype", "float16"), ("dtype 'float16': choose float32 or float64",)),
        (("--device", "tpu"), ("device 'tpu': choose auto, cpu",)),
        (("--head", "first"), ("no head 'first'; choose with --head one of Default",)),
        (("--modal", "PBE"), ("MACE models have no modals",)),
        (("-o", "{bad}/garbage.model"), ("garbage.model: is a file",)),
        (("-o", "{bad}/garbage.model/below"), ("garbage.model/below: can't be written",)),
        (("-o", "{bad}"), ("holds results already; add --overwrite",)),
        (("-o", "{bad}", "--overwrite"), ("no results.json of mpprobe's",)),
    ],
)
def test_a_users_mistake(mpprobe_run, basic, model, bad_files, tmp_path, flags, parts):
    flags = [f.format(bad=bad_files, model=model) for f in flags]
    # The last of a single flag counts, and a structure given replaces those of the basic run.
    base = list(map(str, basic))
    if "-s" in flags:
        base[3:5] = []
    if flags[0] == "-m":
        base.remove("--trust-checkpoint")
    before = {file: file.read_bytes() for file in bad_files.iterdir()}
    output = () if "-o" in flags else ("-o", tmp_path / "out")
    one_line(mpprobe_run("probe", *base, *output, *flags), 2, *parts)
    assert list(tmp_path.iterdir()) == []
    assert {file: file.read_bytes() for file in bad_files.iterdir()} == before


def without(package, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == package else find(name, *a)
    )


@pytest.mark.parametrize(
    ("package", "flags", "line"),
    [
        ("sevenn", ("-m", "sevenn-0"), 'pip install "mpprobe[sevenn]"'),
        ("mace", (), 'pip install "mpprobe[mace]" && pip install --no-deps "mace-torch=='),
        ("featomic", (), 'pip install "mpprobe[soap]"'),
    ],
)
def test_a_missing_package_is_named_with_the_line_that_installs_it(
    mpprobe_run, basic, tmp_path, monkeypatch, package, flags, line
):
    without(package, monkeypatch)
    result = mpprobe_run("probe", *basic, "-q", "-o", tmp_path / "out", *flags)
    one_line(result, 3, f"{package} is needed for", line)
    assert list(tmp_path.iterdir()) == []


def test_models_are_listed_without_their_packages(mpprobe_run, monkeypatch):
    for package in ("sevenn", "mace"):
        without(package, monkeypatch)
        assert mpprobe_run("models").code == 0


@pytest.mark.parametrize("where", ["computing", "writing"])
def test_an_interrupt_leaves_nothing_half_written(mpprobe_run, basic, tmp_path, monkeypatch, where):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    if where == "writing":
        monkeypatch.setattr(files, "write_extxyz", interrupt)
    else:
        monkeypatch.setattr("mpprobe.probes.fits.accumulate", interrupt)
    code, _, err = mpprobe_run("probe", *basic, "-l", 1, "-q", "-o", tmp_path / "out")
    assert code == 130
    assert err.strip() == "mpprobe: interrupted; nothing was left half-written"
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def broken(monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("first line\nsecond line")

    monkeypatch.setattr("mpprobe.probes.fits.accumulate", fail)


@pytest.mark.usefixtures("broken")
def test_what_nobody_expected_is_one_line_too(mpprobe_run, basic, tmp_path):
    result = mpprobe_run("probe", *basic, "-q", "-o", tmp_path / "out")
    one_line(result, 1, "unexpected: RuntimeError: first line second line", "--debug")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("broken")
def test_debug_shows_where_and_keeps_the_exit_code(mpprobe_run, basic, tmp_path):
    result = mpprobe_run("probe", *basic, "-q", "--debug", "-o", tmp_path / "out")
    assert result.code == 1
    assert "Traceback (most recent call last)" in result.err
    assert "in _fit" in result.err
    assert result.err.splitlines()[-1].startswith("mpprobe: unexpected: RuntimeError")
    wrong = mpprobe_run("probe", *basic, "--debug", "-t", "nosuch", "-o", tmp_path / "out")
    assert wrong.code == 2
    assert "Traceback" in wrong.err
    assert wrong.err.splitlines()[-1].startswith("mpprobe: no target 'nosuch'")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("probe", "-m", "sevenn-0", "--layers", "3"), "--layer"),
        (("probe",), "--model"),
        (("probe", "-m", "sevenn-0", "--seed", "x"), "--seed"),
        (("probe", "-m", "sevenn-0", "--folds", "1"), "--folds"),
        (("probe", "-m", "sevenn-0", "--limit", "0"), "--limit"),
        (("prob",), "prob"),
        (("models", "extra"), "extra"),
    ],
)
def test_a_usage_error_names_the_option(mpprobe_run, arguments, part):
    code, out, err = mpprobe_run(*arguments)
    assert (code, out) == (2, "")
    assert part in err
    assert "Traceback" not in err
