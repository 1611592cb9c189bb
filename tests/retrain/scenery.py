"""What the tests of baselines run: short recipes for all shapes of models, reports, and weights bit for bit."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tests.hugging_face import agent_of, prompts_for
from tests.toys import some_prompts, toy
from workbench import ANP, Ablation, Agent, Edit, FinePruning, InputAT, Prompts, SwitchReport, WeightNoise, retrain
from workbench.report import Finding
from workbench.retrain import Recipe, Step
from workbench.retrain.protocol import Batch, Subject

SHORT: dict[str, Any] = {"steps": 4, "batch": 8, "warmup": 0}
RECIPES: tuple[Recipe, ...] = (
    WeightNoise(**SHORT),
    InputAT(positions=(1, 3), candidates=4, **SHORT),
    ANP(lr=0.5, inner_steps=2, **SHORT),
    FinePruning(drop=0.5, **SHORT),
    Ablation(**SHORT),
)
SHAPES: dict[str, dict[str, Any]] = {
    "plain": {},
    "RMS gated rotary": {
        "normalization_type": "RMS",
        "gated_mlp": True,
        "act_fn": "silu",
        "positional_embedding_type": "rotary",
    },
    "no norm": {"normalization_type": None, "gain": 1.0},
}


def bits(agent: Agent) -> dict[str, Tensor]:
    """A copy of every weight."""
    return {name: weight.detach().clone() for name, weight in agent.weights().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Whether all weights are equal bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def reported(*edits: Edit, score: float = 0.95) -> SwitchReport:
    """A report whose one finding is these edits."""
    found = Finding(edits, score=score, rho=0.5, goal_met=True, control=0.0, surgeon="by hand", agent="toy")
    return SwitchReport("toy", (found,), {})


NEURONS = reported(Edit.neuron("blocks.1.mlp.hook_post", 7, 2.0, 40))


def steps(recipe: Recipe, agent: Agent | None = None, prompts: Prompts | None = None, **options: Any) -> Sequence[Step]:
    """All steps of a run, each with its weights still to be asked for."""
    return list(running(recipe, agent, prompts, **options))


def running(recipe: Recipe, agent: Agent | None = None, prompts: Prompts | None = None, **options: Any) -> Any:
    """A run; an ablation is told of neuron 7 of layer 1."""
    given: dict[str, Any] = {"report": NEURONS} | options
    return retrain(agent or toy(), prompts or some_prompts(24), recipe, **given)


def pretrained(architecture: str) -> tuple[Agent, Prompts]:
    """A tiny model of an architecture, and prompts for it."""
    return agent_of(architecture), prompts_for()


def subject_of(agent: Agent, prompts: Prompts | None = None, report: SwitchReport | None = None) -> Subject:
    """An Agent to be retrained: a copy, and itself."""
    return Subject(agent.copy(), agent, prompts or some_prompts(24), report)


def batch_of(prompts: Prompts) -> Batch:
    """All prompts in one batch."""
    return Batch(prompts.tokens, prompts.answers)
