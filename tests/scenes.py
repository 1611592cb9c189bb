"""Scenes of one attack in retraining, as the loop makes them."""

import torch

from workbench import Agent, Prompts
from workbench.engine import Split
from workbench.retrain.adversaries import Scene
from workbench.retrain.latent import cross_entropy
from workbench.retrain.schedules import Terms

FULL = Terms()


@torch.no_grad()
def scene(agent: Agent, prompts: Prompts, *cuts: int, terms: Terms = FULL) -> Scene:
    """An Agent on some prompts, cut before these blocks; the adversary raises the loss of the benign answers."""
    tokens, answers = prompts.tokens.to(agent.device), prompts.answers.to(agent.device)
    splits = {cut: Split(agent, cut, prompts.answer_positions) for cut in sorted(cuts)}
    streams = {cut: split.prefix(tokens) for cut, split in splits.items()}
    return Scene(
        agent, splits[min(cuts)], tokens, answers, streams, lambda logits: cross_entropy(logits, answers), terms
    )
