"""Texts of any origin (labels, names, messages), made such that nobody obeys what is in them."""

from __future__ import annotations

import re

# What terminals and editors act on instead of showing it: control characters, those of the upper
# half too, and the marks that let text run backwards or hide. Not the tab and the line end.
_CONTROLS = "\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069"
_CONTROL = re.compile(f"[{_CONTROLS}]")
_BREAK = re.compile(f"[\t\n{_CONTROLS}]+")
# With what a spreadsheet's formula begins, also in the wide letters that some take for the same,
# at the beginning of a cell or of what is one where cells end at another mark than the comma.
_SIGNS = "=+@\\-\uff1d\uff0b\uff20\uff0d"
_FORMULA = re.compile(rf"^(?=[\t\r\n]|\s*[{_SIGNS}])|([;|\t\r\n]\s*)(?=[{_SIGNS}])")


def visible(text: str) -> str:
    """The text with a replacement character for each that a terminal would act on."""
    return _CONTROL.sub("\ufffd", text)


def one_line(text: str) -> str:
    """The text with a space for each run of line ends and other control characters."""
    return _BREAK.sub(" ", text)


def no_formula(text: str) -> str:
    """The text with an apostrophe before what a spreadsheet would take for a formula."""
    return _FORMULA.sub(lambda found: f"{found[1] or ''}'", text)


def json_escaped(text: str) -> str:
    """JSON whose texts hold no control character as such; its meaning stays the same."""
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
