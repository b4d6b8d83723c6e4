"""Texts of any origin: neither a terminal nor a spreadsheet obeys what is in them."""

import json

import pytest

from mpprobe.texts import json_escaped, no_formula, one_line, visible

#: What terminals and readers act on: escape sequences in both their forms, the bell, a line that
#: is written over, text that runs backwards, lines that other programs see.
COMMANDS = ["\x1b[31m", "\x1b]0;title\x07", "\x9b31m", "\x07", "safe\rrm", "a\x08b", "\u202egpj",
            "\u2066x\u2069", "\u200fx", "a\u2028b", "a\u2029b", "\x85", "\x0b", "\x0c", "\x00",
            "\x7f"]  # fmt: skip
FORMULAS = ["=1+1", "=cmd|' /C calc'!A0", "+1", "-1", "@SUM(1)", "\t=1", "\r=1", "\n=1", "\t1",
            "\uff1d1", "\uff0b1", "\uff0d1", "\uff201", "x;=1", "x;  =1", "x|@1", "x\t=1", "x\n=1",
            "=HYPERLINK(\"http://x\")"]  # fmt: skip
PLAIN = ["NaCl", "", "a-b", "a = b", "1-2", "x; y", "π", "<b>", "'=1", "a\\b", "Na+", "e-3", "a,b"]


@pytest.mark.parametrize("text", COMMANDS)
def test_no_terminal_acts_on_it(text):
    for made in (visible(text), one_line(text)):
        assert made.isprintable()
        assert not set(made) & set("\x1b\x9b\x07\r\u202e\u2066\u2028\x85")


@pytest.mark.parametrize("text", PLAIN)
def test_what_is_plain_stays(text):
    assert visible(text) == one_line(text) == no_formula(text) == text


def test_lines_and_tabs_stay_where_they_may():
    assert visible("a\tb\nc") == "a\tb\nc"
    assert one_line("a\tb\r\n\nc") == "a b c"


@pytest.mark.parametrize("text", FORMULAS)
def test_no_spreadsheet_takes_it_for_a_formula(text):
    """Wherever the cell begins: at the comma only, or at a semicolon or tab as well."""
    made = no_formula(text)
    assert made.replace("'", "") == text.replace("'", "")
    for cells in ([made], made.split(";"), made.split("\t"), made.splitlines(), made.split("|")):
        for cell in cells:
            assert not cell.lstrip().startswith(("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d"))
    assert made[0] not in "\t\r\n"


@pytest.mark.parametrize("text", [*COMMANDS, *FORMULAS, *PLAIN])
def test_json_means_the_same(text):
    made = json_escaped(json.dumps({"x": text}, ensure_ascii=False))
    assert json.loads(made) == {"x": text}
    assert made.isprintable()
