"""The notebooks run from top to bottom as a reader would run them, and hold no outputs in git."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore")  # the kernel is another process; what its client warns of is not ours
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_runs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=800, store_widget_state=False).execute(cwd=str(path.parent))
    said = "".join(o.get("text", "") for c in notebook.cells for o in c.get("outputs", []))
    assert "switch score" in said
    assert "none score" in said
