"""Weight noise: of the size asked for, on matrices alone, in the gradient but never in the weights."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.hugging_face import ARCHITECTURES
from tests.retrain.scenery import SHAPES, SHORT, batch_of, bits, pretrained, same, subject_of
from tests.toys import quiet, some_prompts, toy
from workbench import Agent, Prompts, WeightNoise
from workbench.errors import BadSettings
from workbench.retrain.baselines.swapped import Swapped
from workbench.retrain.baselines.weight_noise import Shaken
from workbench.retrain.latent import cross_entropy
from workbench.retrain.schedules import Terms

pytestmark = quiet
MODELS = [*SHAPES, *ARCHITECTURES]


def model(name: str) -> tuple[Agent, Prompts]:
    """A toy of a shape, or a tiny model of an architecture, and prompts for it."""
    return (toy(**SHAPES[name]), some_prompts(24)) if name in SHAPES else pretrained(name)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", MODELS)
def test_a_swapped_model_is_the_one_with_those_weights_and_stays_the_one_it_was(name: str) -> None:
    agent, prompts = model(name)
    twin, before = agent.copy(), bits(agent)
    others = {key: weight * 1.5 for key, weight in before.items() if weight.ndim > 1}
    leaves = {id(part): dict(part._parameters) for part in agent.bridge.modules()}
    with torch.no_grad():
        for key, weight in others.items():
            twin.weights()[key].copy_(weight)
        found, plain = Swapped(agent, prompts.answer_positions)(prompts.tokens, others), agent.logits(prompts)
    torch.testing.assert_close(found, twin.logits(prompts), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(found, plain, atol=1e-2)
    assert same(bits(agent), before)
    assert all(part._parameters == leaves[id(part)] for part in agent.bridge.modules())


@pytest.mark.parametrize("name", ["plain", "gpt2", "llama"])
def test_the_gradient_is_the_one_at_the_noised_weights_and_reaches_the_weights_themselves(name: str) -> None:
    agent, prompts = model(name)
    subject, batch = subject_of(agent, prompts), batch_of(prompts)
    method = Shaken(subject, 0.3, 0.0)
    method.parameters()
    (losses,) = method.turn(batch, Terms(), seeded())
    losses.total.backward()
    twin, noised = agent.copy(), method.noised(Terms(), seeded())
    with torch.no_grad():
        for key, weight in noised.items():
            twin.weights()[key].copy_(weight)
    cross_entropy(Swapped(twin, prompts.answer_positions)(prompts.tokens), prompts.answers).backward()
    for key, weight in twin.weights().items():
        torch.testing.assert_close(subject.agent.weights()[key].grad, weight.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("rho", "share"), [(0.1, 1.0), (0.5, 1.0), (0.5, 0.2)])
def test_noise_is_as_large_as_asked_beside_each_matrix_and_none_is_on_vectors(rho: float, share: float) -> None:
    subject = subject_of(toy())
    weights = subject.agent.weights()
    noised = Shaken(subject, rho, 1.0).noised(Terms(share=share), seeded())
    assert set(noised) == {name for name, weight in weights.items() if weight.ndim == 2}
    for name, weight in noised.items():
        added = (weight - weights[name]).detach()
        size = float(added.square().mean().sqrt() / weights[name].detach().square().mean().sqrt())
        assert size == pytest.approx(rho * share, rel=0.2)
        assert abs(float(added.mean())) < 0.3 * float(added.std())


def fails(*_: Any, **__: Any) -> Any:
    raise RuntimeError("in the middle of a step")


@pytest.mark.parametrize("place", ["suffix", "prefix"])
def test_an_error_in_the_middle_of_a_step_leaves_weights_without_noise(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = subject_of(toy())
    before, leaves = bits(subject.agent), [id(weight) for weight in subject.agent.weights().values()]
    method = Shaken(subject, 0.5, 1.0)
    swap: Callable[..., Any] = method._model
    monkeypatch.setattr(swap, "_split", type("Broken", (), {"prefix": fails, "suffix": fails} | {place: fails})())
    with pytest.raises(RuntimeError, match="in the middle of a step"):
        swap(some_prompts().tokens, method.noised(Terms(), seeded()))
    assert same(bits(subject.agent), before)
    assert [id(weight) for weight in subject.agent.weights().values()] == leaves


def test_a_step_that_is_given_up_leaves_weights_without_noise() -> None:
    subject = subject_of(toy())
    before = bits(subject.agent)
    turn: Any = Shaken(subject, 0.5, 1.0).turn(batch_of(some_prompts(8)), Terms(), seeded())
    next(turn)
    turn.close()
    assert same(bits(subject.agent), before)


@pytest.mark.parametrize("rho", [0.0, -1.0, float("inf"), float("nan")])
def test_noise_of_no_size_is_refused(rho: float) -> None:
    with pytest.raises(BadSettings, match="rho of WeightNoise"):
        WeightNoise(rho=rho, **SHORT)
