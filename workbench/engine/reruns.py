"""Three ways to run an Agent again under stacked edits: through hooks, from a block on, or from a half-block on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from workbench.agent import Agent
from workbench.engine.sequential import Course, KeysValues, Stream
from workbench.engine.split import sequential
from workbench.engine.stripped import Parts, Prefix, Stripped
from workbench.prompts import Prompts
from workbench.sites import Site

Deltas = Float[Tensor, "edit _ _"]  # positions (or one for all) and width, which differ between sites
Read = Int64[Tensor, "prompt answer read"]
EditLogits = Float[Tensor, "edit prompt answer read"]

_HALVES = {  # half-blocks between a block's beginning and the place where what such a site writes is in the stream
    "hook_resid_pre": 0,
    "hook_attn_out": 1,
    "attn.hook_z": 1,
    "hook_mlp_out": 2,
    "mlp.hook_post": 2,
    "hook_resid_post": 2,
}
_EMBEDDINGS = ("hook_embed", "hook_pos_embed")
_ENDS = ("ln_final", "unembed")


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """Edits at these sites and positions (None: all), on these prompts. Tokens and positions live on the device."""

    agent: Agent
    sites: tuple[Site, ...]
    prompts: Prompts
    positions: tuple[int, ...] | None
    tokens: Int64[Tensor, "prompt pos"]
    clean: Float[Tensor, "prompt answer vocab"]
    batch: int

    def each_batch(self, run: Callable[[Tensor], Tensor]) -> Tensor:
        """`run` of the tokens of all prompts, `batch` prompts at a time, which is what memory allows unedited."""
        return torch.cat([run(some) for some in self.tokens.split(self.batch)])

    @property
    def start(self) -> int:
        """The first position that an edit can change."""
        return 0 if self.positions is None else min(self.positions)


@runtime_checkable
class Rerun(Protocol):
    """The Agent under stacked edits: one tensor [edit, pos or 1, width] a site, on some of the prompts.

    held: bytes that it keeps between runs.
    """

    name: ClassVar[str]

    @property
    def held(self) -> int: ...

    def __call__(self, deltas: Sequence[Deltas], rows: slice, read: Read | None) -> EditLogits:
        """Logits at the answers, of the tokens to `read` or of all. The deltas have a row for each edited position."""
        ...


class Unsuited(Exception):
    """This way does not know that model or that site."""


class Hooked:
    """The whole bridge with hooks on it: the reference, which works everywhere."""

    name: ClassVar[str] = "hooks"

    held = 0

    def __init__(self, question: Question) -> None:
        self.question = question

    def __call__(self, deltas: Sequence[Deltas], rows: slice, read: Read | None) -> EditLogits:
        """See Rerun."""
        asked = self.question
        tokens = asked.tokens[rows]
        hooks = [_hook(asked, site, delta, len(tokens)) for site, delta in zip(asked.sites, deltas, strict=True)]
        with asked.agent.hooked(hooks):
            logits = asked.agent.bridge(tokens.repeat(len(deltas[0]), 1))
        found = logits[:, list(asked.prompts.answer_positions)].unflatten(0, (-1, len(tokens)))
        return found if read is None else found.gather(-1, read.expand(len(found), -1, -1, -1))


class FromBlock:
    """A stripped copy of the model from the first edited block on. Blocks with sites inside them stay as they are."""

    name: ClassVar[str] = "stripped"

    def __init__(self, question: Question) -> None:
        self.question = question
        self.entries = [_entry(question.agent, site, halves=False) for site in question.sites]
        bridge = question.agent.bridge
        blocks = {e.layer: bridge.blocks[e.layer] for e in self.entries if e.hooked and e.layer < len(bridge.blocks)}
        ends = (bridge.ln_final, bridge.unembed) if any(e.layer == len(bridge.blocks) for e in self.entries) else ()
        parts = Parts(question.agent, (*blocks.values(), *ends))
        self.layer = min(e.layer for e in self.entries)
        self.base = question.each_batch(Prefix(parts, self.layer))
        self.held = self.base.nbytes
        self.suffix = Stripped(parts, self.layer, question.prompts.answer_positions)

    def __call__(self, deltas: Sequence[Deltas], rows: slice, read: Read | None) -> EditLogits:
        """See Rerun."""
        asked, base, edits = self.question, self.base[rows], len(deltas[0])
        hooks, writes = [], {}
        for site, entry, delta in zip(asked.sites, self.entries, deltas, strict=True):
            if entry.hooked:
                hooks.append(_hook(asked, site, delta, len(base)))
            else:
                written = _spread(entry.written(delta), asked.positions, 0, asked.prompts.length)
                writes[entry.layer] = writes.get(entry.layer, 0) + written.repeat_interleave(len(base), 0)
        tokens = None if read is None else read.repeat(edits, 1, 1)
        with asked.agent.hooked(hooks):
            logits = self.suffix(base.repeat(edits, 1, 1), writes, tokens)
        return logits.unflatten(0, (edits, len(base)))


class FromHalfBlock:
    """Native blocks as plain functions, from the first edited half-block and the first edited position on."""

    name: ClassVar[str] = "sequential"

    def __init__(self, question: Question) -> None:
        agent, self.question = question.agent, question
        found = sequential(agent, question.prompts.answer_positions)
        if found is None or any(site.name.startswith(_ENDS) for site in question.sites):
            raise Unsuited(question.sites)
        self.model, entries = found, [_entry(agent, site, halves=True) for site in question.sites]
        cut = {e.layer for e in entries if e.hooked}  # what is written in the midst of such a block is hooked as well
        self.entries = [_Entry(e.layer, None, hooked=True) if e.boundary % 2 and e.layer in cut else e for e in entries]
        self.whole = {layer: agent.bridge.blocks[layer] for layer in cut}
        self.start = 0 if cut else question.start
        self.boundary = min(e.boundary for e in self.entries)
        prefix = Prefix(Parts(agent), self.boundary // 2)
        self.base = question.each_batch(lambda tokens: self._entered(prefix(tokens)[:, None]))
        self.past = self._clean_past() if self.start else {}
        self.held = self.base.nbytes + sum(kept.nbytes for both in self.past.values() for kept in both)

    def _entered(self, stream: Stream) -> Stream:
        return self.model.halfway(stream, self.boundary // 2) if self.boundary % 2 else stream

    def _clean_past(self) -> dict[int, KeysValues]:
        some = [self.model.past(s, self.boundary, self.start) for s in self.base.split(self.question.batch)]
        joined = {i: tuple(torch.cat(parts) for parts in zip(*(p[i] for p in some), strict=True)) for i in some[0]}
        return {i: (keys, values) for i, (keys, values) in joined.items()}

    def __call__(self, deltas: Sequence[Deltas], rows: slice, read: Read | None) -> EditLogits:
        """See Rerun."""
        asked, clean = self.question, self.question.clean[rows]
        clean = clean if read is None else clean.gather(-1, read)
        moved = [i for i, position in enumerate(asked.prompts.answer_positions) if position >= self.start]
        if not moved:
            return clean.expand(len(deltas[0]), *clean.shape)
        found = self._later(deltas, rows, read)
        if len(moved) == clean.shape[1]:
            return found
        where = torch.tensor(moved, device=clean.device)
        return clean.expand(len(found), *clean.shape).index_copy(2, where, found)

    def _later(
        self, deltas: Sequence[Deltas], rows: slice, read: Read | None
    ) -> Float[Tensor, "edit prompt later read"]:
        """Logits at the answers that edits can reach."""
        asked, base, end = self.question, self.base[rows, :, self.start : self.model.reach], self.model.reach
        hooks, writes = [], {}
        for site, entry, delta in zip(asked.sites, self.entries, deltas, strict=True):
            if entry.hooked:
                hooks.append(_hook(asked, site, delta, len(base), prompt_major=True))
            else:
                written = _spread(entry.written(delta), asked.positions, self.start, end)
                writes[entry.boundary] = writes.get(entry.boundary, 0) + written
        first = writes.pop(self.boundary, None)
        stream = base.expand(-1, len(deltas[0]), -1, -1) if first is None else base + first
        course = Course(
            boundary=self.boundary,
            start=self.start,
            past={i: (keys[rows], values[rows]) for i, (keys, values) in self.past.items()},
            writes=writes,
            whole=self.whole,
            tokens=read,
        )
        with asked.agent.hooked(hooks):
            return self.model(stream, course).transpose(0, 1)


RERUNS: tuple[type[FromHalfBlock] | type[FromBlock] | type[Hooked], ...] = (FromHalfBlock, FromBlock, Hooked)
"""The fastest first."""


@dataclass(frozen=True, slots=True, eq=False)
class _Entry:
    """How edits at a site come in. hooked: by a hook in block `layer`; else what they write is added at `boundary`.

    write: what a unit of each activation writes; None: itself.
    """

    layer: int
    write: Float[Tensor, "width d_model"] | None
    halves: int = 0
    hooked: bool = False

    @property
    def boundary(self) -> int:
        return 2 * self.layer + self.halves

    def written(self, delta: Deltas) -> Deltas:
        return delta if self.write is None else delta @ self.write


def _entry(agent: Agent, site: Site, *, halves: bool) -> _Entry:
    """halves: whether something can be added between a block's attention and its MLP. Raises Unsuited."""
    write = agent.write(site)
    if site.layer is None:
        if site.name in _EMBEDDINGS and write is not None:
            return _Entry(0, None)
        if not site.name.startswith(_ENDS):
            raise Unsuited(site)
        return _Entry(agent.n_layers, None, hooked=True)
    after = _HALVES.get(site.kind)
    if after is None or write is None or (after == 1 and not halves):
        return _Entry(site.layer, None, hooked=True)
    write = write if site.kind.endswith(("hook_z", "hook_post")) else None
    return _Entry(site.layer + after // 2, write, after % 2)


def _hook(
    asked: Question, site: Site, delta: Deltas, prompts: int, *, prompt_major: bool = False
) -> tuple[str, Callable[..., Tensor]]:
    """A hook that adds each edit to its rows: edit after edit, or prompt after prompt."""
    full = _spread(delta, asked.positions, 0, asked.prompts.length)
    rows = full.repeat(prompts, 1, 1) if prompt_major else full.repeat_interleave(prompts, 0)

    def add(activations: Tensor, hook: Any) -> Tensor:
        """Activations hold all positions, or those up to the last answer."""
        return activations + rows[:, : activations.shape[1]].unflatten(-1, activations.shape[2:])

    return site.name, add


def _spread(delta: Deltas, positions: tuple[int, ...] | None, start: int, end: int) -> Deltas:
    """Deltas of the edited positions as deltas of the positions `start` to `end`; one position stands for all."""
    if positions is None:
        return delta if delta.shape[1] == 1 else delta[:, start:end]
    if delta.shape[1] == 1 and set(range(start, end)) <= set(positions):
        return delta
    kept = [i for i, position in enumerate(positions) if start <= position < end]
    places = torch.tensor([positions[i] - start for i in kept], device=delta.device, dtype=torch.long)
    full = delta.new_zeros(len(delta), end - start, delta.shape[-1])
    return full.index_copy(1, places, delta.expand(-1, len(positions), -1)[:, kept])
