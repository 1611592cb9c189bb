"""A JupyterLab server and a Chromium for tests: both on this machine only, with everything that leaves it noted."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import nbformat
from playwright.sync_api import Browser, Page, Playwright

ROOT = Path(__file__).resolve().parents[3]
TOKEN = "only-for-tests"
HOME = {"127.0.0.1", "localhost", "::1", ""}
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
# Python starts with this in the server and its kernels: whoever wants to leave the machine is noted and refused.
GUARD = """
import os, sys
def _guard(event, args):
    if event == "socket.connect" and isinstance(args[1], tuple) and str(args[1][0]) not in {home!r}:
        with open(os.environ["LEFT_THE_MACHINE"], "a") as log:
            log.write(f"{{args[1]}}\\n")
        raise OSError("tests stay on this machine")
sys.addaudithook(_guard)
"""


def chromium() -> str | None:
    """Where the system's Chromium is."""
    found = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    return os.environ.get("CHROMIUM") or next(filter(None, found), None)


@dataclass(frozen=True, slots=True)
class Lab:
    """A running server. folder: what it serves; left: the file that says who wanted to leave the machine."""

    port: int
    folder: Path
    left: Path

    def address(self, path: str = "") -> str:
        """Where a page of the server is."""
        return f"http://127.0.0.1:{self.port}/{path}"

    def write(self, name: str, cells: list[str]) -> None:
        """A notebook of code cells in the served folder."""
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        notebook.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
        nbformat.write(notebook, self.folder / name)


@contextmanager
def server(folder: Path) -> Iterator[Lab]:
    """A JupyterLab whose settings, kernels and files are all in that folder."""
    own = {name: folder / name.lower() for name in ("CONFIG", "DATA", "RUNTIME")}
    settings, guard, served = folder / "settings", folder / "guard", folder / "served"
    for path in (*own.values(), settings / "@jupyterlab" / "apputils-extension", guard, served):
        path.mkdir(parents=True)
    news = settings / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    news.write_text(json.dumps({"fetchNews": "false", "checkForUpdates": False}))
    (guard / "sitecustomize.py").write_text(GUARD.format(home=HOME))
    lab = Lab(_free_port(), served, folder / "left.txt")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "COVERAGE"))}
    environment |= {f"JUPYTER_{name}_DIR": str(path) for name, path in own.items()}
    environment |= {
        "JUPYTERLAB_SETTINGS_DIR": str(settings),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
        "IPYTHONDIR": str(folder / "ipython"),
        "PYTHONPATH": os.pathsep.join([str(guard), str(ROOT)]),
        "LEFT_THE_MACHINE": str(lab.left),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={lab.port}"]
    command += [f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={served}", "--ServerApp.port_retries=0"]
    command += [
        "--LabApp.expose_app_in_browser=True",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen(command, cwd=served, env=environment, stdout=log, stderr=log)
        try:
            _wait_for(lab, process, folder / "log.txt")
            yield lab
        finally:
            process.terminate()
            process.wait(20)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def _wait_for(lab: Lab, process: subprocess.Popen, log: Path) -> None:
    until = time.monotonic() + 90
    while time.monotonic() < until and process.poll() is None:
        try:
            urllib.request.urlopen(lab.address("api"), timeout=2).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()[-3000:]}")


def launch(playwright: Playwright) -> Browser:
    """The system's Chromium, with nothing that it does by itself on the network."""
    return playwright.chromium.launch(executable_path=chromium(), args=list(FLAGS))


@dataclass
class Notebook:
    """A page with one notebook open. requests: those that wanted to leave the machine; errors: of the console."""

    page: Page
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @classmethod
    def open(cls, browser: Browser, lab: Lab, name: str, *, theme: str = "light") -> "Notebook":
        """The notebook in JupyterLab's simple interface, its kernel ready."""
        page = browser.new_page(viewport={"width": 1360, "height": 1000}, color_scheme=theme)  # pyright: ignore[reportArgumentType]
        notebook = cls(page)
        page.route("**/*", notebook._guarded)
        page.on("console", lambda message: notebook._heard(message.type, message.text))
        page.on("pageerror", lambda error: notebook.errors.append(str(error)))
        page.goto(lab.address(f"lab/tree/{name}?token={TOKEN}&reset"))
        page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
        page.wait_for_selector("#jupyterlab-splash", state="detached", timeout=60_000)
        if page.locator(".jp-FileBrowser").is_visible():
            notebook.execute("application:toggle-left-area")
        notebook.turn(theme)
        return notebook

    def turn(self, theme: str) -> None:
        """Take the theme `light` or `dark`."""
        self.execute("apputils:change-theme", {"theme": f"JupyterLab {theme.title()}"})
        bright = "true" if theme == "light" else "false"
        self.page.wait_for_selector(f"body[data-jp-theme-light='{bright}']", state="attached")

    def save(self) -> None:
        """Save it as somebody does, and wait until it is written."""
        self.page.evaluate("() => jupyterapp.commands.execute('docmanager:save')")
        self.page.wait_for_function("() => !jupyterapp.shell.currentWidget.context.model.dirty")

    def _guarded(self, route: Any) -> None:
        host = urlparse(route.request.url).hostname or ""
        if host in HOME:
            route.continue_()
        else:
            self.requests.append(route.request.url)
            route.abort()

    def _heard(self, kind: str, text: str) -> None:
        if kind == "error":
            self.errors.append(text)

    def execute(self, command: str, arguments: dict[str, Any] | None = None) -> Any:
        """Run one of JupyterLab's commands."""
        return self.page.evaluate("([c, a]) => jupyterapp.commands.execute(c, a)", [command, arguments or {}])

    def run_all(self, timeout: float = 120) -> None:
        """Run all cells to the end. Raises AssertionError where one of them failed."""
        self.page.wait_for_function(_READY, timeout=90_000)
        self.page.evaluate("() => { jupyterapp.commands.execute('notebook:run-all-cells'); }")
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            counts = self.page.evaluate(_COUNTS)
            errors = [output for cell in counts for output in cell["errors"]]
            assert not errors, errors
            if all(cell["count"] is not None and not cell["busy"] for cell in counts):
                return
            time.sleep(0.1)
        raise AssertionError(f"not all cells ended in {timeout} s")

    def stacks(self) -> str:
        """Where every thread of the kernel is, for a test that failed: a cell of its own is added and run."""
        self.page.evaluate(_STACKS)
        self.page.wait_for_timeout(3000)
        return str(
            self.page.evaluate("() => jupyterapp.shell.currentWidget.content.widgets.at(-1).model.outputs.toJSON()")
        )

    def text_of(self, cell: int) -> str:
        """The text that a cell's outputs hold."""
        return str(self.page.evaluate(_TEXT, cell))

    def run_cell(self, cell: int, timeout: float = 60) -> float:
        """Run one cell again; seconds until it has ended."""
        before = self.page.evaluate("i => jupyterapp.shell.currentWidget.content.widgets[i].model.executionCount", cell)
        began = time.monotonic()
        self.page.evaluate(
            "i => { jupyterapp.shell.currentWidget.content.activeCellIndex = i;"
            " jupyterapp.commands.execute('notebook:run-cell'); }",
            cell,
        )
        while time.monotonic() - began < timeout:
            now = next(c for i, c in enumerate(self.page.evaluate(_COUNTS)) if i == cell)
            if now["count"] not in (None, before) and not now["busy"]:
                return time.monotonic() - began
            time.sleep(0.02)
        raise AssertionError(f"cell {cell} did not end in {timeout} s")


_READY = """() => {
  const context = jupyterapp.shell.currentWidget?.sessionContext;
  return context?.isReady && context.session?.kernel?.status === 'idle';
}"""
_STACKS = """() => {
  const { content, context } = jupyterapp.shell.currentWidget;
  content.activeCellIndex = content.widgets.length - 1;
  jupyterapp.commands.execute('notebook:insert-cell-below').then(() => {
    content.activeCell.model.sharedModel.setSource('import faulthandler, tempfile\\n'
      + 'with tempfile.TemporaryFile("w+") as f:\\n  faulthandler.dump_traceback(f)\\n  f.seek(0)\\n  print(f.read())');
    jupyterapp.commands.execute('notebook:run-cell');
  });
}"""
_COUNTS = """() => jupyterapp.shell.currentWidget.content.widgets
  .filter(c => c.model.type === 'code')
  .map(c => ({ count: c.model.executionCount,
               busy: c.model.executionState === 'running' || c.promptNode?.textContent.includes('*'),
               errors: c.model.outputs.toJSON().filter(o => o.output_type === 'error').map(o => o.evalue) }))"""
_TEXT = """i => jupyterapp.shell.currentWidget.content.widgets.filter(c => c.model.type === 'code')[i].model.outputs
  .toJSON().map(o => o.text ?? o.data?.['text/plain'] ?? '').flat().join('')"""
