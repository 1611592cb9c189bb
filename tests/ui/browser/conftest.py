"""One JupyterLab server and one Chromium for all browser tests; skipped, with the reason, where there is none."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.ui.browser.lab import Lab, chromium, launch, server


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A running JupyterLab."""
    if chromium() is None:
        pytest.skip("no Chromium on this machine: install the system package `chromium`")
    with server(tmp_path_factory.mktemp("lab")) as running:
        yield running


@pytest.fixture(scope="session")
def browser(lab: Lab) -> Iterator[Browser]:
    """A running Chromium."""
    with sync_playwright() as playwright:
        found = launch(playwright)
        yield found
        found.close()


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    """Where screenshots are kept: the folder that SCREENSHOTS names, so that CI can keep them."""
    folder = Path(os.environ.get("SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
