"""A small real study for all reports: random-weight MACE, three compounds, two domains."""

from __future__ import annotations

import shutil

import pytest

import mpprobe

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
                None)  # fmt: skip


@pytest.fixture(scope="session")
def study(mace_file):
    potential = mpprobe.load(mace_file("8x0e+8x1o"), trust_checkpoint=True)
    frames = mpprobe.read("ionic:strained,cluster")
    return mpprobe.probe(
        potential,
        [f for f in frames if set(f.numbers) <= set(potential.species)],
        targets=["potential", "charge:formal", "field"],
        splits=["structure", "compound"],
        settings=mpprobe.Settings(n_resamples=100, n_assignments=1, random_seeds=2),
    )


@pytest.fixture(scope="session")
def browser():
    """Chromium without a window, of one that is installed."""
    if CHROMIUM is None:
        pytest.skip("needs Chromium (Debian: chromium)")
    playwright = pytest.importorskip("playwright.sync_api")
    # WebGL in software, for machines without a graphics card.
    software = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]
    with playwright.sync_playwright() as started:
        flags = ["--no-sandbox", "--disable-dev-shm-usage", *software]
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield chromium
        chromium.close()
