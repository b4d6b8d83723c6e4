"""The page: everything in one file, which asks no network for anything."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpprobe import __version__
from mpprobe.errors import MPProbeError, ReportError
from mpprobe.files import cannot_write, replacing
from mpprobe.provenance import structures_sha256
from mpprobe.report.page.compare import comparison, heading
from mpprobe.report.page.runs import Run, read_runs
from mpprobe.report.page.tables import MOST_ROWS, Table, page_table
from mpprobe.report.page.viewer import Viewer, javascript, viewer

if TYPE_CHECKING:
    from markupsafe import Markup

#: What the commands ask, as headings.
QUESTIONS = {
    "probe": "What probes read",
    "ood": "Where the forces hold",
    "explain": "Does what is encoded explain where forces fail?",
    "erase": "Forces without what a probe reads",
    "steer": "Forces when what a probe reads is amplified",
    "patch": "Node features of one structure in another",
    "attribute": "Who decides a number",
    "response": "Forces beyond the cutoff, and Coulomb's law",
    "nonlocal": "Forces beyond the cutoff, against the reference",
    "toy train": "A model trained where the truth is known",
    "toy sweep": "Models trained where the truth is known",
}


#: What is said of folders that changed under the page's hands.
REPLACED = "a run was replaced while it was read; write the page again"


@dataclass(frozen=True)
class Entry:
    """A run with all that the page shows of it.

    Attributes:
        run: as read.
        number: on the page, from 1.
        title: its models, told apart from those of other runs.
        tables: by file.
        viewer: its structures, None if it wrote none.
    """

    run: Run
    number: int
    title: str
    tables: list[Table]
    viewer: Viewer | None

    @cached_property
    def figures(self) -> dict[str, str]:
        """Figures as data URIs."""
        return {
            name: "data:image/png;base64," + base64.b64encode(file.read_bytes()).decode()
            for name, file in self.run.figures.items()
        }

    @property
    def viewer_json(self) -> Markup:
        """The data of the viewer, safe inside a script element."""
        return _embedded(self.viewer.as_json()) if self.viewer else Markup("")

    @cached_property
    def structures(self) -> str:
        """Which structures are shown: viewers that show the same ones choose atoms together."""
        return structures_sha256(self.run.frames)

    @property
    def provenance(self) -> list[tuple[str, str]]:
        """Names and values, one level of nesting joined by dots."""
        return list(_flat(self.run.results["provenance"]))


def write_report(
    folders: Sequence[str | Path], file: str | Path, *, overwrite: bool = False
) -> Path:
    """Write a page of what commands have found: one file that needs nothing else.

    Structures are drawn of at most :data:`mpprobe.report.page.viewer.MOST_ATOMS` atoms a run,
    spread over domains and compounds, and tables have at most
    :data:`mpprobe.report.page.tables.MOST_ROWS` rows; the page says where it shows less than all.

    Args:
        folders: that commands have written, in the order of the page.
        file: to write.
        overwrite: it may be there already.

    Returns:
        The file.

    Raises:
        ReportError: a folder that isn't a command's or was replaced meanwhile, or a file that
            can't be written.
        MissingPackageError: chemiscope isn't installed, and a run has structures.
    """
    file = Path(file)
    check_page(file, overwrite)
    before = _stamps(folders)
    runs = read_runs(folders)
    try:
        text = page(runs)
    except MPProbeError:
        raise
    except Exception as error:  # whatever a results.json that isn't ours leads to
        if _stamps(folders) != before or isinstance(error, FileNotFoundError):
            raise ReportError(REPLACED) from error
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ReportError(
            f"{', '.join(map(str, folders))}: can't be made into a page ({reason}); give folders "
            "as commands of this version of mpprobe wrote them"
        ) from error
    if _stamps(folders) != before:
        raise ReportError(REPLACED)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as part:
            part.write_text(text, encoding="utf-8")
    except OSError as error:
        raise cannot_write(file, error) from error
    return file


def _stamps(folders: Sequence[str | Path]) -> list[tuple[int, int] | None]:
    """What changes when a folder is replaced, as a command's results are."""
    found: list[tuple[int, int] | None] = []
    for folder in folders:
        try:
            status = Path(folder).stat()
            found.append((status.st_dev, status.st_ino))
        except OSError:
            found.append(None)
    return found


def check_page(file: str | Path, overwrite: bool) -> None:
    """Refuse a file that may not be written.

    Raises:
        ReportError: it is there and ``overwrite`` is false, or is a folder.
    """
    file = Path(file)
    if file.is_dir():
        raise ReportError(f"{file}: is a folder; give the page's file, as in report.html")
    if file.exists() and not overwrite:
        raise ReportError(f"{file}: is there already; add --overwrite, or choose another name")


def page(runs: Sequence[Run]) -> str:
    """The page as HTML."""
    from markupsafe import Markup

    entries = [_entry(run, k + 1, runs) for k, run in enumerate(runs)]
    scripts = [_resource("page.js")]
    draws = any(entry.viewer for entry in entries)
    if draws:
        scripts.insert(0, javascript().replace("</script", "<\\/script"))
    return _template().render(
        version=__version__,
        sections=_sections(entries),
        entries=entries,
        models=list(dict.fromkeys(name for run in runs for name in run.models)),
        # The map's WebGL compiles its own programs. Scripts in values are still not run.
        draws=draws,
        comparison=page_table("comparison", comparison(runs)),
        most_rows=MOST_ROWS,
        style=Markup(_resource("page.css")),
        scripts=[Markup(script) for script in scripts],
        hashes=[_csp_hash(script) for script in scripts],
    )


def _entry(run: Run, number: int, runs: Sequence[Run]) -> Entry:
    tables = [page_table(name, table) for name, table in run.tables.items() if len(table)]
    own = [other for other in runs if other.command == run.command]
    shown = viewer(run) if run.frames else None
    return Entry(run, number, heading(run, own), tables, shown)


def _sections(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """Runs of one command together, in the order in which commands first come."""
    sections: dict[str, list[Entry]] = {}
    for entry in entries:
        sections.setdefault(entry.run.command, []).append(entry)
    return [
        {
            "command": command,
            "title": QUESTIONS.get(command, command),
            "entries": own,
            "figures": list(dict.fromkeys(name for entry in own for name in entry.run.figures)),
        }
        for command, own in sections.items()
    ]


def _template() -> Any:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_resource("page.html"))


def _resource(name: str) -> str:
    return (files("mpprobe.report.page") / name).read_text(encoding="utf-8")


def _csp_hash(script: str) -> str:
    """What lets this script run, and no other."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _embedded(content: Any) -> Markup:
    """JSON that can't end the script element it is put into."""
    from markupsafe import Markup

    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c"))


def _flat(values: Any, prefix: str = "") -> Any:
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _flat(value, f"{name}.")
        else:
            yield name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
