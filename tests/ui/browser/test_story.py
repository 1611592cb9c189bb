"""The story in a real browser: the tour, then by mouse all that a panel is for, and every panel in both themes."""

import shutil
import time
from pathlib import Path

import pytest
from nbconvert import HTMLExporter
from playwright.sync_api import Browser, expect

from tests.ui.browser.gestures import (
    SITE,
    draw_and_click,
    hunt_and_stop,
    hunt_to_the_end,
    open_another,
    panel,
    pick,
    press,
    retrain_and_hunt_again,
    still,
    submit,
    undo_on_the_bench,
    what_is_edited,
)
from tests.ui.browser.lab import ROOT, Lab, Notebook

pytestmark = [pytest.mark.browser, pytest.mark.story, pytest.mark.timeout(900), pytest.mark.filterwarnings("ignore")]
TOUR = ROOT / "notebooks" / "00_tour.ipynb"
ANOTHER = "azurite"
PANELS = ("Picker", "Tokens", "Surgeon", "Heatmap", "Edit bench", "Retrain", "Circuit", "Zoo")
FILLED = f"""
w = wb.Workbench(toy_models.load("rutile"))
w.session.select("{SITE}")
w.surgeon.asked.search.value, w.surgeon.asked.where.value = "NeuronSweep", "the selected sites"
w.surgeon.run(); w.surgeon.findings.chosen = 0
w.session.put(pinned=w.session.edits)
w.heatmap.asked.steps.value = 5
w.heatmap.run(); w.heatmap.load(*w.heatmap.furthest)
w.edit_bench.run(); w.tokens.run()
w.retrain.asked.steps.value = 20; w.retrain.run()
w.circuit.search.value = "starts=2, steps=1, pairs=0"; w.circuit.run()
w
"""


def read_well(path: Path, shots: Path) -> None:
    """A saved notebook is small, and shows what was found where widgets cannot run."""
    assert path.stat().st_size <= 1_000_000
    page = HTMLExporter(embed_images=True).from_filename(str(path))[0]
    for shown in ("heatmap of the loss over", "Mean norms of the activations", "Answers, without and with the edit"):
        assert shown in page
    (shots / "tour.html").write_text(page)


def test_the_tour_and_then_by_mouse(lab: Lab, browser: Browser, shots: Path) -> None:
    shutil.copy(TOUR, lab.folder)
    notebook = Notebook.open(browser, lab, TOUR.name)
    page, began = notebook.page, time.monotonic()
    notebook.run_all(timeout=400)
    print(f"tour: {time.monotonic() - began:.0f} s (asked: 90)")
    notebook.save()
    read_well(lab.folder / TOUR.name, shots)
    try:
        pick(panel(page, "Picker"))
        hunt_and_stop(panel(page, "Surgeon"))
        before = what_is_edited(panel(page, "Edit bench"))
        draw_and_click(panel(page, "Heatmap"))
        undo_on_the_bench(panel(page, "Edit bench"), before)
        retrain_and_hunt_again(panel(page, "Retrain"), 30)
        panel(page, "Retrain").screenshot(path=shots / "tour-retrain.png")
        began = time.monotonic()
        open_another(page, ANOTHER)
        hunt_to_the_end(panel(page, "Surgeon"))
        said = submit(panel(page, "Zoo"), "routing")
        print(f"a sealed organism by mouse: {time.monotonic() - began:.0f} s (asked: 300); {said}")
        panel(page, "Zoo").screenshot(path=shots / "tour-zoo.png")
    except Exception:
        page.screenshot(path=shots / "failed.png")
        print(notebook.errors, notebook.stacks())
        raise
    assert time.monotonic() - began < 300
    assert "place 100%, behaviour 100%" in said
    assert (notebook.requests, notebook.errors) == ([], [])
    assert not lab.left.exists(), lab.left.read_text()
    page.close()


def test_every_panel_in_both_themes(lab: Lab, browser: Browser, shots: Path) -> None:
    lab.write("filled.ipynb", ["import toy_models, workbench as wb", FILLED])
    notebook = Notebook.open(browser, lab, "filled.ipynb")
    notebook.run_all(timeout=200)
    tokens = panel(notebook.page, "Tokens")
    press(tokens, "Show")
    expect(tokens.locator(".latw-circuits")).to_have_count(2, timeout=30_000)
    expect(tokens.locator(".latw-circuits").nth(1)).to_contain_text("L1H0", timeout=30_000)
    for theme in ("light", "dark"):
        notebook.turn(theme)
        for title in PANELS:
            place = panel(notebook.page, title)
            still(place)
            expect(place.locator(".latw-error")).to_be_empty()
            place.screenshot(path=shots / f"{title.lower().replace(' ', '-')}-{theme}.png")
    expect(notebook.page.locator(".latw-still").first).to_be_hidden()
    assert (notebook.requests, notebook.errors) == ([], [])
    notebook.page.close()


def test_hostile_tokens_run_no_script(lab: Lab, browser: Browser, shots: Path) -> None:
    evil = [
        "</script><script>window.pwned=1</script>",
        "<img src=x onerror='window.pwned=1'>",
        "\u202etxet\u202c",
        "a\x00b",
        "<b>" * 3000,
    ]
    code = (
        "import torch\nfrom tests.toys import boot, some_prompts\nfrom workbench.agent import Agent, Vocabulary\n"
        f"evil = {evil!r}\nnames = (*evil, *(f't{{i}}' for i in range(20 - len(evil))))\n"
        "agent = Agent(boot().bridge, name=evil[0], device='cpu', vocabulary=Vocabulary(names, None))\n"
        "prompts = some_prompts(40)\nprompts.tokens[:, :5] = torch.arange(5)\n"
        "w = wb.Workbench(agent, prompts)\nw.session.select('L1.mlp.post')\n"
        "w.surgeon.asked.search.value, w.surgeon.asked.where.value = 'NeuronSweep', 'the selected sites'\n"
        "w.surgeon.run(); w.surgeon.findings.chosen = 0\nw.heatmap.run(); w.tokens.run()"
    )
    show = "from IPython.display import HTML, display\ndisplay(w)\ndisplay(HTML(w._repr_mimebundle_()['text/html']))"
    lab.write("hostile.ipynb", ["import workbench as wb", code, show])
    notebook = Notebook.open(browser, lab, "hostile.ipynb")
    notebook.run_all()
    surgeon = panel(notebook.page, "Surgeon")
    expect(surgeon.locator("tbody tr").first).to_be_visible(timeout=30_000)
    expect(surgeon.locator("td", has_text="window.pwned").first).to_be_attached()
    surgeon.screenshot(path=shots / "hostile.png")
    assert notebook.page.evaluate("window.pwned") is None
    assert (notebook.requests, notebook.errors) == ([], [])
    notebook.page.close()
