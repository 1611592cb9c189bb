"""Ablation: what was found is written no more, after every step, and nothing else is touched before fine-tuning."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.retrain.scenery import NEURONS, SHAPES, SHORT, bits, pretrained, reported, running, same, steps, subject_of
from tests.toys import edit_at, noise, quiet, some_prompts, toy
from workbench import Ablation, Agent, Prompts
from workbench.errors import BadSettings

pytestmark = quiet
LINEAR = ("gpt2", "neox", "llama")  # no norm between what is written and the stream
shapes = pytest.mark.parametrize("shape", SHAPES)


def model(name: str) -> tuple[Agent, Prompts]:
    """A toy of a shape, or a tiny model of an architecture, and prompts for it."""
    return (toy(**SHAPES[name]), some_prompts(24)) if name in SHAPES else pretrained(name)


def written(agent: Agent, site: str, unit: Tensor) -> float:
    """The most that a unit writes along a direction."""
    write = agent.write(site)
    assert write is not None
    return float((write @ unit).abs().max())


def most(agent: Agent, prompts: Prompts, site: str, rows: Tensor) -> float:
    """The most of these directions in the activations at a site."""
    return float((agent.activations(prompts, site) @ rows.T).abs().max())


@shapes
def test_the_neurons_found_write_nothing_after_any_step(shape: str) -> None:
    for step in running(Ablation(**SHORT), toy(**SHAPES[shape])):
        write = step.agent.write("L1.mlp.post")
        assert write is not None
        assert write[7].eq(0).all()
        assert write.eq(0).all(1).sum() == 1


@pytest.mark.parametrize("name", [*SHAPES, *LINEAR])
@pytest.mark.parametrize("kind", ["resid_post", "mlp_out", "mlp.post", "attn.z"])
def test_a_direction_found_is_written_no_more_after_any_step(name: str, kind: str) -> None:
    agent, prompts = model(name)
    site = agent.site(f"L1.{kind}")
    edit, write = edit_at(site, noise(agent.width(site))), agent.write(site)
    assert write is not None
    unit = torch.nn.functional.normalize(edit.delta @ write, dim=0)
    ablated = {"resid_post": ("mlp.post", "attn.z"), "mlp_out": ("mlp.post",)}.get(kind, (kind,))
    for step in running(Ablation(steps=2, batch=8), agent, prompts, report=reported(edit)):
        found = {part: written(step.agent, f"L1.{part}", unit) for part in ("mlp.post", "attn.z")}
        assert all(found[part] < 1e-6 for part in ablated)
        assert all(found[part] > 1e-2 for part in found if part not in ablated)


@pytest.mark.parametrize("name", [*SHAPES, *LINEAR])
@pytest.mark.parametrize("positions", [None, (1, 3)])
def test_before_means_that_the_stream_has_nothing_of_the_direction(name: str, positions: Any) -> None:
    agent, prompts = model(name)
    width = agent.d_model
    rows = noise(2, width) if positions else noise(1, width)
    edit = edit_at("L1.resid_post", rows if positions else rows[0], positions)
    recipe, report = Ablation(writers="before", steps=2, batch=8), reported(edit)
    assert most(agent, prompts, "L1.resid_post", rows) > 0.1
    for step in running(recipe, agent, prompts, report=report):
        after = step.agent
        assert all(
            most(after, prompts, f"L{site}", rows) < 1e-3 for site in ("0.resid_pre", "0.resid_post", "1.resid_post")
        )
        assert most(after, prompts, "L2.resid_post", rows) > 0.1


@shapes
def test_before_fine_tuning_nothing_is_changed_but_what_is_cut_out(shape: str) -> None:
    agent = toy(**SHAPES[shape])
    edit = edit_at("L1.resid_post", noise(16))
    subject, unit = subject_of(agent, report=reported(edit)), torch.nn.functional.normalize(edit.delta, dim=0)
    Ablation().method(subject).begin()
    before, after, cut = bits(agent), bits(subject.agent), set()
    for name, weight in after.items():
        if not torch.equal(weight, before[name]):
            cut.add(name)
            expected = before[name] - torch.einsum("d,d...->...", unit, before[name]).mul(
                unit[:, None] if weight.ndim == 2 else unit
            )
            torch.testing.assert_close(weight, expected)
    assert {name.split(".")[1] for name in cut} == {"1"}
    assert {name.split(".")[2] for name in cut} == {"attn", "mlp"}


def test_several_edits_are_cut_out_together() -> None:
    first, second = edit_at("L1.mlp_out", noise(16, seed=1)), edit_at("L1.resid_post", noise(16, seed=2))
    third = NEURONS.best.edit
    last = steps(Ablation(**SHORT), report=reported(first, second, third))[-1].agent
    write = last.write("L1.mlp.post")
    assert write is not None
    assert float((write @ torch.stack([first.delta, second.delta]).T).abs().max()) < 1e-5
    assert write[7].eq(0).all()
    assert written(last, "L1.attn.z", second.delta) < 1e-5 < written(last, "L1.attn.z", first.delta)


@shapes
def test_a_direction_of_the_embeddings_is_cut_out_of_them(shape: str) -> None:
    agent, edit = toy(**SHAPES[shape]), edit_at("L0.resid_pre", noise(16))
    last = steps(Ablation(**SHORT), agent, report=reported(edit))[-1].agent
    assert float((last.activations(some_prompts(), "L0.resid_pre") @ edit.delta).abs().max()) < 1e-5
    changed = running(Ablation(**SHORT), agent, report=reported(edit))
    assert not same(bits(next(changed).agent), bits(agent))


@pytest.mark.parametrize("report", [None, reported(NEURONS.best.edit, score=0.1)], ids=("no report", "nothing found"))
def test_without_a_finding_there_is_nothing_to_cut_out(report: Any) -> None:
    with pytest.raises(BadSettings, match="expected a report with a finding, whose switch is cut out"):
        running(Ablation(**SHORT), report=report)


@pytest.mark.parametrize(
    ("name", "site"), [("plain", "L1.attn.q"), ("gemma2", "L1.resid_post"), ("gemma2", "L1.mlp.post")]
)
def test_where_no_weight_writes_linearly_the_cure_is_named(name: str, site: str) -> None:
    agent, prompts = model(name)
    report = reported(edit_at(agent.site(site), noise(agent.width(site))))
    with pytest.raises(BadSettings, match=r"does not write linearly\. Hunt at resid_post"):
        running(Ablation(**SHORT), agent, prompts, report=report)
