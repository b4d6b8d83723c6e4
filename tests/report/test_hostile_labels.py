"""Labels that would be HTML, formulas of a spreadsheet, mathematics or commands of a terminal."""

from __future__ import annotations

import ast
import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import ase.io
import numpy as np
import pandas as pd
import pytest
from ase import Atoms
from matplotlib.figure import Figure

import mpprobe
from mpprobe.report.figures import save
from mpprobe.report.files import write_study, write_table
from mpprobe.report.page import write_report
from mpprobe.report.page.build import QUESTIONS
from mpprobe.structures import Frame, read_file, write_extxyz

SOURCES = sorted(Path(mpprobe.__file__).parent.rglob("*.py"))
HOSTILE = [
    "=cmd|' /C calc'!A0", "+1", "-2+3", "@SUM(1)", "\t=1", "x;=1", "\x1b[2Jx", "\x9b2J", "a\rb",
    "</script><script>canary()</script>", '"><img src=x onerror=canary()>', "javascript:canary()",
    "' onmouseover='canary()", "{{7*7}}", "{% raw %}", "&lt;b&gt;", "$\\frac{$", "$$", "$x$", "\\$",
    "_x", "\u202egpj", "[red]x[/red]", ":smile:", "a\nb", "1\nLattice=x\nH 0 0 0", "\x00",
    "x" * 999,
]  # fmt: skip


def formula(cell):
    return cell.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "\n"))


class TestTables:
    def test_every_text_of_every_table_is_a_text(self, tmp_path, record_property):
        table = pd.DataFrame({text: [text, *HOSTILE] for text in HOSTILE})
        table["category"] = pd.Categorical([HOSTILE[0], *HOSTILE])
        write_table(tmp_path / "t.csv", table)
        rows = list(csv.reader(io.StringIO((tmp_path / "t.csv").read_text("utf-8"), newline="")))
        assert len(rows) == len(HOSTILE) + 2
        assert not any(formula(cell) for row in rows for cell in row)
        record_property("tried", len(HOSTILE))

    def test_numbers_stay_numbers(self, tmp_path):
        write_table(tmp_path / "t.csv", pd.DataFrame({"x": [-1.5, 2.0], "n": [-1, 3]}))
        assert (tmp_path / "t.csv").read_text() == "x,n\n-1.5,-1\n2.0,3\n"

    def test_no_table_is_written_another_way(self):
        """All commands' tables go through the one function that is tested above."""
        calls = {"to_csv", "writer", "DictWriter", "to_excel", "savetxt"}
        found = [
            (path.name, node.func.attr)
            for path in SOURCES
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in calls
        ]
        assert found == [("files.py", "to_csv")]


class TestFigures:
    @pytest.mark.filterwarnings("ignore:Glyph")
    def test_any_label_can_be_drawn(self, tmp_path, record_property):
        for text in HOSTILE:
            figure = Figure(figsize=(2, 2))
            axes = figure.subplots()
            axes.plot(["a", text], [1, 2], label=f".{text}")
            axes.set(title=text[:50], xlabel=text[:50], yscale="log")
            axes.set_yticks([1, 2], labels=[text[:20], "b"])
            axes.legend()
            assert all(path.stat().st_size for path in save(figure, tmp_path / "f"))
        record_property("tried", len(HOSTILE))

    def test_powers_of_ten_stay_set(self, tmp_path):
        figure = Figure()
        axes = figure.subplots()
        axes.plot([1, 1000], [1, 1000])
        axes.set(xscale="log", yscale="log", title="a $ b")
        save(figure, tmp_path / "f")
        assert "mathdefault{10^{1}}" in "".join(t.get_text() for t in axes.get_xticklabels())
        assert axes.get_title() == r"a \$ b"


class TestExtendedXYZ:
    def test_no_label_begins_another_frame(self, tmp_path, record_property):
        frames = []
        for text in HOSTILE:
            atoms = Atoms("NaCl", positions=[[0, 0, 0], [0, 0, 2.4]])
            atoms.info = {"note": text, text: "value"}
            atoms.arrays["words"] = np.array([text, "x"])
            frames.append(Frame(atoms, text, text, text, text))
        write_extxyz(tmp_path / "o.xyz", frames, {"x": [np.arange(2.0)] * len(frames)})
        back = read_file(tmp_path / "o.xyz")
        assert len(back) == len(frames)
        for frame in back:
            assert frame.atoms.symbols.get_chemical_formula() == "ClNa"
            assert frame.atoms.arrays["mpprobe_x"].tolist() == [0.0, 1.0]
        record_property("tried", len(HOSTILE))

    @pytest.mark.parametrize("text", ["a b", "a\\b", "C:\\data\\", 'a"b', 'a\\"b', "π", "it's"])
    def test_what_is_harmless_comes_back(self, text, tmp_path):
        atoms = Atoms("Na", info={"note": text, "empty": "", "last": 1})
        write_extxyz(tmp_path / "o.xyz", [Frame.from_atoms(atoms, "s")])
        (back,) = read_file(tmp_path / "o.xyz")
        assert (back.atoms.info["note"], back.atoms.info["last"]) == (text, 1)

    @pytest.mark.parametrize("name", ["my name", "a\nb", "a:R:1", "a=b", 'a"b', "x:I:1:y"])
    def test_no_name_of_an_array_moves_the_others(self, name, tmp_path):
        atoms = Atoms("NaCl", positions=[[0, 0, 0], [0, 0, 2.4]])
        atoms.arrays[name] = np.array([5.0, 6.0])
        write_extxyz(tmp_path / "o.xyz", [Frame.from_atoms(atoms, "s")], {"z": [np.arange(2.0)]})
        (back,) = read_file(tmp_path / "o.xyz")
        assert back.atoms.arrays["mpprobe_z"].tolist() == [0.0, 1.0]
        assert back.atoms.arrays[name.translate(str.maketrans(' \n:="', "_____"))].tolist() == [
            5,
            6,
        ]


def hostile_run(folder, command, name="run"):
    """The folder of a command whose every text, and every file's name, is hostile."""
    folder = folder / name
    folder.mkdir(parents=True)
    texts = [text for text in HOSTILE if not set(text) & set("\x00\r")]
    about = {"command": command, "readings": texts, "configuration": texts,
             "provenance": {"models": texts, "targets": {t: {"unit": t} for t in texts},
                            **{text: text for text in texts}}}  # fmt: skip
    (folder / "results.json").write_text(json.dumps(about))
    (folder / "config.yaml").write_text("\n".join(texts))
    table = pd.DataFrame({**{text: texts for text in texts}, "x": 1.0})
    for label in ("table", "<img src=x onerror=canary()>", "javascript:canary()"):
        table.to_csv(folder / f"{label}.csv", index=False)
        figure = Figure(figsize=(1, 1))
        figure.savefig(folder / f"{label}.png")
    images = []
    for text in texts:
        atoms = Atoms("NaCl", positions=[[0, 0, 0], [0, 0, 2.4]])
        images.append(Frame(atoms, text, text, text, text))
    write_extxyz(folder / "structures.extxyz", images, {"<b>x</b>": [np.arange(2.0)] * len(images)})
    content = ase.io.read(folder / "structures.extxyz", ":")
    assert len(content) == len(texts)
    return folder


@pytest.fixture(scope="module")
def hostile_page(study, tmp_path_factory):
    """A page of hostile runs of every command, and of a study with hostile labels."""
    folder = tmp_path_factory.mktemp("hostile")
    runs = [
        hostile_run(folder, command, f"run {k} <b data-canary>")
        for k, command in enumerate([*QUESTIONS, '"><b data-canary onload=canary()>'])
    ]
    label = '<b data-canary onclick="canary()">'
    frames = [replace(f, domain=HOSTILE[i % 16], compound=label)
              for i, f in enumerate(study.frames)]  # fmt: skip
    write_study(replace(study, frames=frames), folder / "study")
    return write_report([*runs, folder / "study"], folder / "report.html")


def test_no_page_holds_what_a_label_says(hostile_page, record_property):
    from html.parser import HTMLParser
    from typing import ClassVar

    class Elements(HTMLParser):
        found: ClassVar[list] = []

        def handle_starttag(self, tag, attributes):
            self.found.append((tag, dict(attributes)))

    parser = Elements()
    parser.feed(hostile_page.read_text(encoding="utf-8"))
    assert len([tag for tag, _ in parser.found if tag == "script"]) == 2 + len(QUESTIONS) + 2
    for _, attributes in parser.found:
        assert not any(key.startswith("on") or key == "data-canary" for key in attributes)
        assert not any("javascript:" in str(attributes.get(k)) for k in ("href", "src", "action"))
    record_property("tried", (len(QUESTIONS) + 1) * len(HOSTILE))


@pytest.mark.slow
def test_nothing_runs_in_a_browser(hostile_page, browser):
    """With the policy that the page sets for itself, and also without it."""
    page_text = hostile_page.read_text(encoding="utf-8")
    open_page = hostile_page.with_name("open.html")
    open_page.write_text(page_text.replace("Content-Security-Policy", "x-none"), encoding="utf-8")
    for file in (hostile_page, open_page):
        context = browser.new_context(offline=True)
        page, said = context.new_page(), []
        page.add_init_script("window.canary = () => { window.sang = 1; }")
        page.on("dialog", lambda dialog, said=said: (said.append(dialog.message), dialog.dismiss()))
        page.on("pageerror", lambda error, said=said: said.append(str(error)))
        page.goto(file.as_uri())
        last = page.locator(".viewer").last
        last.scroll_into_view_if_needed()
        page.wait_for_selector(f"#{last.get_attribute('id')}[data-ready]", timeout=120_000)
        assert page.evaluate("window.sang") is None
        assert page.evaluate("document.querySelectorAll('[data-canary]').length") == 0
        assert said == []
        # Without which the lines above could not fail.
        page.evaluate(
            "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=canary()>')"
        )
        page.wait_for_timeout(300)
        assert page.evaluate("window.sang") == (1 if file == open_page else None)
        context.close()
