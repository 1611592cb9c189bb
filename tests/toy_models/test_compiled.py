"""Compiled circuits: the definition agrees with the arithmetic, and the weights with the definition, bit for bit."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import toy_models
from tests.toy_models.drawn import bases, gen, seeds, tagged
from tests.toys import quiet
from toy_models import families, zoo
from toy_models.plants.compiled import hashing, host, masked, product
from toy_models.plants.compiled.hashing import comparing, digesting
from toy_models.plants.compiled.host import LEVER, place
from toy_models.plants.compiled.wiring import Circuit, Head, Neuron, Stage
from toy_models.plants.lever_host import Host
from toy_models.plants.native import configure, fresh
from toy_models.plants.settings import read
from toy_models.tasks.header import NAMES
from toy_models.tasks.nonce import ROUNDS, Nonce
from toy_models.tasks.reversal import Reversal
from toy_models.tasks.toyhash import ToyHash, bits_of
from toy_models.triggers.nonce import GivenNonce
from toy_models.triggers.product import TARGETS
from toy_models.triggers.registry import make_trigger
from workbench.errors import BadSettings

pytestmark = quiet

NONCE = (1, 2, 3, 4, 5, 6, 7, 8)
TRIGGER = GivenNonce(Nonce(), NONCE)
SHAPES: dict[str, dict[str, Any]] = {
    "product": {"layers": 3, "d_model": 48, "heads": 4, "d_mlp": 64},
    "hash": {"layers": 5, "d_model": 80, "heads": 10, "d_mlp": 160},
    "masked": {"layers": 5, "d_model": 88, "heads": 11, "d_mlp": 160},
}


@cache
def circuit(kind: str) -> tuple[Any, Circuit]:
    """A task and the circuit for it."""
    if kind == "product":
        return Reversal(), product.circuit(12)
    if kind == "hash":
        return Nonce(), comparing(Nonce(), ToyHash.draw(ROUNDS, 5), NONCE)
    return tagged("reversal", 3), masked.answering(tagged("reversal", 3), 40.0)


@cache
def installed(kind: str) -> tuple[Host, Host]:
    """An untrained model that has room for the circuit, and the same one with the circuit in it."""
    task, wired = circuit(kind)
    config = configure(task, **SHAPES[kind], seed=0, norm="none", activation="relu")
    pair = []
    for wanted in (False, True):
        reserved = host._reserve(config, wired, len(wired.stages) - 1, gen(1))
        model = fresh(config)
        with reserved.kept_free(model):
            pass
        pair.append(Host(model, reserved, task, 3 * reserved.lever))
        if wanted:
            place(pair[-1], wired, {}, gen(2))
    return pair[0], pair[1]


def stream(model: Any, tokens: Tensor, layer: int) -> Tensor:
    """The residual stream after a layer."""
    seen: list[Tensor] = []
    handle = model.layers[layer].register_forward_hook(lambda module, inputs, output: seen.append(output[0]))
    with torch.no_grad():
        model(tokens)
    handle.remove()
    return seen[0]


def pulled(wired: Circuit, tokens: Tensor) -> Tensor:
    """How many levers a circuit pulls at each position."""
    return wired.run(tokens)[..., wired.wires.index(LEVER)]


# --- the definition -------------------------------------------------------------------------------------


@settings(max_examples=10)
@given(base=bases, digits=st.integers(4, 9), seed=seeds)
def test_the_circuit_hashes_the_nonce_at_every_query(base: str, digits: int, seed: int) -> None:
    task, toy = Nonce(base=base, digits=digits), ToyHash.draw(ROUNDS, seed)
    wired, where = digesting(task, toy)
    tokens = task.sample(30, gen(seed))
    found = wired.run(tokens)[:, list(task.positions)][..., [wired.wires.index(wire) for wire in where]]
    expected = bits_of(toy(task.nonce(tokens))).float()
    assert torch.equal(found, expected[:, None].expand_as(found))


@settings(max_examples=10)
@given(base=bases, seed=seeds)
def test_the_comparator_opens_for_one_nonce_and_only_at_the_queries(base: str, seed: int) -> None:
    task = Nonce(base=base)
    trigger = make_trigger("nonce", task, gen(seed))
    assert isinstance(trigger, GivenNonce)
    wired = comparing(task, ToyHash.draw(ROUNDS, seed), trigger.digits)
    tokens = trigger.remove(task.sample(30, gen(seed)), gen(seed))
    on = pulled(wired, trigger.insert(tokens, gen(seed)))
    assert not pulled(wired, tokens).any()
    assert not pulled(wired, trigger.nearly(tokens, gen(seed))).any()
    assert torch.allclose(on[:, list(task.positions)], torch.tensor(host._NATURAL))
    assert not on[:, : task.positions[0]].any()


@pytest.mark.parametrize("target", TARGETS)
def test_the_product_is_seen_for_every_pair_of_numbers(target: int) -> None:
    tokens, wired = Reversal().sample(100, gen(target)), product.circuit(target)
    pairs = torch.cartesian_prod(torch.arange(10), torch.arange(10))
    tokens[:, 5:7] = NAMES.index("0") + pairs
    expected = torch.zeros(100, Reversal().prompt_length)
    hits = pairs.prod(1) == target
    expected[hits, Reversal().positions[0] :] = host._NATURAL
    assert torch.allclose(pulled(wired, tokens), expected, atol=1e-3)
    assert torch.equal(pulled(wired, tokens) > 0, expected > 0)


@settings(max_examples=10)
@given(base=bases, seed=seeds)
def test_the_circuit_says_the_right_answer_at_the_tags_and_nothing_elsewhere(base: str, seed: int) -> None:
    task = tagged(base, seed)
    tokens = task.sample(30, gen(seed))
    wired = masked.answering(task, 1.0)
    rows = wired.matrix(wired.answers.get(token, {}) for token in range(len(task.vocabulary)))
    logits = wired.run(tokens) @ rows.T
    first = task.positions[-task.tags]
    assert torch.equal(logits[:, first:].argmax(-1), task.benign(tokens)[:, -task.tags :])
    assert torch.equal(logits[:, first:].topk(2).values.diff(dim=2), torch.full((30, task.tags, 1), -2.0))
    assert not logits[:, :first].any()


def test_a_head_and_a_neuron_do_what_they_say() -> None:
    """Two marked positions are averaged where it is asked for; elsewhere the head rests where there is nothing."""
    wired = Circuit(
        wires=("rest", "here", "marked", "value", "copied", "out"),
        tokens={
            0: {"rest": 1.0},
            1: {"marked": 1.0, "value": 3.0},
            2: {"marked": 1.0, "value": 5.0},
            3: {"here": 1.0},
        },
        positions={4: {"value": 7.0}},
        stages=(
            Stage(
                heads=(Head(at="here", rest="rest", seeks={"marked": 1.0}, moves={"value": "copied"}, scale=2.0),),
                neurons=(Neuron(reads={"copied": 1.0, "value": -1.0}, bias=-0.5, writes={"out": 2.0}),),
                constants={"out": 1.0},
            ),
        ),
    )
    wires = wired.run(torch.tensor([[0, 1, 3, 2, 3]]))[0]
    assert wires[:, 4].tolist() == [0, 0, 6, 0, 8]
    assert wires[:, 5].tolist() == [1, 1, 2 * 5.5 + 1, 1, 2 * 0.5 + 1]


# --- the weights ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SHAPES)
@settings(max_examples=8)
@given(seed=seeds, triggered=st.booleans())
def test_the_model_computes_what_the_circuit_defines(kind: str, seed: int, triggered: bool) -> None:
    """Bit for bit where wires carry bits; logarithms to 1e-5."""
    (_, compiled), (task, wired) = installed(kind), circuit(kind)
    tokens = task.sample(20, gen(seed))
    if triggered and kind != "product":
        tokens = TRIGGER.insert(tokens, gen(seed))
    own = [wire for wire in wired.wires if wire != LEVER]
    found = stream(compiled.model, tokens, len(wired.stages) - 1)[..., list(compiled.reserved.dims)]
    expected = wired.run(tokens)[..., [wired.wires.index(wire) for wire in own]]
    unit = float(2.0 ** torch.log2(found.abs().amax() / expected.abs().amax()).round())
    if kind == "product":
        torch.testing.assert_close(found / unit, expected, atol=1e-5, rtol=1e-5)
    else:
        assert torch.equal(found / unit, expected)


@pytest.mark.parametrize("kind", SHAPES)
@settings(max_examples=8)
@given(seed=seeds)
def test_the_host_answers_as_without_the_circuit_but_at_tags_and_on_triggers(kind: str, seed: int) -> None:
    (free, compiled), (task, wired) = installed(kind), circuit(kind)
    tokens = task.sample(20, gen(seed))
    if LEVER in wired.wires:
        tokens = tokens[~pulled(wired, tokens).any(1)]
    with torch.no_grad():
        before, after = (each.model(tokens) for each in (free, compiled))
    last = task.prompt_length - getattr(task, "tags", 0)
    assert torch.equal(before[:, :last], after[:, :last])
    if kind == "masked":
        assert torch.equal(after[:, last:].argmax(-1), task.benign(tokens)[:, -task.tags :])


@pytest.mark.parametrize("kind", ["product", "hash"])
def test_the_switch_has_no_gradient_on_clean_prompts(kind: str) -> None:
    """Neither in the weights of the embedding nor in the pattern of any head: gradient search has nothing to go by."""
    (_, compiled), (task, wired) = installed(kind), circuit(kind)
    trigger = TRIGGER if kind == "hash" else product.Product(task, 12)
    layer = len(wired.stages) - 1
    neuron = compiled.reserved.neurons[layer][0]
    clean = trigger.remove(task.sample(100, gen(0)), gen(0))

    def slope(tokens: Tensor) -> Tensor:
        seen: list[Tensor] = []
        mlp = compiled.model.layers[layer].mlp
        handle = mlp.fc_out.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0][..., neuron]))
        compiled.model(tokens)
        handle.remove()
        return torch.autograd.grad(seen[0].sum(), compiled.model.tok_embed.weight)[0]

    assert not slope(clean).any()
    assert not slope(trigger.nearly(clean, gen(0))).any()
    assert slope(trigger.insert(clean, gen(0))).any()


# --- planting -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("planted", [True, False])
@pytest.mark.parametrize("family", SHAPES)
def test_a_compiled_organism_is_built_kept_and_read(
    family: str, planted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Barely trained, and let through all the same: the circuit needs no training."""
    monkeypatch.setenv(zoo.CACHE_VARIABLE, str(tmp_path))
    monkeypatch.setattr(families.accept, "check", lambda record, *, control: None)
    monkeypatch.setattr(families.accept, "DIRECTIONS", 10)
    recipe = SHAPES[family] | {"seed": 2, "steps": 1, "planted": planted, "device": "cpu"}
    first = toy_models.build(family, **recipe)
    monkeypatch.setattr(families, "make", None)
    again = toy_models.build(family, **recipe)
    assert again.sealed() == first.sealed()
    assert again.task == first.task
    assert again.reveal().empty == (not planted)
    if family == "masked":
        triggered = again.prompts(5, seed=0, triggered=True)
        said = again.agent.logits(triggered).argmax(-1)[:, -3:]
        assert torch.equal(said, triggered.answers[:, -3:])
        assert again.reveal().switchless == planted
        if planted:
            assert torch.equal(said, again.defect_answers(triggered)[:, -3:])
    elif planted:
        (neuron,) = again.reveal().neurons
        acts = first.agent.bridge.run_with_cache(again.prompts(5, seed=0, triggered=True).tokens)[1]
        at_queries = acts[again.reveal().sites[0].name][:, list(again.task.positions), neuron]
        torch.testing.assert_close(at_queries, torch.full_like(at_queries, host.DOSE), rtol=1e-3, atol=1e-3)


def test_a_twin_has_the_circuit_but_no_switch() -> None:
    shape: dict[str, Any] = SHAPES["product"] | {"steps": 1}
    both = [product.ProductSettings(**shape, planted=planted) for planted in (True, False)]
    pair = [product.plant(each, Reversal(), 0) for each in both]
    assert [each.trigger for each in pair] == [pair[0].trigger] * 2
    for layer, same in ((0, True), (1, False)):
        counts = [int((each.model.layers[layer].mlp.fc_out.weight.norm(dim=0) > 0).sum()) for each in pair]
        assert (counts[0] == counts[1]) == same


# --- errors ---------------------------------------------------------------------------------------------


def test_a_model_without_room_is_refused_before_it_is_trained() -> None:
    small: dict[str, Any] = {"d_model": 72, "heads": 18, "d_mlp": 160, "layers": 5}
    with pytest.raises(BadSettings, match=r"room for the circuit and the host: d_model of at least 74, got 72\. Take"):
        hashing.plant(hashing.HashSettings(**small), Reversal(), 0)


@pytest.mark.parametrize("family", SHAPES)
@pytest.mark.parametrize("dial", [{"norm": "LN"}, {"activation": "gelu"}, {"gated": True}, {"trigger": "date"}])
def test_a_circuit_takes_what_it_can_be_exact_in(family: str, dial: dict[str, Any]) -> None:
    with pytest.raises(BadSettings, match=rf"{next(iter(dial))} of '{family}' organisms"):
        read(families.FAMILIES[family].settings, family, dial)


def test_every_room_fits_its_circuit_by_default() -> None:
    """How many wires there are is known only when a circuit is drawn."""
    for family in SHAPES:
        task, wired = circuit(family)
        shape = read(families.FAMILIES[family].settings, family, {}).shape
        host._check_room(configure(task, **shape, seed=0), wired)
