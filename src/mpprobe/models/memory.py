"""One line where a batch doesn't fit into memory, with what to do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from mpprobe.errors import OutOfMemoryError, is_out_of_memory


@contextlib.contextmanager
def enough_memory(sources: Sequence[str], n_atoms: int) -> Iterator[None]:
    """Turn what NumPy, Numba or torch raise for want of memory into one line.

    Args:
        sources: of the structures of the batch; empty where they aren't known.
        n_atoms: of the batch.

    Raises:
        OutOfMemoryError: there was too little; the message names the first and last structure.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemoryError(_message(sources, n_atoms)) from error


def _message(sources: Sequence[str], n_atoms: int) -> str:
    if len(sources) == 1:
        return (
            f"{sources[0]}: {n_atoms:,} atoms, which needs more memory than there is; "
            "leave it out, or use a machine with more"
        )
    names = f"{sources[0]} to {sources[-1]}: " if sources else ""
    return (
        f"{names}a batch of {n_atoms:,} atoms doesn't fit into memory; take smaller ones with "
        "--max-atoms"
    )
