"""What a hunt and latent adversarial training cost a step, beside plain training steps of the whole bridge."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.agent import Agent
from workbench.bench.speed.clock import Timing, interleaved
from workbench.bench.speed.row import Row
from workbench.bench.speed.subjects import Shape, Subject, subject
from workbench.budgets import L2Ball
from workbench.engine import View
from workbench.goals import HiddenBehaviour
from workbench.prompts import Prompts
from workbench.retrain import LAT, retrain
from workbench.surgeons import SphereLadder

PLAIN_PASS, PLAIN_STEP = "plain forward and backward", "plain training step"
RESTART = "restart-step of the sphere ladder"
LAYERS = (0, 2)
INNER = (1, 4, 8)
_PROMPTS = 32
_STARTS, _STEPS = 8, 4


def lat(inner: int) -> str:
    """The name of a LAT step with so many inner steps."""
    return f"LAT step, {inner} inner"


def hunts(shape: Shape, repeats: int, device: str) -> list[Row]:
    """One forward and gradient for one start of the ladder, after blocks 0 and 2, over a plain pass for all weights.

    The pass is through the bridge, with the cross-entropy at the same answers and the gradients of all its weights.
    """
    on = subject(replace(shape, prompts=_PROMPTS), device)
    jobs: dict[tuple[str, int | None], Callable[[], Any]] = {(PLAIN_PASS, None): partial(_pass, on.agent, on.prompts)}
    jobs |= {(RESTART, layer): _ladder(on, layer) for layer in LAYERS}
    return _rows("hunts", on, jobs, repeats, {PLAIN_PASS: 1, RESTART: _STARTS * _STEPS})


def retraining(shape: Shape, repeats: int, device: str) -> list[Row]:
    """A step of LAT at the residual stream after blocks 0 and 2, over a plain step of AdamW on as large a batch."""
    on = subject(replace(shape, prompts=_PROMPTS), device)
    jobs: dict[tuple[str, int | None], Callable[[], Any]] = {(PLAIN_STEP, None): _plain_steps(on)}
    jobs |= {(lat(inner), layer): _lat_steps(on, inner, layer) for inner in INNER for layer in LAYERS}
    return _rows("retraining", on, jobs, repeats, {PLAIN_STEP: 1} | {lat(inner): 1 for inner in INNER})


def _rows(
    part: str, on: Subject, jobs: dict[tuple[str, int | None], Callable[[], Any]], repeats: int, counts: dict[str, int]
) -> list[Row]:
    """Each job's time over that of the first."""
    for job in jobs.values():
        job()
    times = interleaved(jobs, 3 * on.shape.repeats(repeats), on.agent.device)
    each: dict[tuple[str, int | None], Timing] = {key: times[key] / counts[key[0]] for key in jobs}
    plain = next(iter(each.values())).seconds(on.agent.device)
    return [
        Row(
            part=part, subject=on.shape.name, method=method, layer=layer, count=counts[method], cpu=t.cpu, wall=t.wall,
            ratio=t.seconds(on.agent.device) / plain,
        )
        for (method, layer), t in each.items()
    ]  # fmt: skip


def _pass(agent: Agent, prompts: Prompts) -> tuple[Tensor, ...]:
    """Gradients of all weights, by the whole bridge."""
    weights = list(agent.weights().values())
    return torch.autograd.grad(_loss(agent, prompts), weights, allow_unused=True)


def _loss(agent: Agent, prompts: Prompts) -> Tensor:
    """Mean cross-entropy at the answers, by the whole bridge."""
    logits = agent.bridge(prompts.tokens.to(agent.device))[:, list(prompts.answer_positions)]
    return F.cross_entropy(logits.flatten(0, 1), prompts.answers.to(agent.device).flatten())


def _ladder(on: Subject, layer: int) -> Callable[[], Any]:
    """All starts of the ladder on one sphere, of rho 1."""
    site = f"blocks.{layer}.hook_resid_post"
    view, allowed = View(on.agent, site, on.prompts), L2Ball(2.0).bind(on.agent, [site], on.prompts).at(site)
    start = allowed.scatter(_STARTS, torch.Generator().manual_seed(5)).to(on.agent.device)
    surgeon = SphereLadder(starts=_STARTS, steps=_STEPS)
    return lambda: surgeon._ascend(view, HiddenBehaviour(), allowed, start, 1.0)


def _plain_steps(on: Subject) -> Callable[[], Any]:
    """Training steps through the bridge, one a call."""
    agent = on.agent.copy()
    weights = [weight.requires_grad_(True) for weight in agent.weights().values()]
    optimizer = torch.optim.AdamW(weights, lr=1e-3, weight_decay=0.0)

    def step() -> None:
        optimizer.zero_grad()
        _loss(agent, on.prompts).backward()
        optimizer.step()

    return step


def _lat_steps(on: Subject, inner: int, layer: int) -> Callable[[], Any]:
    """Steps of LAT, one a call."""
    recipe = LAT(sites=(f"blocks.{layer}.hook_resid_post",), eps=0.6, inner_steps=inner, batch=_PROMPTS, steps=10**6)
    steps: Iterator[Any] = retrain(on.agent, on.prompts, recipe)
    return lambda: next(steps)
