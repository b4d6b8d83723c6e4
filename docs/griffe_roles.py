"""Cross-references of docstrings (``:func:`mpprobe.load```) as links, when the API is rendered."""

from __future__ import annotations

import re

import griffe

ROLE = re.compile(r":(?:class|func|meth|mod|attr|data|exc):`(~?)([\w.]+)`")


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
            obj.docstring.value = linked(obj.docstring.value)
