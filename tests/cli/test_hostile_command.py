"""Every command that takes a checkpoint, a study or another's results, given hostile ones."""

from __future__ import annotations

import io
import os
import pickle
import zipfile

import pytest
import torch
import typer.main

from mpprobe.cli.app import app
from mpprobe.cli.console import stdout

_COMMAND = typer.main.get_command(app)
WORDS = {
    words: command
    for name, group in _COMMAND.commands.items()
    for words, command in (
        [((name, sub), own) for sub, own in group.commands.items()]
        if hasattr(group, "commands")
        else [((name,), group)]
    )
}
TAKES_MODEL = sorted(w for w, c in WORDS.items() if any(p.name == "model" for p in c.params))


class Evil:
    def __init__(self, canary):
        self.canary = str(canary)

    def __reduce__(self):
        return os.mkdir, (self.canary,)


@pytest.fixture
def canary(tmp_path):
    return tmp_path / "canary"


@pytest.fixture(params=["sevennet", "mace"])
def gift(request, tmp_path, canary, mace_file):
    mace_file("8x0e")
    from mace.modules import ScaleShiftMACE

    like = {"sevennet": {"config": {}, "model_state_dict": {}, "cutoff": 5.0}, "mace":
            ScaleShiftMACE}  # fmt: skip
    path = tmp_path / "gift.pth"
    torch.save([like[request.param], Evil(canary)], path)
    return path


def test_these_take_a_checkpoint():
    assert len(TAKES_MODEL) >= 10
    assert {("probe",), ("extract",), ("explain",), ("patch",)} <= set(TAKES_MODEL)


@pytest.mark.parametrize("words", TAKES_MODEL, ids=" ".join)
def test_no_command_runs_what_is_in_a_checkpoint(
    words, gift, canary, structures, mpprobe_run, tmp_path
):
    flags = {f for p in WORDS[words].params for f in p.opts}
    given = {"--layer": 1, "--source": f"{structures}@0", "--into": f"{structures}@1", "--atom": 0,
             "--structure": f"{structures}@0", "--output": tmp_path / "out",
             "--number": "energy"}  # fmt: skip
    if words not in {("ood",), ("nonlocal",)}:  # whose own structures have what they compare
        given["--structures"] = structures
    line = [*words, "-m", gift]
    for flag, value in given.items():
        line += [flag, value] if flag in flags else []
    result = mpprobe_run(*line)
    assert result.code == 2
    assert "loading this checkpoint can run any code it holds" in result.err
    assert not canary.exists()


def test_nor_does_a_study(gift, canary, structures, mpprobe_run, tmp_path):
    (tmp_path / "study.yaml").write_text(
        f"output: {tmp_path / 'out'}\nsteps:\n"
        f"  - probe: {{model: {gift}, structures: {structures}, layer: 1}}\n"
    )
    result = mpprobe_run("run", tmp_path / "study.yaml")
    assert result.code == 2
    assert "loading this checkpoint can run any code" in result.err
    assert not canary.exists()


YAML = {
    "a Python object": "steps: !!python/object/apply:os.mkdir ['{canary}']",
    "a Python module": "steps: !!python/module:os",
    "aliases of aliases": "a: &a [x,x]\n" + "\n".join(
        f"{chr(98 + k)}: &{chr(98 + k)} [*{chr(97 + k)},*{chr(97 + k)}]" for k in range(24))
    + "\nsteps: *y",
    "nested without end": "steps: " + "[" * 2000,
    "a step that leaves the folder": "steps:\n  - {{name: ../../evil, probe: {{}}}}",
    "a step of an absolute name": "steps:\n  - {{name: /etc/evil, probe: {{}}}}",
    "a step with an output of its own": "steps:\n  - {{probe: {{output: ../../evil}}}}",
    "binary": "\x00\x01",
}  # fmt: skip


@pytest.mark.parametrize("how", YAML)
@pytest.mark.parametrize("command", ["run", "probe"])
def test_a_study_or_configuration_that_means_harm(how, command, canary, mpprobe_run, tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text(YAML[how].format(canary=canary) if "{" in YAML[how] else YAML[how])
    line = ("run", file) if command == "run" else ("probe", "--config", file)
    result = mpprobe_run(*line)
    assert result.code == 2
    assert result.err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["study.yaml"]


RESULTS = {
    "nested without end": "[" * 100_000,
    "readings that are no list": '{"command":"probe","readings":7,"provenance":{}}',
    "a provenance that is a text": '{"command":"probe","readings":[],"provenance":"x"}',
    "models that are none": '{"command":"x","readings":[],"provenance":{"model":{}}}',
    "binary": "\x00",
    "a number of endless digits": '{"command":' + "1" * 9999 + "}",
}


@pytest.mark.parametrize("how", RESULTS)
def test_results_that_are_none(how, mpprobe_run, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "results.json").write_text(RESULTS[how])
    result = mpprobe_run("report", tmp_path / "run", "-o", tmp_path / "r.html")
    assert result.code == 2, result.err
    assert result.err.count("\n") == 1
    assert not (tmp_path / "r.html").exists()


@pytest.mark.parametrize("name", ["results.json", "x.png", "x.csv", "config.yaml", "s.extxyz"])
def test_a_report_takes_nothing_from_outside_its_runs(name, mpprobe_run, tmp_path):
    """A link in a run's folder would put any file of the user's on a page that is passed on."""
    run, secret = tmp_path / "run", tmp_path / "secret"
    run.mkdir()
    (run / "results.json").write_text('{"command":"probe","readings":[],"provenance":{}}')
    secret.write_text((run / "results.json").read_text())
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(secret)
    result = mpprobe_run("report", run, "-o", tmp_path / "r.html")
    assert result.code == 2
    assert "is a link out of the folder" in result.err


def test_a_trained_models_state_is_read_as_data(canary, tmp_path):
    from mpprobe.errors import ToyError
    from mpprobe.toys.training import _held

    last = tmp_path / "last.pt"
    for content in ({"about": Evil(canary), "history": [], "state": {}}, [1], {"x": 1}):
        torch.save(content, last)
        with pytest.raises(ToyError, match="isn't what a training run leaves"):
            _held(last)
    for content in (b"", b"x", pickle.dumps(Evil(canary))):
        last.write_bytes(content)
        with pytest.raises(ToyError):
            _held(last)
    assert not canary.exists()


ESCAPES = ["\x1b[2J\x1b[31m", "\x1b]0;title\x07", "\x9b31m", "a\rb", "\u202egpj", "\x08\x08"]


@pytest.mark.parametrize("text", ESCAPES)
@pytest.mark.parametrize("terminal", [True, False])
def test_names_do_not_command_the_terminal(text, terminal, mpprobe_run, monkeypatch, capsys):
    from rich.table import Table

    result = mpprobe_run("probe", "-m", f"x{text}.pth")
    assert not set(result.err) & set("\x1b\x9b\x07\r\u202e\x08")
    assert "no such checkpoint file" in result.err
    if terminal:
        monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    console, table = stdout(), Table(title=text)
    table.add_column(text)
    table.add_row(text)
    for shown in (text, table):
        console.print(shown)
    assert not set(capsys.readouterr().out) & set("\x9b\x07\r\u202e\x08")


def test_archives_are_not_unpacked_anywhere(mpprobe_run, tmp_path):
    """A checkpoint whose members' names lead out of any folder."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in ("a/data.pkl", "../../../evil", "/evil", "a/../../evil"):
            archive.writestr(name, b"\x80\x02N.")
    (tmp_path / "gift.pth").write_bytes(out.getvalue())
    result = mpprobe_run("probe", "-m", tmp_path / "gift.pth")
    assert result.code == 2
    assert "holds several folders" in result.err
    assert [path.name for path in tmp_path.iterdir()] == ["gift.pth"]
