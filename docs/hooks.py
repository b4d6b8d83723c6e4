"""Pages that the site makes from the sources, so that they can't get out of step.

One page a command from the command's own options, one a room of the API from its public names,
and the notebook, changelog and datasheets, which lie outside docs/.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
NOTEBOOK = "examples/probe_sevennet.ipynb"


def linked_results() -> dict[str, str]:
    """Figures and readings of analyses/ that a guide links to, each as its own page's file."""
    texts = (path.read_text(encoding="utf-8") for path in (ROOT / "docs").rglob("*.md"))
    names = {name for text in texts for name in re.findall(r"\.\./(analyses/[\w.]+)", text)}
    return {name: name for name in sorted(names)}


#: Files outside docs/ that have a page, and the page.
GUESTS = linked_results() | {
    "CHANGELOG.md": "changelog.md",
    "benchmarks/README.md": "benchmarks.md",
    "data/dft/README.md": "data/dft.md",
    "data/far/README.md": "data/far.md",
    "data/ionic/README.md": "data/ionic.md",
    "data/response/README.md": "data/response.md",
    "data/toys/README.md": "data/toys.md",
    "trust/README.md": "trust.md",
    NOTEBOOK: "examples/probe_sevennet.md",
}
#: Rooms of the API and where their public names are.
ROOMS = (
    "structures", "models", "activations", "targets", "probes", "interventions", "attribution",
    "response", "explain", "scale", "toys", "errors", "report",
)  # fmt: skip


def on_config(config):
    """Fill the sections of commands and API, whose pages are known only to the sources."""
    pages = {
        "Commands": [f"commands/{name}.md" for name in commands()],
        "API": [f"api/{room}.md" for room in ROOMS],
    }
    for entry in config.nav:
        ((title, children),) = entry.items()
        children.extend(pages.get(title, []))
    return config


def on_files(files, config):
    """Add the pages that lie elsewhere or are made."""
    for source, page in GUESTS.items():
        path = ROOT / source
        made = {"content": notebook_page(path)} if source == NOTEBOOK else {"abs_src_path": path}
        files.append(File.generated(config, page, **made))
    for name, command in commands().items():
        files.append(
            File.generated(config, f"commands/{name}.md", content=command_page(name, command))
        )
    for room in ROOMS:
        files.append(File.generated(config, f"api/{room}.md", content=room_page(room)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Lead links to files outside docs/ to their pages; where there is none, leave the text."""
    home = {page: source for source, page in GUESTS.items()}
    source = page.file.src_uri
    if source == "reliability.md":
        markdown = markdown.replace("<!-- table of faults -->", faults_table())
    if source == "testing.md":
        markdown = markdown.replace("<!-- what was tried -->", tried_tables())
    folder = os.path.dirname(home.get(source, f"docs/{source}"))

    def link(match: re.Match) -> str:
        text, target, anchor = match.groups()
        path = os.path.normpath(os.path.join(folder, target))
        if path in GUESTS:
            there = GUESTS[path]
        elif path.startswith("docs/") and files.get_file_from_path(path[5:]):
            there = path[5:]
        elif source in home and (ROOT / path).exists():
            return text.strip("!")[1:-1]
        else:
            return match.group()
        return f"{text}({os.path.relpath(there, os.path.dirname(source) or '.')}{anchor or ''})"

    return re.sub(r"(!?\[[^\]]*\])\(([^)#:\s]+)(#[^)\s]*)?\)", link, markdown)


def commands() -> dict:
    """The commands of ``mpprobe``, by name."""
    from typer.main import get_command

    from mpprobe.cli.app import app

    return get_command(app).commands


def faults_table() -> str:
    """Every fault, how often it was tried, what was lost, and the tests, as last counted."""
    faults, record = _trust("faults"), _trust("record")
    by_what = {outcome.what: outcome for outcome in record.read()["faults"].outcomes}
    lines = ["| fault | tried | lost | tests |", "|---|---|---|---|"]
    for fault in faults.FAULTS:
        o = by_what[fault.what]
        tests = ", ".join(f"`{name.removeprefix('tests/')}`" for name in fault.tests)
        lines.append(f"| {fault.what} | {o.tried:,} {o.unit} | {_short(o)} | {tests} |")
    return "\n".join(lines)


def tried_tables() -> str:
    """Of each part of ``trust/`` what was tried, how often, and what fell short, last time."""
    record = _trust("record")
    lines = []
    for name, part in record.read().items():
        lines += [f"### {record.PARTS[name].capitalize()}", "",
                  f"{part.date}, sources `{part.sources}`; Python {part.versions['python']}, "
                  f"torch {part.versions['torch']}.", "",
                  "| what | how often | fell short | |", "|---|---|---|---|"]  # fmt: skip
        for o in part.outcomes:
            note = _escaped(o.note)
            lines.append(f"| {_escaped(o.what)} | {o.tried:,} {o.unit} | {_short(o)} | {note} |")
        lines.append("")
    return "\n".join(lines)


def _short(outcome) -> str:
    return "; ".join(map(_escaped, outcome.short)) or "nothing"


def _trust(module: str):
    """A module of trust, which is no package that is installed."""
    if str(ROOT) not in sys.path:
        sys.path.append(str(ROOT))
    return importlib.import_module(f"trust.{module}")


def command_page(name: str, command) -> str:
    """A command's help as a page, and where the guides use it."""
    lines = [f"# mpprobe {name}", ""]
    if hasattr(command, "commands"):
        lines += [command.help, ""]
        for child, inner in command.commands.items():
            lines += [f"## {name} {child}", "", *_help(f"{name} {child}", inner)]
    else:
        lines += _help(name, command)
    return "\n".join([*lines, *_examples(name), ""])


def _help(name: str, command) -> Iterator[str]:
    with command.make_context(f"mpprobe {name}", [], resilient_parsing=True) as context:
        yield from ("```text", command.get_usage(context), "```", "", _paragraphs(command.help), "")
        records = [p.get_help_record(context) for p in command.get_params(context)]
    yield from ("| option | meaning |", "|---|---|")
    for record in filter(None, records):
        flags, text = (" ".join(part.split()) for part in record)
        flags = "`" + re.sub(r"(, | / )", r"`\1`", flags) + "`"
        yield f"| {flags} | {_escaped(text)} |"
    yield ""


def _paragraphs(text: str | None) -> str:
    return re.sub(r"``(.+?)``", r"`\1`", (text or "").replace("\f", "").strip())


def _escaped(text: str) -> str:
    return re.sub(r"([\[*|])", r"\\\1", text).replace("<", "&lt;")


def _examples(name: str) -> Iterator[str]:
    """The lines of the guides that run the command, each with a link to the guide."""
    found = {}
    for path in sorted((ROOT / "docs").rglob("*.md")):
        text = path.read_text(encoding="utf-8")
        for line in re.findall(r"^\$ (mpprobe .+)$", text, re.MULTILINE):
            if line.split()[1] == name:
                found.setdefault(path, []).append(line)
    if found:
        yield "## In the guides"
    for path, lines in found.items():
        title = path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
        page = path.relative_to(ROOT / "docs").as_posix()
        yield from ("", f"[{title}](../{page}):", "", "```console")
        yield from (f"$ {line}" for line in lines)
        yield "```"


def room_names(room: str) -> dict[str, str]:
    """The public names of a room (constants aside), each with the path at which it is found."""
    import mpprobe

    top = {name: f"{home}.{name}" for name, home in mpprobe._HOME.items() if _room(home) == room}
    module = importlib.import_module(f"mpprobe.{room}")
    if room == "errors":
        public = [n for n, v in vars(module).items() if isinstance(v, type) and n.endswith("Error")]
    else:
        public = [n for n in getattr(module, "__all__", []) if not n.isupper()]
    return {name: f"mpprobe.{room}.{name}" for name in public} | top


def _room(home: str) -> str:
    room = home.split(".")[1]
    return "models" if room == "testing" else room


def room_page(room: str) -> str:
    """The reference of a room: its docstring, and an entry for each public name."""
    import mpprobe

    module = importlib.import_module(f"mpprobe.{room}")
    lines = [f"# mpprobe.{room}", "", module.__doc__.partition("\n\n")[0], ""]
    for name, path in sorted(room_names(room).items(), key=lambda item: item[0].lower()):
        shown = f"mpprobe.{name}" if name in mpprobe._HOME else path
        lines += [f"::: {path}", "    options:"]
        lines += [f"      heading: {shown}", f"      toc_label: {name}", ""]
    return "\n".join(lines)


def notebook_page(path: Path) -> str:
    """A notebook's cells as Markdown."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    texts = ((cell["cell_type"], "".join(cell["source"])) for cell in cells)
    return "\n\n".join(t if kind == "markdown" else f"```python\n{t}\n```" for kind, t in texts)
