"""Parting structures into usable ones and failures: which errors count, and what is kept."""

import pytest
from ase import Atoms

from mpprobe.errors import MissingPackageError, TargetError, is_out_of_memory, shortened
from mpprobe.structures import Failure, Frame, usable
from mpprobe.structures.failures import TOGETHER


def frames(n, size=2):
    atoms = Atoms(f"H{size}", positions=[[i, 0, 0] for i in range(size)])
    return [Frame.from_atoms(atoms, f"run.xyz@{i}") for i in range(n)]


def failing(bad, error):
    """An attempt that raises at some of the sources, and remembers how it was called."""
    calls = []

    def attempt(part):
        calls.append([f.source for f in part])
        for frame in part:
            if frame.source in bad:
                raise error(frame.source)

    return attempt, calls


def target_error(source):
    return TargetError(f"{source}: it has no field; leave it out")


def test_frames_are_tried_together_and_alone_only_where_that_fails():
    given = frames(6, size=TOGETHER // 2)
    attempt, calls = failing({"run.xyz@3"}, target_error)
    kept, failures = usable(given, {"target": attempt})
    assert kept == [f for f in given if f.source != "run.xyz@3"]
    assert failures == [Failure("run.xyz@3", "target", "it has no field", "leave it out")]
    sizes = [len(call) for call in calls]
    assert sizes == [2, 2, 1, 1, 2]


def test_failures_come_in_the_order_of_the_structures_whatever_the_stage():
    given = frames(4)
    first, _ = failing({"run.xyz@2"}, target_error)
    second, calls = failing({"run.xyz@0"}, target_error)
    _, failures = usable(given, {"one": first, "two": second})
    assert [(f.source[-1], f.stage) for f in failures] == [("0", "two"), ("2", "one")]
    assert not any("run.xyz@2" in call for call in calls)  # what failed is not tried again


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("CUDA out of memory. Tried to allocate 20 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
    ],
)
def test_want_of_memory_for_one_is_its_failure(error):
    attempt, _ = failing({"run.xyz@1"}, lambda source: error)
    kept, (failure,) = usable(frames(3), {"model": attempt})
    assert len(kept) == 2
    assert failure.error == "needs more memory than there is"


def test_a_missing_package_and_a_bug_are_no_failures_of_structures():
    for error in (MissingPackageError("dftd4 is needed"), RuntimeError("a bug"), KeyError("a")):
        attempt, _ = failing({"run.xyz@1"}, lambda source, error=error: error)
        with pytest.raises(type(error)):
            usable(frames(3), {"model": attempt})
    assert not is_out_of_memory(RuntimeError("a bug"))


@pytest.mark.parametrize(
    ("message", "error", "advice"),
    [
        ("in.xyz@1: it is bad; mend it", "it is bad", "mend it"),
        ("in.xyz@1: a; b; mend it", "a; b", "mend it"),
        ("in.xyz@1: it is bad", "it is bad", ""),
        ("it is\n  bad; mend\nit", "it is bad", "mend it"),
    ],
)
def test_a_message_is_taken_apart(message, error, advice):
    failure = Failure.of("in.xyz@1", "check", message)
    assert (failure.error, failure.advice) == (error, advice)


def test_long_texts_are_shortened_to_one_line():
    assert shortened("a\x00b\u2028c\n d") == "a b c d"
    assert len(shortened("x" * 5000)) == 300
    assert shortened("y" * 50, 40).endswith("...")
