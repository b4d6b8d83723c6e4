"""One offline page from the folders that commands have written."""

from mpprobe.report.page.build import write_report
from mpprobe.report.page.runs import Run, read_run

__all__ = ["Run", "read_run", "write_report"]
