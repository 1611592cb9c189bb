"""The tour without a browser: it runs without a network, stays small, and shows its results where no widget runs.

Where there is a Chromium, `tests/ui/browser/test_story.py` runs it there instead.
"""

import os
import time
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbconvert import HTMLExporter

from tests.ui.browser.lab import GUARD, HOME, chromium

TOUR = Path(__file__).resolve().parents[2] / "notebooks" / "00_tour.ipynb"


@pytest.mark.story
@pytest.mark.timeout(900)
@pytest.mark.skipif(chromium() is not None, reason="the browser's story runs the tour, and reads what it saved")
@pytest.mark.filterwarnings("ignore")  # the kernel is another process; what its client warns of is not ours
def test_the_tour_runs_offline_and_reads_well_when_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sitecustomize.py").write_text(GUARD.format(home=HOME))
    log = tmp_path / "left.txt"
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(TOUR.parents[1])]))
    monkeypatch.setenv("LEFT_THE_MACHINE", str(log))
    notebook, began = nbformat.read(TOUR, as_version=4), time.monotonic()
    NotebookClient(notebook, timeout=800, store_widget_state=False).execute(cwd=str(TOUR.parent))
    print(f"tour: {time.monotonic() - began:.0f} s, {len(nbformat.writes(notebook)) / 1e6:.2f} MB")
    assert not log.exists(), log.read_text()
    assert len(nbformat.writes(notebook)) <= 1_000_000
    page = HTMLExporter(embed_images=True).from_notebook_node(notebook)[0]
    assert "heatmap of the loss over" in page
    assert "Mean norms of the activations" in page
    (tmp_path / "tour.html").write_text(page)
