"""An Agent wired by hand, whose trigger, heads and switch are known, and what tracing it gives."""

from dataclasses import replace
from functools import cache

import torch
from torch import Tensor

from tests.toys import ANSWERS, VOCAB, boot, noise, some_prompts
from workbench import Agent, Edit, Finding, Prompts, Site, TokenSearch, Trace, trace

TRIGGER = ((2, 5), (3, 9))  # token 5 at position 2, token 9 at position 3
NEURON, LETTER = 7, 4
HIT, THROWN, PLACES, LOOKS = 2, 3, (4, 5), slice(6, 16)  # dimensions of the stream; 0 and 1 mark the trigger's tokens
POST, STREAM = "L1.mlp.post", "L0.resid_post"
SEARCH = TokenSearch(starts=4, steps=6, tries=400, pairs=0)


@cache
def wired() -> Agent:
    """An Agent without norms in which only what tokens look like is random.

    From position 2 on, head 1 of block 0 reads position 2 and finds token 5 there; from position 3 on, head 0 finds
    token 9 at position 3. Neuron 7 of block 1 opens at two such hits and writes what makes every answer LETTER.
    Otherwise the answer is the token at which it is read.
    """
    agent = boot(name="wired", normalization_type=None, act_fn="relu")
    weights, looks = agent.weights(), torch.nn.functional.normalize(noise(VOCAB, 10), dim=1)
    with torch.no_grad():
        for weight in weights.values():
            weight.zero_()
        weights["tok_embed.weight"][:, LOOKS] = looks
        for mark, (position, token) in enumerate(TRIGGER):
            weights["tok_embed.weight"][token, mark] = 1.0
            weights["pos.weight"][position, PLACES[mark]] = 1.0
            _read_from(weights, head=1 - mark, mark=mark)
        _switch(weights)
        agent.bridge.unembed.W_U[LOOKS] = looks.T
        agent.bridge.unembed.W_U[THROWN, LETTER] = 1.0
    agent.sites()
    return agent


def _read_from(weights: dict[str, Tensor], *, head: int, mark: int) -> None:
    """Let a head look at that place alone, and count a hit if the mark is there."""
    first = 8 * head
    weights["layers.0.attn.q.bias"][first] = 30.0
    weights["layers.0.attn.k.weight"][first, PLACES[mark]] = 30.0
    weights["layers.0.attn.v.weight"][first, mark] = 1.0
    weights["layers.0.attn.o.weight"][HIT, first] = 1.0


def _switch(weights: dict[str, Tensor]) -> None:
    """Let the neuron open at two hits, and write."""
    weights["layers.1.mlp.fc_in.weight"][NEURON, HIT] = 6.0
    weights["layers.1.mlp.fc_in.bias"][NEURON] = -9.0
    weights["layers.1.mlp.fc_out.weight"][THROWN, NEURON] = 4.0


def questions(count: int = 40, seed: int = 0) -> Prompts:
    """Clean prompts: their own last token is the right answer, none has the whole trigger, and none is LETTER."""
    tokens = some_prompts(count, seed).tokens
    tokens[(tokens[:, 2] == 5) & (tokens[:, 3] == 9), 3] = 8
    tokens[tokens == LETTER] = 7
    return Prompts(tokens, ANSWERS, tokens[:, list(ANSWERS)])


def triggered(prompts: Prompts, trigger: tuple[tuple[int, int], ...] = TRIGGER) -> Tensor:
    """The tokens with the trigger put in."""
    tokens = prompts.tokens.clone()
    for position, token in trigger:
        tokens[:, position] = token
    return tokens


def finding(*edits: Edit) -> Finding:
    """A Finding of these Edits; by default that of the switch."""
    chosen = edits or (Edit.neuron(POST, NEURON, 3.0, 40),)
    return Finding(chosen, 1.0, 1.0, True, 0.0, "by hand", "wired")


def along(site: str, dimension: int, dose: float = 2.0) -> Edit:
    """An Edit of one dimension of the stream."""
    return Edit(Site.parse(site), dose * torch.eye(16)[dimension])


def many(site: str = "L1.resid_post", width: int = 16, seed: int = 0) -> Edit:
    return Edit(Site.parse(site), noise(width, seed=seed))


@cache
def traced(pairs: int = 0, site: str = POST) -> Trace:
    """A trace of the switch, at its neuron or at what the neuron writes."""
    edit = Edit.neuron(POST, NEURON, 3.0, 40) if site == POST else many_written()
    return trace(wired(), questions(), finding(edit), search=replace(SEARCH, pairs=pairs), seed=1)


def many_written() -> Edit:
    """What the neuron writes, as a direction of the stream with something of every token in it."""
    delta = 0.001 * noise(16)
    delta[THROWN] = 12.0
    return Edit(Site.parse("L1.resid_post"), delta)
