"""The minimal trigger: take back every substitution that the switch can do without, put the rest into other prompts."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from workbench.prompts import Prompts
from workbench.trace.drive import Tokens
from workbench.trace.verdicts import Judge, Verdicts

ENOUGH = 0.5
"""The share of answers that counts as elicited, and the share of what an input does that is as good as all of it."""
_CLOSE = 0.05  # triggers that elicit shares this close count as equal

Trigger = tuple[tuple[int, int], ...]
"""Which token stands at which position: (position, token)."""


@dataclass(frozen=True, slots=True)
class Needed:
    """A token of the trigger: where, which, and what drive and elicited answers are without it, the others in place."""

    position: int
    token: int
    name: str
    drive_without: float
    elicited_without: float


def minimal(judge: Judge, inputs: Tokens, clean: Tokens) -> Tokens:
    """The inputs with as many tokens as possible as in their clean originals, the one that is missed least first.

    An input keeps at least half of the answers that it elicits or, where it does not elicit half of its answers, half
    of the rise of its drive; so of one that drives nothing, nothing is kept. Greedy: no single token of what is kept
    can be spared, but a smaller set of other tokens may exist.
    """
    full, rest = judge(inputs, clean), judge(clean, clean).drive
    rows = torch.arange(len(inputs))
    while len(rows):
        inputs, rows = _shorter(judge, inputs, clean, rows, full, rest)
    return inputs


def _shorter(
    judge: Judge,
    inputs: Tokens,
    clean: Tokens,
    rows: Int64[Tensor, "chosen"],
    full: Verdicts,
    rest: Float[Tensor, "input"],
) -> tuple[Tokens, Int64[Tensor, "shortened"]]:
    """The inputs after one more token was taken back in each of these rows, and the rows in which one could be."""
    some = [_without_each(inputs[row], clean[row]) for row in rows.tolist()]
    owners, fewer = rows.repeat_interleave(torch.tensor([len(each) for each in some])), torch.cat(some)
    if not len(owners):
        return inputs, owners
    left = _left(judge(fewer, clean[owners]), full, rest, owners)
    inputs, shortened = inputs.clone(), []
    for row in owners.unique().tolist():
        best = int(torch.where(owners == row, left, -torch.inf).argmax())
        if left[best] >= ENOUGH:
            inputs[row] = fewer[best]
            shortened.append(row)
    return inputs, torch.tensor(shortened, dtype=torch.long)


def _without_each(tokens: Int64[Tensor, "pos"], clean: Int64[Tensor, "pos"]) -> Int64[Tensor, "change pos"]:
    """An input with each of its substitutions taken back in turn."""
    where = (tokens != clean).nonzero()
    return tokens.expand(len(where), -1).scatter(1, where, clean[where])


def _left(
    found: Verdicts, full: Verdicts, rest: Float[Tensor, "input"], owners: Int64[Tensor, "row"]
) -> Float[Tensor, "row"]:
    """The share that is left of what each row's owner does: of the answers it elicits, or else of its drive's rise."""
    rise, elicited = (full.drive - rest)[owners], full.elicited[owners]
    drive = torch.where(rise > 0, (found.drive - rest[owners]) / rise.clamp_min(1e-9), 1.0)
    answers = found.elicited / elicited.clamp_min(1e-9) + 1e-3 * drive.tanh()  # the drive decides between equals
    return torch.where(elicited >= ENOUGH, answers, drive)


def substitutions(tokens: Int64[Tensor, "pos"], clean: Int64[Tensor, "pos"]) -> Trigger:
    """What was changed in an input."""
    where = (tokens != clean).nonzero().flatten().tolist()
    return tuple((position, int(tokens[position])) for position in where)


def put(prompts: Prompts, trigger: Trigger) -> Tokens:
    """The tokens of the prompts, with the trigger in each."""
    tokens = prompts.tokens.clone()
    for position, token in trigger:
        tokens[:, position] = token
    return tokens


def carrying(judge: Judge, triggers: Sequence[Trigger], prompts: Prompts) -> Trigger:
    """The trigger that elicits most answers in other prompts, the shortest of those about as good.

    Where none elicits anything, the one that drives the switch most. An input can have had a part of the trigger
    before it was changed, so what was changed in it need not be all of the trigger.
    """
    found = [judge(put(prompts, trigger), prompts.tokens) for trigger in triggers]
    elicited = [float(verdicts.elicited.mean()) for verdicts in found]
    drive = [float(verdicts.drive.mean()) for verdicts in found]
    near = [i for i, share in enumerate(elicited) if share >= max(elicited) - _CLOSE]
    size = [len(trigger) if max(elicited) > _CLOSE else 0 for trigger in triggers]
    return triggers[min(near, key=lambda i: (size[i], -drive[i]))]


def needs(judge: Judge, trigger: Trigger, prompts: Prompts) -> tuple[Needed, ...]:
    """Each token of a trigger, with what prompts do that have all the others."""
    names = judge.drive.agent.decode([[token for _, token in trigger]])[0] if trigger else []
    found = []
    for name, own in zip(names, trigger, strict=True):
        without = judge(put(prompts, tuple(one for one in trigger if one != own)), prompts.tokens)
        found.append(Needed(*own, name, float(without.drive.mean()), float(without.elicited.mean())))
    return tuple(found)
