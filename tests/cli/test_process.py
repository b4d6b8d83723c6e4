"""The installed command as a process: quick help, exit codes, an interrupt from outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

import mpprobe

#: Runs the command line; then says which heavy packages that has imported.
SHOW_HEAVY = (
    "import sys; from mpprobe.cli import run; code = run(sys.argv[1:]); "
    "heavy = {'torch', 'numpy', 'scipy', 'ase', 'pandas', 'matplotlib', 'sklearn', 'e3nn'}; "
    "print(sorted(heavy & set(sys.modules)), file=sys.stderr); sys.exit(code)"
)


def python(*arguments):
    return subprocess.run(
        [sys.executable, *map(str, arguments)], capture_output=True, text=True, timeout=300
    )


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["probe", "--help"], ["-h"]])
def test_help_and_version_import_nothing_heavy(arguments):
    done = python("-c", SHOW_HEAVY, *arguments)
    assert done.returncode == 0
    assert done.stderr.strip() == "[]"
    assert (
        "mpprobe " + mpprobe.__version__ if "--version" in arguments else "Usage"
    ) in done.stdout


@pytest.mark.parametrize("command", ["models", "targets"])
def test_listings_do_not_import_torch(command):
    done = python("-c", SHOW_HEAVY, command)
    assert done.returncode == 0
    assert "'torch'" not in done.stderr
    assert "'e3nn'" not in done.stderr


def test_help_lists_the_commands_and_the_flags(mpprobe_run):
    assert all(c in mpprobe_run("--help").out for c in ("probe", "models", "targets", "--version"))
    help_text = mpprobe_run("probe", "--help").out
    for flag in ("--model", "--layer", "--target", "--split", "--structures", "--output",
                 "--overwrite", "--config", "--seed", "--limit", "--dry-run", "--json", "--quiet",
                 "--debug", "--progress", "--modal", "--head", "--device", "--dtype", "--max-atoms",
                 "--trust-checkpoint"):  # fmt: skip
        assert flag in help_text


def test_no_command_shows_the_help(mpprobe_run):
    result = mpprobe_run()
    assert result.code == 2
    assert "Usage: mpprobe" in result.out + result.err


def seconds(*arguments):
    """The quickest of three runs."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        assert python(*arguments).returncode == 0
        times.append(time.perf_counter() - start)
    return min(times)


def test_help_answers_within_a_second_of_python_itself():
    # Stated as one second; three times that for machines with other work to do.
    assert seconds("-c", SHOW_HEAVY, "--help") - seconds("-c", "pass") < 3.0


def test_the_process_exits_with_the_code_and_one_line(tmp_path):
    main = "from mpprobe.cli import main; main()"
    done = python("-c", main, "probe", "-m", "nosuch", "-o", tmp_path / "out")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("mpprobe: nosuch: no model of this name")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")
def test_an_interrupt_from_outside_ends_with_130_and_leaves_nothing(basic, tmp_path):
    main = "from mpprobe.cli import main; main()"
    environment = os.environ | {"TMPDIR": str(tmp_path / "tmp")}
    (tmp_path / "tmp").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", main, "probe", *map(str, basic), "--resamples", "3000",
         "-t", "potential", "-t", "charge:eeq", "-o", str(tmp_path / "out")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        # A shell's background jobs, and what they start, ignore the signal.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    for line in process.stderr:
        if line.startswith("probing"):
            process.send_signal(signal.SIGINT)
            break
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert out == ""
    assert err.splitlines()[-1] == "mpprobe: interrupted; nothing was left half-written"
    assert [p.name for p in tmp_path.iterdir()] == ["tmp"]
    assert not list((tmp_path / "tmp").glob("mpprobe-*"))


def test_json_can_be_piped():
    done = python("-c", "from mpprobe.cli import main; main()", "models", "--json")
    assert done.returncode == 0
    assert len(json.loads(done.stdout)) == len(mpprobe.named_models())
