"""The story in a real browser: pick a site, send the Surgeon in, stop it, draw a heatmap, click a cell."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.ui.browser.lab import Lab, Notebook

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.filterwarnings("ignore")]
OPEN = [
    "import toy_models, workbench as wb",
    "workbench = wb.Workbench(toy_models.load('rutile'))\nworkbench",
    "print(len(workbench.session.shared.findings), [e.neurons for e in workbench.session.edits])",
]


def panel(page: Page, title: str):
    """A panel by its heading."""
    return page.locator(".latw-panel").filter(has=page.locator(".latw-heading", has_text=title)).first


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_whole_story(lab: Lab, browser: Browser, shots: Path, theme: str) -> None:
    lab.write(f"story-{theme}.ipynb", OPEN)
    notebook = Notebook.open(browser, lab, f"story-{theme}.ipynb", theme=theme)
    page = notebook.page
    notebook.run_all()
    picker, surgeon, heatmap = (panel(page, title) for title in ("Picker", "Surgeon", "Heatmap"))
    expect(picker.locator("button[data-site='L1.mlp.post']")).to_be_visible(timeout=30_000)

    picker.locator("button[data-site='L1.mlp.post']").click()
    expect(picker.locator("button[data-site='L1.mlp.post']")).to_have_attribute("aria-pressed", "true")
    expect(picker.get_by_text("Selected: L1.mlp.post")).to_be_visible()
    picker.screenshot(path=shots / f"picker-{theme}.png")

    surgeon.get_by_role("button", name="Run", exact=True).click()
    expect(surgeon.locator("tbody tr").first).to_be_visible(timeout=60_000)
    surgeon.get_by_role("button", name="Stop", exact=True).click()
    expect(surgeon.locator(".latw-news")).to_contain_text("Stopped", timeout=2000)
    surgeon.locator("tbody tr").first.click()
    expect(surgeon.locator(".latw-hint").first).to_contain_text("random edits of its size")
    page.wait_for_timeout(500)
    surgeon.screenshot(path=shots / f"surgeon-{theme}.png")

    heatmap.get_by_role("button", name="Draw", exact=True).click()
    expect(heatmap.locator(".latw-news")).to_contain_text("On 32 prompts", timeout=60_000)
    canvas = heatmap.locator("canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    canvas.click(position={"x": box["width"] / 2, "y": box["height"] / 3})
    page.wait_for_timeout(500)
    expect(heatmap.locator(".latw-said")).to_contain_text("loss")
    heatmap.screenshot(path=shots / f"heatmap-{theme}.png")
    page.screenshot(path=shots / f"page-{theme}.png")

    notebook.run_cell(2)
    found, edits = notebook.text_of(2).split(" ", 1)
    assert int(found) > 0
    assert edits.strip() not in ("[]", "[None]")
    assert (notebook.requests, notebook.errors) == ([], [])
    assert not lab.left.exists(), lab.left.read_text()
    page.close()
