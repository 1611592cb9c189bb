"""Cells in a real kernel: running one again closes what it had opened, and leaves what other cells opened."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]
BEFORE = """
import threading
from ipywidgets.widgets.widget import _instances
import workbench as wb
from tests.toys import some_prompts, toy
other = wb.Workbench(toy(), some_prompts(12))
"""
AGAIN = "workbench = wb.Workbench(toy(), some_prompts(12))\nworkbench"
COUNT = "print(len(_instances), threading.active_count(), workbench.session.watchers, other.session.watchers)"


@pytest.mark.story
@pytest.mark.filterwarnings("ignore")  # the kernel is another process; what its client warns of is not ours
def test_twenty_runs_of_a_cell_leave_what_one_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    cells = [nbformat.v4.new_code_cell(code) for code in (BEFORE, AGAIN, COUNT)]
    client = NotebookClient(nbformat.v4.new_notebook(cells=cells), timeout=300, store_widget_state=False)
    counts = []
    with client.setup_kernel():
        client.execute_cell(cells[0], 0)
        for runs in (1, 19, 1):
            for _ in range(runs):
                client.execute_cell(cells[1], 1)
            client.execute_cell(cells[2], 2)
            counts.append(str(cells[2]["outputs"][0]["text"]).split())
    assert counts[0] == counts[1] == counts[2]
    assert counts[0][2] == counts[0][3]
