"""What our docstrings write in their own way, as the tools that render the API read it."""

from __future__ import annotations

import re

import griffe

ROLE = re.compile(r":(?:class|func|meth|mod|attr|data|exc):`(~?)([\w.]+)`")

TOGETHER = re.compile(r"^( +)(\w+(?:, \w+)+): (.*(?:\n\1 +.*)*)$", re.MULTILINE)


def apart(text: str) -> str:
    """``text`` with an entry for each argument where several share one (``low, high: ...``)."""

    def entries(match: re.Match) -> str:
        indent, names, meaning = match.groups()
        return "\n".join(f"{indent}{name}: {meaning}" for name in names.split(", "))

    return TOGETHER.sub(entries, text)


def linked(text: str) -> str:
    """``text`` with each role as a link, if it names all of a path, and as code otherwise."""

    def link(match: re.Match) -> str:
        short, path = match.groups()
        shown = path.rpartition(".")[2] if short else path
        # `autorefs` leaves plain code where the path has no entry of its own.
        return f'<autoref identifier="{path}" optional><code>{shown}</code></autoref>'

    return ROLE.sub(link, text)


class Roles(griffe.Extension):
    """Mends every docstring before it is parsed."""

    def on_instance(self, *, obj: griffe.Object, **_) -> None:
        """Called by griffe for each module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring.value = apart(linked(obj.docstring.value))
