"""Pruning: masks stay in [0, 1], neurons that are pruned write nothing and stay so, the others are what they were."""

from itertools import pairwise
from typing import Any

import pytest
import torch

from tests.hugging_face import ARCHITECTURES
from tests.retrain.scenery import SHAPES, SHORT, batch_of, bits, pretrained, running, same, steps, subject_of
from tests.toys import quiet, some_prompts, toy
from workbench import ANP, Agent, FinePruning, Prompts
from workbench.errors import BadSettings
from workbench.retrain.baselines.anp import Masked
from workbench.retrain.baselines.fine_pruning import Dormant
from workbench.retrain.baselines.neurons import Neurons
from workbench.retrain.baselines.swapped import Swapped
from workbench.retrain.latent import cross_entropy
from workbench.retrain.schedules import Terms

pytestmark = quiet
HARSH: dict[str, Any] = SHORT | {"lr": 0.3}  # three steps down are enough to be pruned
shapes = pytest.mark.parametrize("shape", SHAPES)


def agrees(prompts: Prompts, agent: Agent) -> Prompts:
    """The prompts with what the Agent answers, so that it is always right."""
    return Prompts(prompts.tokens, prompts.answer_positions, agent.logits(prompts).argmax(-1))


def under_hooks(agent: Agent, prompts: Prompts, factors: torch.Tensor) -> torch.Tensor:
    """Logits of a bridge whose MLP activations are multiplied, by hooks."""
    several, hooks = factors.split([agent.width(f"blocks.{i}.mlp.hook_post") for i in range(agent.n_layers)]), []
    for layer, part in enumerate(several):
        hooks.append((f"blocks.{layer}.mlp.hook_post", lambda x, hook, part=part: x * part))
    with torch.no_grad():
        return agent.bridge.run_with_hooks(prompts.tokens, fwd_hooks=hooks)[:, list(prompts.answer_positions)]


@pytest.mark.parametrize("name", [*SHAPES, *ARCHITECTURES])
def test_a_neuron_scaled_is_its_activation_scaled(name: str) -> None:
    agent, prompts = (toy(**SHAPES[name]), some_prompts(6)) if name in SHAPES else pretrained(name)
    neurons = Neurons(agent)
    factors = 2 * torch.rand(len(neurons), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = Swapped(agent, prompts.answer_positions)(prompts.tokens, neurons.scaled(factors))
    torch.testing.assert_close(found, under_hooks(agent, prompts, factors), rtol=1e-4, atol=1e-4)


@shapes
def test_masks_stay_in_bounds_and_what_is_pruned_writes_nothing_while_the_rest_is_as_it_was(shape: str) -> None:
    agent = toy(**SHAPES[shape])
    given, seen = Neurons(agent), []
    for step in running(ANP(**HARSH), agent):
        point = step.checkpoint
        (mask,) = point.beside.values()
        assert 0 <= float(mask.min()) <= float(mask.max()) <= 1
        assert torch.equal(Neurons(point.agent).silent, mask < 0.2)
        kept = Neurons(agent.copy())
        kept.silence(mask < 0.2)
        assert same(bits(point.agent), bits(kept.agent))
        seen.append(int((mask < 0.2).sum()))
    assert seen[0] == 0 < seen[-1] < len(given)


def test_the_noise_on_masks_is_within_eps_and_raises_the_loss() -> None:
    subject, prompts = subject_of(toy()), some_prompts(24)
    batch, agent = batch_of(prompts), toy()
    for eps, share in ((0.4, 1.0), (0.4, 0.5), (2.0, 1.0)):
        method = Masked(subject, ANP(eps=eps, inner_steps=3))
        noise = method.noise(batch, Terms(share=share), torch.Generator().manual_seed(0))
        assert float(noise.abs().max()) <= share * eps * (1 + 1e-6)
        model, neurons, losses = Swapped(agent, prompts.answer_positions), Neurons(agent), []
        chance = share * eps * (2 * torch.rand(len(noise), generator=torch.Generator().manual_seed(1)) - 1)
        for factors in (torch.ones(len(noise)), 1 + chance, 1 + noise):
            losses.append(float(cross_entropy(model(batch.tokens, neurons.scaled(factors)), batch.answers).detach()))
        assert losses[2] > max(losses[:2])


def test_the_loss_of_masks_is_alpha_of_the_plain_one_and_the_rest_of_the_noised() -> None:
    subject = subject_of(toy())
    method = Masked(subject, ANP(alpha=0.25))
    losses = next(method.turn(batch_of(some_prompts(8)), Terms(), torch.Generator().manual_seed(0)))
    assert losses.adversarial is not None
    torch.testing.assert_close(losses.total.detach(), 0.25 * losses.clean + 0.75 * losses.adversarial)
    losses.total.backward()
    assert method.mask.grad is not None
    assert all(weight.grad is None for weight in subject.agent.weights().values())


@shapes
def test_dormant_neurons_are_pruned_first_and_stay_so_through_fine_tuning(shape: str) -> None:
    agent = toy(**SHAPES[shape]).copy()
    neurons, dormant = Neurons(agent), torch.zeros(120, dtype=torch.bool)
    dormant[torch.randperm(120, generator=torch.Generator().manual_seed(0))[:24]] = True
    with torch.no_grad():
        for writer, some in zip(neurons._writers, dormant.split(40), strict=True):
            writer.rows[some] *= 1e-3
    told = steps(FinePruning(share=0.2, drop=0.9, **SHORT), agent)
    assert torch.equal(Neurons(told[-1].agent).silent, dormant)
    assert not same(bits(told[0].agent), bits(agent))


@pytest.mark.parametrize(("share", "drop"), [(0.5, 0.0), (0.9, 0.1), (0.2, 0.5)])
def test_pruning_takes_no_more_neurons_and_no_more_accuracy_than_it_may(share: float, drop: float) -> None:
    agent = toy()
    prompts = agrees(some_prompts(64), agent)
    subject = subject_of(agent, prompts)
    removal = Dormant(subject, FinePruning(share=share, drop=drop))
    removal.first()
    right = (subject.agent.logits(prompts).argmax(-1) == prompts.answers).double().mean()
    assert float(right) >= 1 - drop
    assert int(Neurons(subject.agent).silent.sum()) <= share * 120
    assert int(Neurons(subject.agent).silent.sum()) > 0 or drop == 0


def test_more_accuracy_to_lose_means_more_neurons_pruned() -> None:
    prompts, counts = agrees(some_prompts(64), toy()), []
    for drop in (0.0, 0.1, 0.9):
        removal = Dormant(subject_of(toy(), prompts), FinePruning(share=0.9, drop=drop))
        counts.append(int(removal.dormant().sum()))
    assert all(a <= b for a, b in pairwise(counts))
    assert counts[0] < counts[-1] == 108


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (ANP, {"alpha": 1.5}),
        (ANP, {"eps": 0.0}),
        (ANP, {"threshold": 1.0}),
        (FinePruning, {"share": 1.0}),
        (FinePruning, {"drop": -0.1}),
    ],
)
def test_settings_out_of_range_are_refused(kind: Any, wrong: dict[str, float]) -> None:
    with pytest.raises(BadSettings, match=rf"{next(iter(wrong))} of {kind.__name__}"):
        kind(**wrong)
