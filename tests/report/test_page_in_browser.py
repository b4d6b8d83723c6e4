"""The page in a real browser without a network: chosen atoms, layers, colours, tables."""

from __future__ import annotations

import pytest

from mpprobe.report.files import write_study
from mpprobe.report.page import write_report

HOSTILE = '<img src=x onerror="window.canary=1">'


@pytest.fixture(scope="module")
def file(study, tmp_path_factory):
    """A page of two runs, one of them with HTML in the label of its structures."""
    from dataclasses import replace

    folder = tmp_path_factory.mktemp("browser")
    hostile = [replace(frame, domain=HOSTILE) for frame in study.frames]
    write_study(study, folder / "one")
    write_study(replace(study, frames=hostile), folder / "two")
    return write_report([folder / "one", folder / "two"], folder / "report.html")


@pytest.fixture(scope="module")
def opened(browser, file):
    """The page, and what went wrong or was asked of a network."""
    context = browser.new_context(offline=True, viewport={"width": 1400, "height": 1000})
    context.set_default_timeout(120_000)  # a busy machine draws slowly
    page, wrong = context.new_page(), []
    page.on("console", lambda said: said.type == "error" and wrong.append(said.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda asked: asked.url.startswith("http") and wrong.append(asked.url))
    page.goto(file.as_uri())
    for number in (1, 2):
        viewer = page.locator(f"#viewer-{number}")
        viewer.scroll_into_view_if_needed()
        page.wait_for_selector(f"#viewer-{number}[data-ready]")
    yield page, wrong
    context.close()


def shown_atom(page, number=1):
    """The atom that the structure viewer shows, and the line that says which it is."""
    settings = page.evaluate(f"window.mpprobe.viewers[{number - 1}].visualizer.saveSettings()")
    return settings["pinned"][0], page.locator(f"#viewer-{number} .chosen").inner_text()


def test_a_click_on_the_map_chooses_that_atom_in_both_runs(opened):
    page, wrong = opened
    page.locator("#viewer-1").scroll_into_view_if_needed()
    before, _ = shown_atom(page)
    box = page.locator("#map-1").bounding_box()
    # Points lie where they lie: click along two lines until one is hit.
    for k in range(60):
        x, y = 0.15 + 0.6 * (k % 20) / 20, (0.35, 0.5, 0.65)[k // 20]
        page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])
        page.wait_for_timeout(150)
        if shown_atom(page)[0] != before:
            break
    chosen, line = shown_atom(page)
    assert chosen != before
    atom = page.evaluate(f"window.mpprobe.viewers[0].dataset.properties.atom.values[{chosen}]")
    assert line.startswith(f"Atom {atom} (")
    assert shown_atom(page, 2)[0] == chosen
    assert wrong == []


def test_layer_target_and_colour_change_what_is_drawn(opened):
    page, wrong = opened
    viewer = page.locator("#viewer-1")

    def drawn():
        settings = page.evaluate("window.mpprobe.viewers[0].visualizer.saveSettings()")
        return settings["map"]["x"]["property"], settings["structure"][0]["color"]["property"]

    viewer.locator("[data-choose=layer]").select_option("2")
    assert drawn() == ("layer 2: component 1", "potential decoded, layer 2, by structure")
    viewer.locator("[data-choose=kind]").select_option("residual")
    assert drawn()[1] == "potential within kinds decoded less true, layer 2, by structure"
    viewer.locator("[data-choose=map]").select_option("parity")
    assert drawn()[0] == "potential true"
    viewer.locator("[data-choose=target]").select_option("charge:formal")
    viewer.locator("[data-choose=kind]").select_option("true")
    assert drawn()[1] == "charge:formal true"
    assert wrong == []


def test_tables_sort_and_filter(opened):
    page, wrong = opened
    details = page.locator("details.table", has_text="scores").first
    details.locator("summary").click()
    button = details.get_by_role("button", name="mae", exact=True)
    column = page.evaluate("b => b.parentElement.cellIndex", button.element_handle())

    def values():
        cells = details.locator(f"tbody tr:not([hidden]) td:nth-child({column + 1})")
        orders = cells.evaluate_all("cells => cells.map(c => c.dataset.order)")
        return [float(order) for order in orders if order]

    rows = details.locator("tbody tr:not([hidden])")
    whole, n_rows = values(), rows.count()
    button.click()
    assert values() == sorted(whole)
    button.press("Enter")  # by keyboard too
    assert values() == sorted(whole, reverse=True)
    details.locator("input").fill("random weights")
    assert 0 < len(values()) < len(whole)
    assert details.locator("output").inner_text() == f"{rows.count()} of {n_rows}"
    assert wrong == []


def test_html_in_the_label_of_a_structure_does_not_run(opened):
    page, _ = opened
    assert HOSTILE in shown_atom(page, 2)[1]
    assert page.evaluate("window.canary") is None


def test_it_has_a_dark_theme_and_fits_a_phone(opened):
    page, _ = opened
    page.get_by_role("button", name="Dark").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 24, 29)"
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
