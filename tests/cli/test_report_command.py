"""``mpprobe report``, and ``mpprobe probe --report``."""

from __future__ import annotations


def test_probe_writes_its_page_and_report_puts_runs_on_one(mpprobe_run, basic, tmp_path):
    first = mpprobe_run("probe", *basic, "-l", 1, "--report", "-o", tmp_path / "one")
    assert first.code == 0, first.err
    assert "report.html" in first.err
    page = (tmp_path / "one" / "report.html").read_text(encoding="utf-8")
    assert "viewer-1" in page
    call = ("report", tmp_path / "one", "-o", tmp_path / "all.html")
    result = mpprobe_run(*call)
    assert result.code == 0, result.err
    assert "written to" in result.err
    again = mpprobe_run(*call)
    assert (again.code, len(again.err.splitlines())) == (2, 1)
    assert mpprobe_run(*call, "--overwrite").code == 0


def test_a_folder_that_is_no_run_is_one_line(mpprobe_run, tmp_path):
    result = mpprobe_run("report", tmp_path, "-o", tmp_path / "r.html")
    assert (result.code, len(result.err.splitlines())) == (2, 1)
    assert "no results.json" in result.err
    assert list(tmp_path.iterdir()) == []
