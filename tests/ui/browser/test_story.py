"""The story in a real browser: pick a site, send the Surgeon in, stop it, draw a heatmap, click a cell."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.ui.browser.lab import Lab, Notebook

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.filterwarnings("ignore")]
OPEN = [
    "import toy_models, workbench as wb",
    "workbench = wb.Workbench(toy_models.load('rutile'))\nworkbench",
    "print(len(workbench.session.shared.findings), [e.neurons for e in workbench.session.edits])",
]


def panel(page: Page, title: str) -> Locator:
    """A panel by its heading."""
    return page.locator(".latw-panel").filter(has=page.locator(".latw-heading", has_text=title)).first


def still(place: Locator) -> tuple[float, float]:
    """Width and height of something, once it has stopped moving."""
    before = None
    for _ in range(100):
        place.scroll_into_view_if_needed()
        box = place.bounding_box()
        if box is not None and box == before:
            return box["width"], box["height"]
        before = box
        place.page.wait_for_timeout(60)
    raise AssertionError("it never stopped moving")


def pick(picker: Locator, site: str) -> None:
    """Click a hook point and see it selected."""
    picker.locator(f"button[data-site='{site}']").click()
    expect(picker.locator(f"button[data-site='{site}']")).to_have_attribute("aria-pressed", "true")
    expect(picker.get_by_text(f"Selected: {site}")).to_be_visible(timeout=20_000)


def look_at_tokens(tokens: Locator) -> None:
    """Let circuitsvis draw a prompt and the heads that read it."""
    tokens.get_by_role("button", name="Show", exact=True).click()
    expect(tokens.locator(".latw-circuits")).to_have_count(2, timeout=30_000)
    expect(tokens.locator(".latw-circuits").nth(1)).to_contain_text("L1H0", timeout=30_000)


def hunt_and_stop(surgeon: Locator) -> None:
    """Run, wait for a first finding, stop, and choose it."""
    surgeon.get_by_role("button", name="Run", exact=True).click()
    expect(surgeon.locator("tbody tr").first).to_be_visible(timeout=60_000)
    surgeon.get_by_role("button", name="Stop", exact=True).click()
    expect(surgeon.locator(".latw-news")).to_contain_text("no verdict", timeout=3000)
    surgeon.locator("tbody tr").first.click()
    expect(surgeon.locator(".latw-hint").first).to_contain_text("random edits of its size")
    expect(surgeon.locator("svg.latw-lines polyline")).to_have_count(2)


def draw_and_click(heatmap: Locator) -> None:
    """Draw the map of the selected site, and click a cell with the mouse, then another with the keyboard."""
    heatmap.get_by_role("button", name="Draw", exact=True).click()
    expect(heatmap.locator(".latw-news")).to_contain_text("On 32 prompts", timeout=90_000)
    canvas = heatmap.locator("canvas")
    wide, high = still(canvas)
    canvas.click(position={"x": wide / 2, "y": high / 3})
    expect(heatmap.locator(".latw-said")).to_contain_text("from unedited")
    before = heatmap.locator(".latw-said").text_content()
    canvas.press("ArrowRight")
    canvas.press("Enter")
    expect(heatmap.locator(".latw-said")).not_to_have_text(before or "")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_whole_story(lab: Lab, browser: Browser, shots: Path, theme: str) -> None:
    lab.write(f"story-{theme}.ipynb", OPEN)
    notebook = Notebook.open(browser, lab, f"story-{theme}.ipynb", theme=theme)
    page = notebook.page
    notebook.run_all()
    picker, surgeon, heatmap = (panel(page, title) for title in ("Picker", "Surgeon", "Heatmap"))
    try:
        pick(picker, "L1.mlp.post")
        look_at_tokens(panel(page, "Tokens"))
        surgeon.locator("select").nth(2).select_option("the selected sites")
        hunt_and_stop(surgeon)
        draw_and_click(heatmap)
    except AssertionError:
        page.screenshot(path=shots / f"failed-{theme}.png")
        print(notebook.errors, notebook.stacks())
        raise
    for name, place in (
        ("picker", picker),
        ("tokens", panel(page, "Tokens")),
        ("surgeon", surgeon),
        ("heatmap", heatmap),
    ):
        still(place)
        place.screenshot(path=shots / f"{name}-{theme}.png")
    expect(page.locator(".latw-still").first).to_be_hidden()
    notebook.run_cell(2)
    found, edits = notebook.text_of(2).split(" ", 1)
    assert int(found) > 0
    assert edits.strip() not in ("[]", "[None]")
    assert (notebook.requests, notebook.errors) == ([], [])
    assert not lab.left.exists(), lab.left.read_text()
    page.close()


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
