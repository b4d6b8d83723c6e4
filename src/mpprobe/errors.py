"""The one exception family: every mistake a user can make raises a :class:`MPProbeError`.

Messages are one line: which input, what is wrong with it, what to do. The command line prints
that line and exits with :attr:`MPProbeError.exit_code`.
"""

from __future__ import annotations

import errno
import importlib.util


class MPProbeError(Exception):
    """Base of all errors about the user's input (exit code 2)."""

    exit_code = 2


class StructureError(MPProbeError):
    """A structure or a structure file that can't be used."""


class ModelError(MPProbeError):
    """An unknown, unreadable, unsupported or unhookable potential."""


class TrustError(ModelError):
    """A checkpoint that would run code when loaded, from a source not known."""


class OutOfMemoryError(MPProbeError):
    """A batch of structures that needs more memory than there is."""


class TargetError(MPProbeError):
    """An unknown target, or one that a structure can't supply."""


class StoreError(MPProbeError):
    """A store of node features that is damaged, incomplete, or of another configuration."""


class ProbeError(MPProbeError):
    """A probe, split or score that can't be computed from what was given."""


class InterventionError(MPProbeError):
    """An edit of node features that can't be made from what was given."""


class AttributionError(MPProbeError):
    """A number or a layer that can't be explained from what was given."""


class ToyError(MPProbeError):
    """A world, a domain or a training run that can't be."""


class ReportError(MPProbeError):
    """A folder that isn't a command's results, or a page that can't be written."""


class MissingPackageError(MPProbeError):
    """An optional package is missing; the message holds the line that installs it (exit code 3)."""

    exit_code = 3


def is_out_of_memory(error: BaseException) -> bool:
    """Whether there was no memory, of the machine or its accelerator, for what was to be done."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    # torch and Python have no errors of their own for it.
    told = ("can't allocate memory", "out of memory", "start new thread", "failed to map segment")
    said = str(error).lower()
    return isinstance(error, MemoryError) or (
        isinstance(error, (RuntimeError, ImportError)) and any(words in said for words in told)
    )


_INSTALL = {
    "sevenn": 'pip install "mpprobe[sevenn]"',
    "mace": 'pip install "mpprobe[mace]" && pip install --no-deps "mace-torch==0.3.16"',
    "featomic": 'pip install "mpprobe[soap]"',
    "chemiscope": 'pip install "mpprobe[report]"',
    "distributed": 'pip install "mpprobe[scale]"',
}


def optional_packages() -> dict[str, str]:
    """The packages that bring the optional parts, as they are imported; the line for each."""
    return dict(_INSTALL)


def shortened(text: object, most: int = 300) -> str:
    """A text from anywhere in a line that doesn't fill the screen, for a message."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    return line if len(line) <= most else f"{line[: most - 3]}..."


def require(package: str, purpose: str) -> None:
    """Raise :class:`MissingPackageError` if ``package`` can't be imported.

    ``purpose`` completes the sentence "... is needed for PURPOSE".
    """
    if importlib.util.find_spec(package) is None:
        line = _INSTALL.get(package, f"pip install {package}")
        raise MissingPackageError(
            f"{package} is needed for {purpose}, and is not installed: {line}"
        )
