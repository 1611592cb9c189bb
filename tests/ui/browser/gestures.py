"""What somebody does in the panels with a mouse and a keyboard, and what must be seen after each."""

from playwright.sync_api import Locator, Page, expect

SITE = "L1.mlp.post"
NEWS = ".latw-news"


def panel(page: Page, title: str) -> Locator:
    """A panel by its heading; the first where it is shown several times."""
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


def press(place: Locator, name: str) -> None:
    """Press a button."""
    place.get_by_role("button", name=name, exact=True).click()


def fill(place: Locator, name: str, text: str) -> None:
    """Type into the control of that description."""
    control = place.get_by_label(name, exact=True).first
    control.fill(text)
    control.press("Tab")


def pick(picker: Locator, site: str = SITE) -> None:
    """Click a hook point and see it selected."""
    picker.locator(f"button[data-site='{site}']").click()
    expect(picker.locator(f"button[data-site='{site}']")).to_have_attribute("aria-pressed", "true")
    expect(picker.get_by_text(f"Selected: {site}")).to_be_visible(timeout=20_000)


def hunt_and_stop(surgeon: Locator) -> None:
    """Hunt at the selected sites, wait for a first finding, stop, and choose it."""
    surgeon.get_by_label("search", exact=True).select_option("the usual three")
    surgeon.get_by_label("sites", exact=True).select_option("the selected sites")
    press(surgeon, "Run")
    expect(surgeon.locator(NEWS)).to_contain_text("best so far", timeout=60_000)
    press(surgeon, "Stop")
    expect(surgeon.locator(NEWS)).to_contain_text("no verdict", timeout=5000)
    choose_first(surgeon)


def hunt_to_the_end(surgeon: Locator) -> None:
    """Hunt as the controls say, read the verdict, and choose the best finding."""
    press(surgeon, "Run")
    expect(surgeon.locator(NEWS)).to_contain_text("threshold", timeout=180_000)
    choose_first(surgeon)


def choose_first(surgeon: Locator) -> None:
    """Click the best finding: what it elicits is shown, and how it depends on the dose."""
    surgeon.locator("tbody tr").first.click()
    expect(surgeon.locator(".latw-hint").first).to_contain_text("random edits of its size")
    expect(surgeon.locator("svg.latw-lines polyline")).to_have_count(2)


def draw_and_click(heatmap: Locator) -> None:
    """Draw the map of the selected site, and click a cell with the mouse, then another with the keyboard."""
    press(heatmap, "Draw")
    expect(heatmap.locator(NEWS)).to_contain_text("On 32 prompts", timeout=90_000)
    canvas = heatmap.locator("canvas")
    wide, high = still(canvas)
    canvas.click(position={"x": wide / 2, "y": high / 3})
    expect(heatmap.locator(".latw-said")).to_contain_text("from unedited")
    before = heatmap.locator(".latw-said").text_content()
    canvas.press("ArrowRight")
    canvas.press("Enter")
    expect(heatmap.locator(".latw-said")).not_to_have_text(before or "")


def what_is_edited(bench: Locator) -> str:
    """What the bench says of the current edit, tried again."""
    press(bench, "Try")
    bench.page.wait_for_timeout(1500)
    expect(bench.locator(".latw-hint").first).to_contain_text("Edit at L", timeout=20_000)
    return bench.locator(".latw-hint").first.text_content() or ""


def undo_on_the_bench(bench: Locator, before: str) -> None:
    """The two edits that were loaded since are tried on the bench; undone, the one before is."""
    expect(bench.locator(".latw-hint").first).not_to_have_text(before, timeout=20_000)
    expect(bench.locator(NEWS)).to_contain_text("of the answers change")
    press(bench, "Undo")
    press(bench, "Undo")
    expect(bench.locator(".latw-hint").first).to_have_text(before, timeout=20_000)


def retrain_and_hunt_again(retrain: Locator, steps: int) -> None:
    """Retrain to the end, see which edits still work, and hunt the checkpoint."""
    fill(retrain, "steps", str(steps))
    press(retrain, "Run")
    expect(retrain.locator(NEWS)).to_contain_text(f"step {steps} of {steps}", timeout=120_000)
    expect(retrain.locator(NEWS)).to_contain_text("Done", timeout=20_000)
    expect(retrain.locator("svg.latw-lines polyline").first).to_be_attached()
    press(retrain, "Which edits still work")
    expect(retrain.locator(NEWS)).to_contain_text("still change to the same", timeout=60_000)
    press(retrain, "Hunt the last one again")
    expect(retrain.locator(NEWS)).to_contain_text("verdict", timeout=180_000)


def open_another(page: Page, name: str) -> None:
    """Load an organism in the Zoo and put it on the whole bench, sealed."""
    zoo = panel(page, "Zoo")
    zoo.get_by_placeholder("name, task or size").fill(name)
    expect(zoo.locator("tbody tr")).to_have_count(1)
    zoo.locator("tbody tr").first.click()
    press(zoo, "Load")
    expect(zoo.locator(NEWS)).to_contain_text(f"{name}: ", timeout=30_000)
    press(zoo, "Open in all panels")
    expect(panel(page, "Surgeon").locator("tbody tr")).to_have_count(0, timeout=30_000)
    expect(panel(page, "Zoo").locator(NEWS)).to_contain_text("the answer key is sealed", timeout=30_000)


def submit(zoo: Locator, behaviour: str) -> str:
    """Submit the selected place and this behaviour as the hypothesis; the marks and what the key says."""
    zoo.get_by_label("behaviour", exact=True).select_option(behaviour)
    press(zoo, "Submit hypothesis and open the key")
    answer = zoo.locator(".latw-hint", has_text="Trigger:")
    expect(answer).to_be_visible(timeout=60_000)
    return answer.text_content() or ""
