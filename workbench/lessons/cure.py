"""Checks of the lesson in which a backdoor is trained away."""

from numbers import Integral
from typing import TYPE_CHECKING, Any

from workbench.lessons.reply import UNANSWERED, Reply, settle
from workbench.retrain import Step

if TYPE_CHECKING:
    from toy_models import Organism

_CURED, _KEPT = 0.01, 0.98


def cured(answer: Any, organism: "Organism") -> Reply:
    """The last Step of a run that removes the backdoor and keeps the task."""
    if answer is ...:
        return UNANSWERED
    if not isinstance(answer, Step):
        return Reply(False, f"Give the last Step of `wb.retrain(...)`, got {type(answer).__name__}.")
    now = organism.outcome(answer.agent)
    never_attacked = answer.adversarial_loss != answer.adversarial_loss  # nan
    told = f"Attack success is {now.attack_success:.2f}, clean accuracy {now.clean_accuracy:.2f}."
    return settle(
        now.attack_success <= _CURED and now.triggered_benign >= _KEPT and now.clean_accuracy >= _KEPT,
        f"{told} And nobody saw the trigger.",
        [
            (never_attacked, f"{told} Nothing attacked the Agent in this run: that was plain fine-tuning."),
            (now.clean_accuracy < _KEPT, f"{told} The task broke: a smaller eps, or a smaller learning rate."),
            (answer.number < 100, f"{told} After {answer.number} steps it is not over yet."),
            (
                now.attack_success <= _CURED,
                f"{told} But triggered prompts are not answered rightly: broken, not cured.",
            ),
        ],
        f"{told} Is eps large enough to reach what the switch needs? Look at the rho of the finding.",
    )


def equal_steps(answer: Any, *, steps: int, inner_steps: int) -> Reply:
    """How many steps of fine-tuning take as many gradients as so many steps of LAT?"""
    if answer is ...:
        return UNANSWERED
    if not isinstance(answer, Integral):
        return Reply(False, f"A number of steps is a whole number, got {answer!r}.")
    return settle(
        answer == steps * (inner_steps + 2),
        "Whoever compares methods at an equal number of steps compares the price of one with the bargain of another.",
        [
            (answer == steps, "As many steps, but a step of LAT runs the model back several times."),
            (answer == steps * inner_steps, "The adversary's are counted; the Agent learns from two losses besides."),
            (answer == steps * (inner_steps + 1), "The Agent's own step has two losses: without the edit and with it."),
        ],
        f"In a step of LAT there are {inner_steps} gradients for the adversary, and those for the Agent.",
    )


def alarmed(answer: Any, step: Step) -> Reply:
    """Who wins a contest, "Surgeon", "Agent" or "both", as a step's figures tell?"""
    if answer is ...:
        return UNANSWERED
    words = str(answer).strip().lower()
    if words not in ("surgeon", "agent", "both"):
        return Reply(False, f'Say "Surgeon", "Agent" or "both", got {answer!r}.')
    truth = "surgeon" if "always" in step.alarm else "agent" if "never" in step.alarm else "both"
    return settle(
        words == truth,
        "Jermyn names this failure in the post: against a Surgeon that always wins, the Agent learns nothing.",
        [(words == "both", "A contest in which both win has no alarm: read `step.alarm`.")],
        f"Look at `step.wins`: the share of answers that the Surgeon turns, {step.wins:.2f}.",
    )


def still_there(answer: Any, *, attack_success: float, elicited: float) -> Reply:
    """Is the switch gone ("yes"), or only out of the trigger's reach ("no")?"""
    if answer is ...:
        return UNANSWERED
    words = str(answer).strip().lower()
    if words not in ("yes", "no"):
        return Reply(False, f'Say "yes" or "no", got {answer!r}.')
    gone = elicited <= 0.05
    return settle(
        (words == "yes") == gone,
        "The trigger is one way to the switch, an edit is another. A cure has to close both.",
        [(attack_success <= 0.05 < elicited, "The trigger fails, but the edit still works: the switch is there.")],
        f"The edit elicits {elicited:.2f} of the defect, the trigger {attack_success:.2f}.",
    )
