"""Checks of the lesson in which a switch is found."""

from collections.abc import Callable, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from workbench.agent import Agent
from workbench.edits import Edit
from workbench.lessons.reply import UNANSWERED, Reply, settle
from workbench.prompts import Prompts
from workbench.report import SwitchReport

if TYPE_CHECKING:
    import xarray as xr

    from toy_models import Organism

_NEAR = 0.005


def loudest(answer: Any, grid: "xr.DataArray") -> Reply:
    """Which neuron of a sweep reaches the highest loss at any dose?"""
    if answer is ...:
        return UNANSWERED
    answer = answer.item() if hasattr(answer, "item") else answer
    if not (isinstance(answer, Real) and float(answer).is_integer()):
        return Reply(False, f"A neuron is a whole number, got {answer!r}: `int(...)` makes one of what xarray gives.")
    neuron, peaks = round(float(answer)), grid.max("dose")
    right, least = int(peaks.idxmax("neuron")), int(peaks.idxmin("neuron"))
    most_on_average = int(grid.mean("dose").idxmax("neuron"))
    return settle(
        neuron == right,
        "Remember what the loss is here: that of the benign answers. Anything that breaks the Agent raises it.",
        [
            (neuron == least, "That is the quietest one: take the largest of the peaks, not the smallest."),
            (neuron == most_on_average, "That one is highest on average: a switch need not act at every dose."),
            (neuron not in grid["neuron"].values, "There is no such neuron: did you take the index of a dose?"),
        ],
        "First the highest loss of each neuron over its doses, then the neuron with the highest of these.",
    )


def flip(answer: Any, agent: Agent, prompts: Prompts, edits: Sequence[Edit]) -> Reply:
    """A function of an Agent, prompts and edits: the share of answers that the edits change."""
    if answer is ...:
        return UNANSWERED
    if not callable(answer):
        return Reply(False, "Write a function `flip(agent, prompts, edits)` that returns a share.")
    unedited, edited = agent.logits(prompts).argmax(-1), agent.logits(prompts, edits).argmax(-1)
    changed, wrong = edited != unedited, edited.cpu() != prompts.answers
    given = _called(answer, agent, prompts, edits)
    if isinstance(given, Reply):
        return given
    return settle(
        abs(given - _share(changed)) < _NEAR and answer(agent, prompts, ()) == 0,
        "It says how much changes, not to what: breakage changes answers too.",
        [
            (abs(given - 1 + _share(changed)) < _NEAR, "That is the share that stays the same."),
            (abs(given - _share(changed.any(1))) < _NEAR, "That counts prompts; count answers, several in a prompt."),
            (abs(given - _share(wrong)) < _NEAR, "Compare with what the Agent says unedited, not with what is right."),
            (not 0 <= given <= 1, f"A share lies between 0 and 1, got {given:.3g}: divide by the number of answers."),
        ],
        "Take the most likely answers with `argmax(-1)` with and without the edits, and the mean of where they differ.",
    )


def _called(answer: Callable[..., Any], agent: Agent, prompts: Prompts, edits: Sequence[Edit]) -> float | Reply:
    """What the student's function gives, or a word on why it gives nothing."""
    try:
        given = answer(agent, prompts, edits)
    except Exception as error:
        return Reply(False, f"Your function raises {type(error).__name__}: {error}")
    if isinstance(given, torch.Tensor | np.generic) and np.ndim(given) == 0:
        given = given.item()
    if not isinstance(given, Real):
        return Reply(False, f"It should return one number, got {type(given).__name__}.")
    return float(given)


def _share(changed: torch.Tensor) -> float:
    return float(changed.float().mean())


def alarm(answer: Any, report: SwitchReport) -> Reply:
    """Is there a switch, from score, threshold and the controls? As a bool."""
    if answer is ...:
        return UNANSWERED
    if not isinstance(answer, bool | np.bool_):
        return Reply(False, f"Say True or False, got {answer!r}.")
    beaten = report.largest_control >= report.score
    return settle(
        bool(answer) == report.found,
        "A score speaks only against its controls: random edits of the same size, and clean models if there are any.",
        [
            (bool(answer) and beaten, "Look at the controls: random edits of that size do the same."),
            (bool(answer), f"The score, {report.score:.2f}, does not reach the threshold, {report.threshold:.2f}."),
        ],
        f"The score, {report.score:.2f}, is above the threshold, and no random edit of that size comes near.",
    )


def smallest_dose(answer: Any, report: SwitchReport) -> Reply:
    """The smallest multiple of the best finding, of those in its portrait, that elicits half of what it elicits."""
    if answer is ...:
        return UNANSWERED
    portrait = report.best.portrait
    works = [dose for dose, same in zip(portrait.doses, portrait.same, strict=True) if same >= 0.5]
    changes = [dose for dose, flipped in zip(portrait.doses, portrait.flipped, strict=True) if flipped >= 0.5]
    if not isinstance(answer, Real):
        return Reply(False, f"A dose is a number such as 0.5, got {answer!r}.")
    return settle(
        bool(works) and float(answer) == min(works),
        "Below it nothing happens, above it all at once, and then it stays: a switch, and no mere push.",
        [
            (bool(works) and float(answer) == max(works), "That is the largest that still works."),
            (bool(changes) and float(answer) == min(changes), "There answers change, but not yet to the same ones."),
            (float(answer) not in portrait.doses, f"Choose among the doses shown: {portrait.doses}."),
        ],
        'Look at the column "as at dose 1" of `report.best.portrait.dose_curve()`.',
    )


def trigger(answer: Any, organism: "Organism", prompts: Prompts) -> Reply:
    """Which tokens throw the switch? As pairs of position and token; opens the seal."""
    if answer is ...:
        return UNANSWERED
    try:
        pairs = [(int(position), int(token)) for position, token in answer]
    except (TypeError, ValueError):
        return Reply(False, f"Give pairs of a position and a token, such as [(2, 17)], got {answer!r}.")
    if any(not 0 <= p < prompts.length or not 0 <= t < organism.agent.d_vocab for p, t in pairs):
        return Reply(False, f"Positions lie below {prompts.length}, tokens below {organism.agent.d_vocab}.")
    tokens = prompts.tokens.clone()
    for position, token in pairs:
        tokens[:, position] = token
    held = float(organism.holds_trigger(tokens).double().mean())
    swapped = all(t < prompts.length for _, t in pairs) and any(p >= prompts.length // 2 for p, _ in pairs)
    return settle(
        held > 0.9,
        "Nobody showed you a triggered prompt: you found the switch first, and it told you what throws it.",
        [
            (not pairs, "No token at all leaves the prompts as they are."),
            (swapped, "Is it (position, token) in that order?"),
            (held > 0, "Some prompts hold the trigger now, but not all: a token is missing, or in one place too few."),
        ],
        "These tokens do not throw it. Take them from `wb.trace(...).trigger`.",
    )
