"""What a panel is, and the frame that every panel has: heading, news, errors, code, and all that must be closed."""

from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import Any, Protocol, final, runtime_checkable

import ipywidgets as widgets
from IPython.display import display

from workbench.errors import WorkbenchError
from workbench.figures import page
from workbench.figures.sections import Code, Heading, Section, Text
from workbench.ui.cells import opened
from workbench.ui.job import Job
from workbench.ui.saved import Saved
from workbench.ui.session import SHARED, Session
from workbench.ui.views import Note, asset, visible

VIEW = "application/vnd.jupyter.widget-view+json"


@runtime_checkable
class Panel(Protocol):
    """One panel. Each works alone on a Session, and beside others that share it."""

    frame: "Frame"

    @property
    def state(self) -> dict[str, Any]:
        """What is set and what is shown, as JSON."""
        ...

    def run(self) -> None:
        """Do what the main button does, here and now, without a browser. Raises what goes wrong."""
        ...

    def code(self) -> str:
        """Python that gives the numbers on screen again."""
        ...

    def sections(self) -> Sequence[Section]:
        """What is on screen as static text, tables and pictures; no Plot."""
        ...


class Frame:
    """Around every panel: its heading, a line of news, the place for errors, its code, and a list of what to close.

    box: the widget to show. A panel fills it once, wraps its handlers with `handler` and starts jobs with `start`.
    """

    def __init__(self, title: str, session: Session, code: Callable[[], str]) -> None:
        self.title, self.session, self.job = title, session, None
        self._code, self._closers = code, []
        self.heading = Note(text=title, kind="heading")
        self.news, self.error = Note(kind="news"), Note(kind="error")
        self.code_button = widgets.ToggleButton(description="Code", tooltip="Python that gives these numbers again")
        self.code_button.layout.width = "72px"
        self.code_area = widgets.Textarea(disabled=True, layout={"display": "none", "width": "99%", "height": "220px"})
        self.code_area.add_class("latw-code")
        self.box = widgets.VBox()
        for name in ("latw", "latw-panel"):
            self.box.add_class(name)
        self.code_button.observe(self.handler(lambda _: self.show_code()), "value")
        self.job: Job | None
        self.saved: Saved | None = None
        self._closers: list[Callable[[], object]]
        opened(self)

    def fill(self, *children: widgets.Widget, head: Sequence[widgets.Widget] = ()) -> None:
        """Put these widgets under the heading; `head`: beside it."""
        top = widgets.HBox([self.heading, *head, self.code_button])
        self.box.children = (top, *children, self.news, self.error, self.code_area)

    def handler(self, function: Callable[..., Any], *, anew: bool = True) -> Callable[..., None]:
        """The function, with whatever it raises shown in the panel: elsewhere nobody would see it.

        anew: whether the error before is taken away; not by what nobody has asked for, such as news.
        """

        @wraps(function)
        def guarded(*args: Any) -> None:
            try:
                if anew:
                    self.error.text = ""
                function(*args)
            except Exception as error:
                self.show_error(error)

        return guarded

    def show_error(self, error: BaseException) -> None:
        """Show what went wrong; of a mistake of ours, its kind too."""
        kind = "" if isinstance(error, WorkbenchError) else f"{type(error).__name__}: "
        self.error.text = "\n".join(visible(line) for line in f"{kind}{error}".splitlines())

    def show_code(self) -> None:
        """Bring the code up to date where it is open."""
        shown = self.code_button.value
        if shown:
            self.code_area.value = self._code()
        self.code_area.layout.display = "" if shown else "none"

    def watch(self, watcher: Callable[[str], None], *names: str) -> None:
        """Watch shared values of the session until the panel is closed; see Session.watch."""
        self.on_close(self.session.watch(self.handler(watcher, anew=False), *(names or SHARED)))

    def on_close(self, closer: Callable[[], object]) -> None:
        """Call this when the panel is closed."""
        self._closers.append(closer)

    # --- jobs -------------------------------------------------------------------------------------------

    def start(self, steps: Callable[[], Iterable[Any]], told: Callable[[Job], None]) -> Job:
        """Stop the panel's job if there is one, and start another in the background."""
        self._new_job(steps, told)
        assert self.job is not None
        return self.job.start()

    def run(self, steps: Callable[[], Iterable[Any]], told: Callable[[Job], None]) -> Job:
        """The same here and now. Raises what goes wrong."""
        self._new_job(steps, told)
        assert self.job is not None
        return self.job.run()

    def stop(self) -> None:
        """Stop the panel's job; what it found stays."""
        if self.job is not None:
            self.job.stop()

    def _new_job(self, steps: Callable[[], Iterable[Any]], told: Callable[[Job], None]) -> None:
        self.stop()

        def news(job: Job) -> None:
            if job is not self.job:  # stopped too slowly, and another has taken its place
                return
            told(job)
            if job.error is not None:
                raise job.error
            self.show_code()
            if self.saved is not None and not job.active:
                self.saved.refresh()

        self.error.text = ""
        self.job = Job(
            steps, told=self.handler(news, anew=False), turns=self.session.turns, threads=self.session.threads
        )

    def give_way(self, panel: Panel) -> None:
        """Close, and let the other panel have the place of the saved view in the notebook."""
        saved, self.saved = self.saved, None
        self.close()
        if saved is not None:
            panel.frame.saved = saved
            saved.turn(lambda: still(panel))

    def close(self) -> None:
        """End the job, the watching and every widget, those inside others too."""
        if self.saved is not None:
            self.saved.end()
        self.stop()
        for closer in self._closers:
            closer()
        self._closers.clear()
        close_all(self.box)


class Shown:
    """What all panels have alike, given `frame`, `code` and `sections`. Nothing here is to be overridden."""

    @final
    def close(self: Any) -> None:
        """Free threads, watchers and widgets."""
        self.frame.close()

    @final
    def to_html(self: Any) -> str:
        """The panel as one self-contained page: static pictures and tables, everything escaped, no script."""
        return page(self.frame.title, [*said(self), Heading("Code"), Code(self.code())])

    @final
    def _ipython_display_(self: Any) -> None:
        """What a notebook shows: the live panel, and its saved view."""
        show(self.frame.box, [self])

    @final
    def _repr_mimebundle_(self: Any, **_: Any) -> dict[str, Any]:
        """The live widget, and the static view for where widgets cannot run."""
        live = self.frame.box._repr_mimebundle_() or {}
        view = {VIEW: live[VIEW]} if VIEW in live else {}
        return {"text/plain": f"{self.frame.title}\n{self.frame.news.text}", "text/html": still(self), **view}


def show(box: widgets.Widget, panels: Iterable[Panel]) -> None:
    """Show a live widget in the notebook, and after it the saved view of each of these panels."""
    live = box._repr_mimebundle_() or {}
    display({name: live[name] for name in (VIEW,) if name in live} | {"text/plain": ""}, raw=True)
    for panel in panels:
        panel.frame.saved = Saved(panel.frame.title, lambda panel=panel: still(panel))
        panel.frame.saved.display()


def said(panel: Panel) -> list[Section]:
    """The panel's news and what is on screen, as static parts."""
    return [Text(visible(panel.frame.news.text)), *panel.sections()]


def still(panel: Panel) -> str:
    """The panel as a piece of HTML with a style of its own, for saved notebooks."""
    parts = [Heading(panel.frame.title), *said(panel)]
    return f"<style>{asset('still.css')}</style><div class='latw-still'>{''.join(part.html() for part in parts)}</div>"


def close_all(widget: widgets.Widget) -> None:
    """Close a widget and all widgets that it holds: children, layouts and styles."""
    for value in widget.trait_values().values():
        for held in value if isinstance(value, list | tuple) else (value,):
            if isinstance(held, widgets.Widget) and held.comm is not None:
                close_all(held)
    widget.close()
