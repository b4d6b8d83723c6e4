"""A process that extracts into stores in children of its own, for a test to kill.

Run as a script. Loading torch and a potential takes seconds, so it is done once and each child is
a fork. Commands on stdin, one a line: ``start FOLDER STEP N SEEDS`` prints the child's process id;
``wait ID`` prints its exit status. SEEDS is the number of random-weights models. STEP says where
the child kills itself, the Nth time that it gets there (``write``: half of a file written;
``rename``: written and not in place; ``renamed``: just in place), or is ``-``.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from pathlib import Path


def die_at(step: str, count: int) -> None:
    """Make this process kill itself at a step of writing a file."""
    write, rename = Path.write_bytes, os.replace
    left = [count]

    def due() -> bool:
        left[0] -= 1
        return left[0] == 0

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def write_half(self, content):
        if due():
            write(self, bytes(content)[: len(content) // 2])
            die()
        return write(self, content)

    def die_before(source, target):
        if due():
            die()
        return rename(source, target)

    def die_after(source, target):
        rename(source, target)
        if due():
            die()

    if step == "write":
        Path.write_bytes = write_half
    else:
        os.replace = {"rename": die_before, "renamed": die_after}[step]


def main(structures: str, limit: int, max_atoms: int) -> None:
    import torch

    import mpprobe

    torch.set_num_threads(1)  # threads don't survive a fork
    potential = mpprobe.load("sevenn-0", device="cpu")
    drawn = [potential.randomised(seed) for seed in range(2)]
    potential.randomised = drawn.__getitem__
    frames = mpprobe.read(structures, limit=limit)
    # What is made on first use is made once, for all children.
    next(mpprobe.stream(potential, frames[:1]))

    def work(folder: str, step: str, count: int, seeds: int) -> None:
        if step != "-":
            die_at(step, count)
        store = mpprobe.Store.create(
            folder, potential, frames, max_atoms=max_atoms, random_seeds=seeds
        )
        store.extract(potential)

    print("ready", flush=True)
    for line in sys.stdin:
        command, *arguments = line.split()
        if command == "start":
            print(start(work, arguments), flush=True)
        else:
            _, status = os.waitpid(int(arguments[0]), 0)
            print(os.waitstatus_to_exitcode(status), flush=True)


def start(work, arguments: list[str]) -> int:
    """Fork a child that works and ends; its process id."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        folder, step, count, seeds = arguments
        work(folder, step, int(count), int(seeds))
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
