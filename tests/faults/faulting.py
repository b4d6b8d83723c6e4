"""A process that runs commands in children of its own, with a fault in each, for tests.

Run as a script. Importing torch takes seconds, so it is done once and each command is a fork.
Requests on stdin, one a line of JSON, each answered by a line: ``{"start": {...}}`` with the
child's process id, ``{"wait": ID}`` with its exit status. A request to start holds

- ``arguments``: of the command line;
- ``log``: the file that its stdout and stderr go to;
- ``folder``: its current one, whose files are watched. Every file in it that is opened for
  writing, renamed, removed or flushed to the disk, and every folder made, is a step. Temporary
  files go to a folder beside, whose name ends in .tmp;
- ``fault``: what happens before the step ``at`` (and, with ``"again": true``, before every later
  one): a signal's name, ``ENOSPC`` or another error's, ``MemoryError``, or ``torn``, a kill that
  leaves off the last bytes of what is being flushed. None counts the steps, to ``log`` with the
  ending .steps;
- ``before``: names of functions of this module with their arguments, called in the child first.
"""

from __future__ import annotations

import errno
import importlib
import json
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from typing import Any

#: Audit events that change a folder, and of their arguments the paths and what those are
#: relative to: open folders, if any.
CHANGES = {
    "open": ((0, None),), "os.rename": ((0, 2), (1, 3)), "os.remove": ((0, 1),),
    "os.mkdir": ((0, 2),), "os.rmdir": ((0, 1),),
}  # fmt: skip
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Steps:
    """Counts the steps of a folder's files, and lets a fault happen before one."""

    def __init__(self, under: str, fault: str | None, at: int, again: bool, log: str) -> None:
        self.under = os.path.realpath(under) + os.sep
        self.fault, self.at, self.again = fault, at, again
        self.log = log
        self.count = 0
        self.busy = False

    def watch(self) -> None:
        """From now on; for the rest of this process."""
        flush = os.fsync

        def fsync(descriptor: int) -> None:
            self.step("flush", f"/proc/self/fd/{descriptor}", descriptor)
            flush(descriptor)

        os.fsync = fsync
        sys.addaudithook(self._audit)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in CHANGES or (event == "open" and not _for_writing(*arguments[1:3])):
            return
        for place, within in CHANGES[event]:
            if isinstance(arguments[place], (str, bytes, os.PathLike)):
                there = within is not None and arguments[within] >= 0
                folder = f"/proc/self/fd/{arguments[within]}" if there else ""
                self.step(event, os.path.join(folder, os.fsdecode(arguments[place])))
                return

    def step(self, event: str, path: str, descriptor: int | None = None) -> None:
        """One step, unless it is elsewhere or of the fault's own making."""
        if self.busy or not os.path.realpath(path).startswith(self.under):
            return
        self.busy = True
        self.count += 1
        if self.fault is None:
            with open(self.log + ".steps", "a") as file:
                file.write(f"{event} {os.path.relpath(os.path.realpath(path), self.under)}\n")
        self.busy = False
        if self.count == self.at or (self.again and self.count > self.at > 0):
            happen(self.fault, descriptor)


def _for_writing(mode: str | None, flags: int) -> bool:
    return bool(flags & WRITING) if mode is None else not set(mode).isdisjoint("wax+")


def happen(fault: str, descriptor: int | None) -> None:
    """Let a fault happen to this process."""
    if fault == "torn":
        if descriptor is not None:
            os.ftruncate(descriptor, max(os.fstat(descriptor).st_size - 7, 0))
        os.kill(os.getpid(), signal.SIGKILL)
    elif fault == "MemoryError":
        raise MemoryError
    elif fault.startswith("SIG"):
        os.kill(os.getpid(), signal.Signals[fault])
    else:
        number = getattr(errno, fault)
        raise OSError(number, os.strerror(number))


def limit_files(n_bytes: int) -> None:
    """Let no file grow larger, as a quota does."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, n_bytes))


def limit_memory(function: str, spare: int) -> None:
    """From the first call of a function on, let this process have so many bytes more."""

    def limit() -> None:
        with open("/proc/self/statm") as file:
            most = int(file.read().split()[0]) * resource.getpagesize() + spare
        resource.setrlimit(resource.RLIMIT_AS, (most, most))

    at_first_call(function, limit)


def spoil(function: str, how: str, path: str) -> None:
    """Before the first call of a function, delete a file, cut it in half or overwrite its end."""

    def harm() -> None:
        size = os.path.getsize(path)
        if how == "delete":
            os.remove(path)
        elif how == "cut":
            os.truncate(path, size // 2)
        else:
            with open(path, "r+b") as file:
                file.seek(-64, os.SEEK_END)
                file.write(bytes(64))

    at_first_call(function, harm)


def at_page() -> None:
    """Stand still when a page's runs have been read, until somebody lets this process go on."""
    at_first_call("mpprobe.report.page.build.page", lambda: os.kill(os.getpid(), signal.SIGSTOP))


def at_first_call(function: str, do: Callable[[], None]) -> None:
    """Do something when a function, given by its dotted name, is first called."""
    owner, name = resolve(function.rpartition(".")[0]), function.rpartition(".")[2]
    call, done = getattr(owner, name), []

    def wrapped(*arguments: Any, **options: Any) -> Any:
        if not done:
            done.append(True)
            do()
        return call(*arguments, **options)

    setattr(owner, name, wrapped)


def resolve(name: str) -> Any:
    """A module or a class by its dotted name."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        owner, _, last = name.rpartition(".")
        return getattr(resolve(owner), last)


def clock(jump: float) -> None:
    """Let the clock jump by so many seconds when it has been read twice."""
    seconds, nanoseconds, reads = time.time, time.time_ns, []

    def jumped() -> float:
        reads.append(True)
        return jump if len(reads) > 2 else 0.0

    time.time = lambda: seconds() + jumped()
    time.time_ns = lambda: nanoseconds() + int(1e9 * jumped())


def temporary_files(folder: str) -> None:
    """Have temporary files elsewhere."""
    os.environ["TMPDIR"] = folder


def cache_at(folder: str) -> None:
    """Have compiled kernels elsewhere, and none of them in memory."""
    from mpprobe.models.fused import kernels

    os.environ["MPPROBE_CACHE_DIR"] = folder
    kernels.kernels.cache_clear()


def close_reader() -> None:
    """Let stdout be a pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    os.dup2(writer, 1)


def full_stdout() -> None:
    """Let stdout be a file on a full disk."""
    os.dup2(os.open("/dev/full", os.O_WRONLY), 1)


def run(arguments: list[str], log: str, folder: str, fault: str | None = None, at: int = 0,
        again: bool = False, before: dict[str, list] | None = None) -> int:  # fmt: skip
    """The exit code of a command in this process, into which the fault comes."""
    from mpprobe import cli

    os.chdir(folder)
    os.environ["TMPDIR"] = folder + ".tmp"
    os.makedirs(os.environ["TMPDIR"], exist_ok=True)
    tempfile.tempdir = None  # what has been found before
    for name, values in (before or {}).items():
        globals()[name](*values)
    Steps(folder, fault, at, again, log).watch()
    try:
        cli.main(arguments)
    except SystemExit as ended:
        return ended.code
    raise AssertionError("main exits")


def start(request: dict[str, Any]) -> int:
    """Fork a child that runs a command and ends; its process id."""
    child = os.fork()
    if child:
        return child
    status = 99
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which nohup has it ignore
        log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for stream in (1, 2):
            os.dup2(log, stream)
        os.close(0)
        status = run(**request)
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def warm(structures: str) -> None:
    """Import and load what commands use; nothing that starts threads, which a fork would lose."""
    import matplotlib.pyplot  # noqa: F401 - takes a second
    import torch

    import mpprobe
    import mpprobe.attribution
    import mpprobe.explain
    import mpprobe.interventions
    import mpprobe.report.files
    import mpprobe.response
    import mpprobe.toys
    from mpprobe.activations.evaluate import evaluate
    from mpprobe.models import registry
    from mpprobe.models.sevennet import SevenNet

    torch.set_num_threads(1)
    remember(registry, "_load_trained")
    remember(SevenNet, "randomised")
    frames = mpprobe.read(structures)
    for dtype in (None, "float64"):
        potential = mpprobe.load("sevenn-0", device="cpu", dtype=dtype)
        for model in (potential, potential.randomised(0)):
            next(mpprobe.stream(model, frames[:1]))
            next(evaluate(model, frames[:1]))


def remember(owner: Any, name: str) -> None:
    """Give out again what a function has made for the same arguments; building it takes seconds."""
    make, made = getattr(owner, name), {}

    def remembered(*arguments: Any, **options: Any) -> Any:
        plain = [a if isinstance(a, (str, int)) else id(a) for a in arguments]
        key = repr((plain, sorted(options.items())))
        if key not in made:
            made[key] = make(*arguments, **options)
        return made[key]

    setattr(owner, name, remembered)


def main() -> None:
    warm(sys.argv[1])
    print("ready", flush=True)
    for line in sys.stdin:
        ((word, value),) = json.loads(line).items()
        if word == "start":
            print(start(value), flush=True)
        else:
            _, status = os.waitpid(value, 0)
            print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
