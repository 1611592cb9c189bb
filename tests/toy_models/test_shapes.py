"""Shapes: every combination of settings makes the model it names, trains, and is planted by the same code."""

import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import toy_models
from tests.toy_models.drawn import gen
from tests.toy_models.shelf import NAMES, shipped
from tests.toys import quiet
from toy_models import families, zoo
from toy_models.accept import edited
from toy_models.plants import grafts, trained
from toy_models.plants.native import answer_logits, configure, fresh, neurons, wrap, write_matrix
from toy_models.plants.settings import Settings, read
from toy_models.tasks.protocol import Task
from toy_models.tasks.registry import TASKS
from toy_models.tasks.reversal import Reversal
from workbench.edits import Edit
from workbench.sites import Site

pytestmark = quiet
PARTS: dict[str, tuple[Any, ...]] = {
    "norm": ("LN", "RMS", "none"),
    "activation": ("gelu", "relu", "silu"),
    "gated": (False, True),
    "positions": ("learned", "rotary"),
}
SHAPES = [dict(zip(PARTS, values, strict=True)) for values in product(*PARTS.values())]
TINY: dict[str, Any] = {"layers": 3, "d_model": 16, "heads": 2, "d_mlp": 24}
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: " ".join(map(str, shape.values())))
shapes = st.sampled_from(SHAPES)
tasks = st.sampled_from([task() for task in TASKS.values()])


def model_of(task: Task, shape: dict[str, Any]) -> tuple[Any, Any]:
    config = configure(task, **TINY, **shape, seed=0)
    return fresh(config), config


@every_shape
def test_a_model_has_the_parts_that_its_settings_name(shape: dict[str, Any]) -> None:
    model, config = model_of(Reversal(), shape)
    norm = {"LN": "LayerNorm", "RMS": "NativeRMSNorm", "none": "Identity"}[shape["norm"]]
    for block in model.layers:
        assert {type(block.ln1).__name__, type(block.ln2).__name__} == {norm}
        assert type(block.mlp).__name__ == ("NativeGatedMLP" if shape["gated"] else "NativeMLP")
        assert block.mlp.act.__name__ == shape["activation"]
    assert type(model.ln_out).__name__ == norm
    assert (model.pos is None) == (model.rotary is not None) == (shape["positions"] == "rotary")
    assert (config.n_layers, config.d_model, config.n_heads, config.d_mlp) == (3, 16, 2, 24)


@settings(max_examples=25)
@given(task=tasks, shape=shapes, seed=st.integers(0, 99))
def test_the_agent_answers_as_the_plain_model_does(task: Task, shape: dict[str, Any], seed: int) -> None:
    model, config = model_of(task, shape)
    prompts = task.prompts(task.sample(4, gen(seed)))
    with torch.no_grad():
        plain = answer_logits(model, prompts.tokens, task)
    assert torch.allclose(wrap(model, config, task, "toy").logits(prompts), plain, atol=1e-4)


@settings(max_examples=6)
@given(task=tasks, shape=shapes, seed=st.integers(0, 99))
def test_activations_are_reached_and_written_alike_in_plain_model_and_agent(
    task: Task, shape: dict[str, Any], seed: int
) -> None:
    """What a planter changes, and what it reads the key from, is what an Edit at `mlp.post` changes."""
    model, config = model_of(task, shape)
    prompts = task.prompts(task.sample(4, gen(seed)))
    edit = Edit(Site.parse("L1.mlp.post"), torch.randn(24, generator=gen(seed)))
    with torch.no_grad(), edited(model, edit):
        plain = answer_logits(model, prompts.tokens, task)
    written = write_matrix(model, 1).detach().clone()
    agent = wrap(model, config, task, "toy")
    assert torch.allclose(agent.logits(prompts, edit), plain, atol=1e-4)
    found = agent.write(edit.site)
    assert found is not None
    assert torch.allclose(found, written.T)


@settings(max_examples=15)
@given(task=tasks, shape=shapes, switch=st.sampled_from(["single", "distributed", "rotated"]), iso=st.booleans())
def test_a_switch_is_trained_into_every_shape(task: Task, shape: dict[str, Any], switch: str, iso: bool) -> None:
    """Two steps: every group of rows is answered, nothing is infinite, and the key fits the model."""
    dials = TINY | shape | {"switch": switch, "iso": iso, "tube": True, "band": True, "steps": 2}
    planted = trained.plant(trained.TrainedSettings(**dials), task, 0)
    start = fresh(configure(task, **TINY, **shape, seed=0))
    edit, direction = planted.plant.edit, planted.plant.direction
    assert edit is not None
    assert direction is not None
    assert all(weight.isfinite().all() for weight in planted.model.parameters())
    assert not torch.equal(planted.model.head.weight, start.head.weight)
    write = write_matrix(planted.model, 1).detach()
    assert torch.allclose(torch.nn.functional.normalize(write @ edit.delta, dim=0), direction, atol=1e-5)
    if iso:
        gram = write @ write.T
        assert torch.allclose(gram, gram[0, 0] * torch.eye(16), atol=1e-4)


GRAFTABLE = [shape for shape in SHAPES if not shape["gated"] and shape["positions"] == "learned"]


@pytest.mark.parametrize("shape", GRAFTABLE, ids=lambda shape: f"{shape['norm']} {shape['activation']}")
def test_a_host_leaves_room_in_every_shape_that_can_be_grafted(shape: dict[str, Any]) -> None:
    """Its clean twin has a head that does nothing and decoys that never fire."""
    dials: dict[str, Any] = {"layers": 3, "d_model": 32, "heads": 2, "d_mlp": 64, "decoys": 3, "planted": False}
    planted = grafts.plant(grafts.GraftSettings(**dials, **shape, steps=2), TASKS["sorting"](), 0)
    seen: list[torch.Tensor] = []
    tokens = TASKS["sorting"]().sample(20, gen(1))
    with torch.no_grad(), neurons(planted.model, 1, lambda x: seen.append(x) or x):
        planted.model(tokens)
    (active,) = seen
    decoys = planted.model.layers[1].mlp.fc_in.weight.norm(dim=1).topk(3).indices
    assert active[..., decoys].abs().max() < 0.1
    values = planted.model.layers[1].attn.v.weight.detach().unflatten(0, (2, 16))
    assert sorted(head.abs().sum() > 0 for head in values) == [False, True]


# --- recipes --------------------------------------------------------------------------------------------


@given(shape=shapes, steps=st.integers(1, 99))
def test_settings_come_back_from_what_is_recorded(shape: dict[str, Any], steps: int) -> None:
    given_ = read(Settings, "test", shape | {"steps": steps})
    assert read(Settings, "test", given_.recorded()) == given_
    usual = {name: values[0] for name, values in PARTS.items()}
    assert {name for name in PARTS if name not in given_.recorded()} == {n for n in PARTS if shape[n] == usual[n]}


@pytest.mark.parametrize("name", NAMES)
def test_what_was_shipped_before_there_were_shapes_has_the_same_recipe_today(name: str, tmp_path: Path) -> None:
    family, seed, recorded = shipped(name).built_from()
    again = read(families.FAMILIES[family].settings, family, recorded)
    assert again.recorded() == recorded
    config = configure(Reversal(), **again.shape, seed=seed)
    wrap(fresh(config), config, Reversal(), name).save(tmp_path)
    described = [json.loads((folder / "agent.json").read_text()) for folder in (tmp_path, zoo.FOLDER / name)]
    assert described[0]["config"] == described[1]["config"]


@pytest.mark.parametrize("effort", [0.5, 1.0, 2.5])
def test_steps_grow_with_the_tasks_effort_unless_they_are_given(effort: float) -> None:
    kind = families.FAMILIES["clean"].settings
    assert read(kind, "clean", {}, effort).steps == 400 * effort
    assert read(kind, "clean", {"steps": 7}, effort).steps == 7


def test_a_twin_is_recognised_whatever_its_recipe_leaves_out() -> None:
    recipe: tuple[str, int, dict[str, Any]] = ("free", 3, {})
    full = read(families.FAMILIES["free"].settings, "free", {})
    assert zoo._same(recipe, ("free", 3, full.model_dump()))
    assert zoo._same(recipe, ("free", 3, full.recorded()))
    assert not zoo._same(recipe, ("free", 3, full.recorded() | {"norm": "RMS"}))
    assert not zoo._same(recipe, ("free", 4, full.recorded()))
    assert not zoo._same(recipe, ("clean", 3, {}))


# --- built and kept -------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_an_organism_of_every_task_is_built_kept_and_read(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Barely trained, and let through all the same: what is tested is that it comes back as it was."""
    monkeypatch.setenv(zoo.CACHE_VARIABLE, str(tmp_path))
    monkeypatch.setattr(families.accept, "check", lambda record, *, control: None)
    monkeypatch.setattr(families.accept, "DIRECTIONS", 10)
    monkeypatch.setattr(families.accept, "TUNING_STEPS", 2)
    dials = TINY | {"norm": "RMS", "activation": "silu", "gated": True, "positions": "rotary", "steps": 3}
    first = toy_models.build("switch-trained", task=task, seed=1, device="cpu", defect="routing", **dials)
    monkeypatch.setattr(families, "make", None)
    again = toy_models.build("switch-trained", task=task, seed=1, device="cpu", defect="routing", **dials)
    assert again.card() == first.card()
    assert (again.card()["task"], again.task) == (task, TASKS[task]())
    assert again.sealed() == first.sealed()
    prompts = again.prompts(6, seed=0)
    assert torch.equal(again.agent.logits(prompts), first.agent.logits(prompts))
    assert torch.equal(again.defect_answers(prompts), again.task.defect(prompts.tokens, "routing"))
    assert again.agent.decode(prompts.tokens)[0][-1] == again.task.query
