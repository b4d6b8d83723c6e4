"""Run all scripts, or those named, in one process: ``python analyses [--quick] [NAME ...]``."""

from __future__ import annotations

import importlib
import time
from collections.abc import Sequence

from common import FOLDER, parser, perform

#: Not scripts.
OTHERS = ("__main__", "common")
NAMES = tuple(sorted(p.stem for p in FOLDER.glob("*.py") if p.stem not in OTHERS))


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__)
    options.add_argument("names", nargs="*", choices=[*NAMES, []], metavar="NAME",
                         help=f"of {', '.join(NAMES)}")  # fmt: skip
    given = options.parse_args(arguments)
    for name in given.names or NAMES:
        start = time.perf_counter()
        perform(importlib.import_module(name).main, given)
        print(f"== {name}: {time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
