"""The tokens panel: where a neuron is active in a prompt, and where the heads of its layer look."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import ipywidgets as widgets
import numpy as np
import pandas as pd

from workbench.figures import Table as StillTable
from workbench.figures.sections import Section, Text
from workbench.figures.theme import LIGHT
from workbench.sites import Site
from workbench.ui.circuits import Circuits
from workbench.ui.job import Job
from workbench.ui.maps import site_of
from workbench.ui.panel import Frame, Shown
from workbench.ui.session import Session
from workbench.ui.views import Note, as_words, snug


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """One prompt: values [position] at a site, of one neuron or the norm of all (neuron None), and the attention there.

    pattern [head, to, from] of that layer; None where its attention has no pattern.
    """

    prompt: int
    tokens: tuple[str, ...]
    site: Site
    neuron: int | None
    values: np.ndarray
    layer: int
    pattern: np.ndarray | None

    @property
    def name(self) -> str:
        """What the values are."""
        return f"{self.site.short} {'norm' if self.neuron is None else f'neuron {self.neuron}'}"


class Tokens(Shown):
    """One prompt token by token, drawn by circuitsvis, which is loaded when it is first asked for. See Panel."""

    def __init__(self, session: Session) -> None:
        self.session, self.seen = session, None
        self.seen: Seen | None
        self.frame = Frame("Tokens", session, self.code)
        most = len(session.prompts) - 1
        self.prompt = widgets.BoundedIntText(max=most, description="prompt", layout={"width": "130px"})
        self.show_button = widgets.Button(description="Show", button_style="primary", layout={"width": "80px"})
        self.about, self.looks = Note(kind="hint"), Note(kind="hint")
        self.values, self.heads = Circuits(), Circuits()
        handler = self.frame.handler
        self.show_button.on_click(handler(lambda _: self.frame.start(self._steps, self._told)))
        self.prompt.observe(handler(lambda _: self._again()), "value")
        box = widgets.HBox([self.show_button, self.prompt])
        snug(box)
        self.frame.fill(self.about, self.values, self.looks, self.heads, head=[box])
        self.frame.watch(lambda _: self._again(), "selection")

    @property
    def state(self) -> dict[str, Any]:
        """See Panel."""
        seen = self.seen
        shown = None if seen is None else {"prompt": seen.prompt, "values": seen.values.tolist(), "of": seen.name}
        return {"prompt": self.prompt.value, "shown": shown}

    def run(self) -> None:
        """See Panel."""
        self.frame.run(self._steps, self._told)

    def _again(self) -> None:
        """Follow a change, once something is shown."""
        if self.seen is not None:
            self.frame.start(self._steps, self._told)

    def _steps(self) -> Iterator[Seen]:
        number, site = int(self.prompt.value), site_of(self.session)
        one, chosen = self.session.prompts[number : number + 1], self.session.shared.selection.neurons
        rows, layer = self.session.mean_activations(one, site), site.layer or 0
        neuron = chosen[0] if chosen else None
        values = np.linalg.norm(rows, axis=1) if neuron is None else rows[:, neuron]
        tokens = tuple(as_words([name]) for name in self.session.agent.decode(one.tokens)[0])
        yield Seen(number, tokens, site, neuron, values, layer, self.session.pattern(one, layer))

    def _told(self, job: Job) -> None:
        if not job.events:
            return
        seen = self.seen = job.events[-1]
        colours = {"negativeColor": LIGHT.blue, "positiveColor": LIGHT.orange}
        tokens = [f"{token} " for token in seen.tokens]
        self.about.text = f"{seen.name} on prompt {seen.prompt}, token by token"
        self.values.show("ColoredTokens", tokens=tokens, values=seen.values.tolist(), **colours)
        self.looks.text = f"Attention of layer {seen.layer}: choose a head"
        if seen.pattern is None:
            self.looks.text = f"The attention of layer {seen.layer} has no pattern to look at."
            self.heads.show("")
            return
        names = [f"L{seen.layer}H{head}" for head in range(len(seen.pattern))]
        props = {"tokens": tokens, "attention": seen.pattern.tolist(), "attentionHeadNames": names}
        self.heads.show("AttentionHeads", **props, maskUpperTri=True, **colours)

    def code(self) -> str:
        """See Panel."""
        seen = self.seen
        if seen is None:
            return self.session.code("# nothing is shown yet")
        values = "activations.norm(dim=-1)" if seen.neuron is None else f"activations[:, {seen.neuron}]"
        hook = f'("blocks.{seen.layer}.attn.hook_pattern", lambda x, hook: patterns.append(x.detach()))'
        return self.session.code(
            f"one = prompts[{seen.prompt} : {seen.prompt + 1}]",
            f'activations = agent.activations(one, "{seen.site.short}")[0]  # position, width',
            f"values = {values}",
            "patterns = []  # prompt, head, to, from",
            f"with agent.hooked([{hook}]):",
            "    agent.bridge(one.tokens.to(agent.device))",
        )

    def sections(self) -> list[Section]:
        """See Panel: the values, and for each head where it looks most from each answer."""
        seen = self.seen
        if seen is None:
            return [Text("Nothing is shown yet.")]
        positions = range(len(seen.tokens))
        frame = pd.DataFrame({"token": seen.tokens, seen.name: seen.values.astype(float)}, index=list(positions))
        parts: list[Section] = [StillTable(frame, f"Prompt {seen.prompt}", 3)]
        if seen.pattern is not None:
            looks = {f"L{seen.layer}H{h}": [_most(row) for row in head] for h, head in enumerate(seen.pattern)}
            parts.append(
                StillTable(pd.DataFrame(looks, index=list(positions)), "Where each head looks most, and how much")
            )
        return parts


def _most(row: np.ndarray) -> str:
    return f"{int(row.argmax())} ({row.max():.2f})"
