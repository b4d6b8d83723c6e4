"""Files that mean harm or came damaged: checkpoints, downloads, stores, labels of structures."""

from __future__ import annotations

from collections.abc import Iterator

from trust.outcome import Outcome, by_tests

_CHECKPOINTS = "tests/models/test_hostile_checkpoints.py"
_DOWNLOADS = "tests/models/test_downloads.py"
_STORES = "tests/activations/test_hostile_stores.py"
_FILES = "tests/structures/test_hostile_files.py"
_COMMANDS = "tests/cli/test_hostile_command.py"
_LABELS = "tests/report/test_hostile_labels.py"

#: What is tried, in which unit, by which tests.
_ROWS = (
    ("pickles that would run code, as SevenNet and MACE files of three formats", "files",
     [f"{_CHECKPOINTS}::TestPickles"]),
    ("code elsewhere in an archive, files swapped between the look and the loading", "files",
     [f"{_CHECKPOINTS}::TestArchives", f"{_CHECKPOINTS}::TestSwapped",
      "tests/models/test_trust.py::TestMaliciousFiles"]),
    ("checkpoints that unpack, allocate or nest without end, truncated ones", "files",
     [f"{_CHECKPOINTS}::TestBombs",
      f"{_CHECKPOINTS}::test_flipped_bytes_end_in_one_line_or_load"]),
    ("hostile checkpoints, studies and results under every command that takes one", "command lines",
     [_COMMANDS]),
    ("downloads cut off, killed and resumed, several at once", "downloads",
     [f"{_DOWNLOADS}::TestCutOff", f"{_DOWNLOADS}::test_several_at_once_fetch_it_once"]),
    ("downloads that are other files: login pages, redirects, swapped models", "downloads",
     [f"{_DOWNLOADS}::TestRefused", f"{_DOWNLOADS}::TestSwapped", f"{_DOWNLOADS}::TestMace",
      f"{_DOWNLOADS}::TestSevenNet"]),
    ("names in manifests that leave the store, links, absurd sizes", "stores", [_STORES]),
    ("structure files that would run code, ask a server or unpack to too much", "files", [_FILES]),
    ("labels that are HTML, formulas, mathematics or commands of a terminal", "labels",
     [_LABELS, "tests/test_texts.py"]),
)  # fmt: skip


def check(quick: bool) -> Iterator[Outcome]:
    """Every outcome of this part."""
    flags = ("-m", "not slow and not gpu and not download") if quick else ()
    for what, unit, selection in _ROWS:
        yield by_tests(what, unit, selection, *flags)
