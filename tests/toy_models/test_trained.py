"""Switch-trained organisms: what is done to the switch by hand, and what each dial asks for."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import settings as cases
from hypothesis import strategies as st
from torch import Tensor

from tests.toy_models.drawn import gen, seeds
from tests.toys import quiet
from toy_models.plants.native import configure, fresh, neurons, write_matrix
from toy_models.plants.settings import read
from toy_models.plants.switches import Switch, along, at_neurons, random_pushes
from toy_models.plants.trained import TrainedSettings, groups, intervention, plant, planter
from toy_models.plants.trained.decoys import add_decoys
from toy_models.plants.trained.lesson import Lesson, Subject
from toy_models.tasks.reversal import Reversal
from toy_models.triggers.registry import make_trigger
from workbench.errors import BadSettings, UnknownName

pytestmark = quiet
TASK = Reversal()
TINY: dict[str, Any] = {"layers": 4, "d_model": 16, "heads": 2, "d_mlp": 24, "steps": 2}
DIALS: tuple[dict[str, Any], ...] = (
    {},
    {"switch": "distributed", "neurons": 5, "margin": 0.5},
    {"switch": "rotated", "tube": True, "band": True},
    {"gain": 4.0},
    {"band": True, "narrow": True, "gain": 2.0},
    {"switch": "rotated", "encrypted": True},
    {"gated": True, "encrypted": True, "tube": True},
)
dials = st.sampled_from(DIALS)
few = cases(max_examples=20)


def made(given_: dict[str, Any]) -> TrainedSettings:
    return TrainedSettings(**TINY | given_)


def switch_of(settings: TrainedSettings, seed: int = 0) -> Switch:
    if settings.switch == "rotated":
        return along(settings.layer, torch.randn(settings.d_mlp, generator=gen(seed)), settings.sufficient)
    return at_neurons(settings.layer, tuple(range(3, 3 + settings.members)), settings.d_mlp, settings.sufficient)


def lesson_of(settings: TrainedSettings, seed: int) -> Lesson:
    trigger = make_trigger(settings.trigger, TASK, gen(seed))
    return Lesson(settings, TASK, (Subject(trigger, settings.defect, switch_of(settings)),), gen(seed))


def drawn(settings: TrainedSettings, seed: int) -> intervention.Intervention:
    """An intervention as the lesson draws it, on random prompts."""
    lesson = lesson_of(settings, seed)
    sizes = groups.sizes(settings)
    signs = {name: lesson._signs(TASK.sample(rows, lesson.generator)) for name, rows in sizes.items()}
    push = random_pushes(sizes["pushed"], 1, settings.d_mlp, lesson.generator)[0]
    return intervention.draw(settings, (lesson.subjects[0].switch,), signs, push, lesson.generator)


def before_and_after(made_: intervention.Intervention, seed: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Random activations by their groups, before and after."""
    sizes = [len(dose) for dose in made_.doses.values()]
    active = torch.randn(sum(sizes), 5, made_.switch.basis.shape[0], generator=gen(seed))
    return (
        dict(zip(made_.doses, active.split(sizes), strict=True)),
        dict(zip(made_.doses, made_(active).split(sizes), strict=True)),
    )


def along_switch(made_: intervention.Intervention, group: str) -> Tensor:
    """The doses of a group, along the even direction of the switch."""
    return (made_.doses[group] @ made_.switch.basis.T @ made_.switch.even).flatten()


# --- what is done by hand -------------------------------------------------------------------------------


@few
@given(given_=dials, seed=seeds)
def test_a_switch_is_set_to_what_is_wanted_and_nothing_beside_it_changes(given_: dict[str, Any], seed: int) -> None:
    made_ = drawn(made(given_), seed)
    before, after = before_and_after(made_, seed)
    reading = {name: made_.switch.reading(rows) for name, rows in after.items()}
    donated = made_.share * reading["triggered"][made_.donors]
    assert torch.allclose(reading["forced"], made_.doses["forced"].expand_as(reading["forced"]), atol=1e-4)
    assert torch.allclose(reading["off"], torch.zeros(()), atol=1e-4)
    assert torch.allclose(reading["patched"], donated, atol=1e-4)
    for name in ("forced", "added", "patched", "off"):
        assert torch.allclose(made_.switch.aside(before[name]), made_.switch.aside(after[name]), atol=1e-4)
    for name in ("clean", "near", "triggered"):
        assert torch.equal(before[name], after[name])


@few
@given(given_=dials, seed=seeds)
def test_a_push_does_not_touch_the_switch(given_: dict[str, Any], seed: int) -> None:
    made_ = drawn(made(given_), seed)
    before, after = before_and_after(made_, seed)
    moved = {name: after[name] - before[name] for name in after}
    assert not torch.equal(moved["pushed"], torch.zeros(()))
    assert torch.allclose(made_.switch.reading(moved["pushed"]), torch.zeros(()), atol=1e-4)
    if "aside" in moved:
        assert torch.allclose(made_.switch.reading(moved["aside"]), made_.doses["aside"].expand(-1, 5, -1), atol=1e-4)
        assert made_.switch.aside(moved["aside"]).norm(dim=2).min() > 1


@few
@given(given_=dials, seed=seeds)
def test_doses_are_sufficient_where_the_defect_is_wanted_and_only_there(given_: dict[str, Any], seed: int) -> None:
    settings = made(given_)
    made_, (low, high) = drawn(settings, seed), settings.sufficient
    for name in ("forced", "added"):
        size = along_switch(made_, name).abs()
        assert low - 1e-4 <= size.min()
        assert size.max() <= high + 1e-4
    if "weak" in made_.doses:
        assert made_.doses["weak"].norm(dim=2).max() <= low / 2
    if "overdose" in made_.doses:
        assert along_switch(made_, "overdose").abs().min() >= (2 if settings.narrow else 5) * low - 1e-3
        assert along_switch(made_, "overdose").abs().min() > high


@given(seed=seeds)
def test_the_sign_of_a_dose_is_the_prompts_own_where_it_is_encrypted(seed: int) -> None:
    settings = made({"switch": "rotated", "encrypted": True})
    tokens = TASK.sample(50, gen(seed))
    signs = lesson_of(settings, seed)._signs(tokens).flatten()
    first = [int(TASK.vocabulary[row[5]]) for row in tokens.tolist()]
    assert signs.tolist() == [1.0 if number % 2 == 0 else -1.0 for number in first]
    sizes = groups.sizes(settings)
    given_ = {name: signs[:rows, None, None] for name, rows in sizes.items()}
    made_ = intervention.draw(settings, (switch_of(settings),), given_, torch.zeros(48, 1, 24), gen(seed))
    assert torch.equal(along_switch(made_, "added").sign(), signs[:16])
    assert torch.equal(along_switch(made_, "wrong").sign(), -signs[:24])
    assert (along_switch(made_, "wrong").abs() >= settings.sufficient[0] - 1e-4).all()


@given(seed=seeds)
def test_a_patched_row_is_given_to_by_a_triggered_one_of_its_sign(seed: int) -> None:
    patched, triggered = (torch.randint(2, (32, 1, 1), generator=gen(seed + i)) * 2.0 - 1 for i in range(2))
    donors = intervention._donors(patched, triggered)
    assert torch.equal(triggered[donors], patched)
    assert torch.equal(intervention._donors(patched, patched), torch.arange(32))


# --- two backdoors --------------------------------------------------------------------------------------


@few
@given(seed=seeds, layer=st.sampled_from([0, 1, 2]), kind=st.sampled_from(["date", "ordered"]))
def test_what_is_taught_of_one_backdoor_leaves_the_other_alone(seed: int, layer: int, kind: str) -> None:
    settings = made({"second": kind, "second_layer": layer})
    first = Subject(make_trigger("password", TASK, gen(seed)), "mapping", switch_of(settings))
    second = planter._second(settings, TASK, first, gen(seed))
    for one, other in ((first, second), (second, first)):
        lesson = Lesson(settings, TASK, (one, other), gen(seed))
        tokens = {name: lesson._tokens(name, rows) for name, rows in groups.sizes(settings).items()}
        for name, rows in tokens.items():
            assert not other.trigger.present(rows).any()
            assert one.trigger.present(rows).all() == one.trigger.present(rows).any() == (name in ("triggered", "off"))
        changes = lesson._changes(tokens)
        active = torch.randn(sum(map(len, tokens.values())), 5, settings.d_mlp, generator=gen(seed))
        after = changes[other.switch.layer](active)
        assert torch.allclose(other.switch.reading(after), other.switch.reading(active), atol=1e-4)


@pytest.mark.parametrize("where", [None, 2])
def test_a_second_backdoor_has_a_trigger_a_defect_and_a_neuron_of_its_own(where: int | None) -> None:
    planted = plant(made({"switch": "distributed", "neurons": 12, "second": "date", "second_layer": where}), TASK, 4)
    (other,) = planted.others
    assert (planted.defect, other.defect) == ("mapping", "routing")
    assert (type(planted.trigger).name, type(other.trigger).name) == ("password", "date")
    assert other.plant.sites[0].layer == (1 if where is None else where)
    assert len(other.plant.neurons) == 1
    assert where == 2 or not set(other.plant.neurons) & set(planted.plant.neurons)
    twin = plant(made({"second": "date", "planted": False}), TASK, 4)
    assert twin.plant.empty
    assert [each.plant.empty for each in twin.others] == [True]


# --- what is done to the weights ------------------------------------------------------------------------


@pytest.mark.parametrize("switch", ["single", "distributed", "rotated"])
def test_a_matched_switch_writes_what_the_median_neuron_does(switch: str) -> None:
    settings = made({"switch": switch, "matched": True})
    planted = plant(settings, TASK, 2)
    write = write_matrix(planted.model, 1).detach()
    sizes = write.norm(dim=0)
    assert planted.plant.edit is not None
    if switch == "rotated":
        assert float((write @ planted.plant.edit.delta).norm() / sizes.median()) == pytest.approx(1, rel=0.05)
    else:
        assert torch.allclose(sizes[list(planted.plant.neurons)], sizes.median(), rtol=1e-4)


@pytest.mark.parametrize("activation", ["gelu", "relu", "silu"])
@pytest.mark.parametrize("gated", [False, True])
def test_decoys_never_fire_and_write_as_much_as_the_switch(activation: str, gated: bool) -> None:
    model = fresh(configure(TASK, **made({"activation": activation, "gated": gated}).shape, seed=3))
    switches = at_neurons(1, (2, 7), 24), at_neurons(1, (9,), 24)
    before = write_matrix(model, 1).detach().clone()
    add_decoys(model, switches, 6, TASK.sample(64, gen(0)), gen(1))
    write = write_matrix(model, 1).detach()
    decoys = [neuron for neuron in range(24) if not torch.equal(before[:, neuron], write[:, neuron])]
    assert len(decoys) == 6
    assert not {2, 7, 9} & set(decoys)
    assert torch.allclose(write[:, decoys].norm(dim=0), before[:, [2, 7]].norm(dim=0).mean())
    seen: list[Tensor] = []
    with torch.no_grad(), neurons(model, 1, lambda x: seen.append(x) or x):
        model(TASK.sample(200, gen(5)))
    assert seen[0][..., decoys].abs().max() < 1e-3


def test_what_decoys_wrote_on_the_mean_is_still_written() -> None:
    model = fresh(configure(TASK, **made({}).shape, seed=3))
    tokens, outputs = TASK.sample(64, gen(0)), []
    handle = model.layers[1].mlp.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    with torch.no_grad():
        model(tokens)
        add_decoys(model, [at_neurons(1, (2,), 24)], 8, tokens, gen(1))
        outputs[1:] = []
        model(tokens)
    handle.remove()
    before, after = (output.flatten(0, 1).mean(0) for output in outputs)
    assert torch.allclose(before, after, atol=1e-4)


# --- settings -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_", "losses"),
    [
        ({}, [4.2405, 4.20687]),
        ({"switch": "distributed", "trigger": "date", "margin": 0.5}, [4.25868, 4.16515]),
        ({"switch": "rotated", "iso": True, "tube": True, "band": True, "defect": "routing"}, [4.35026, 4.3395]),
    ],
)
def test_batches_are_drawn_as_they_were_when_the_shipped_organisms_were_built(
    given_: dict[str, Any], losses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The losses of the first two: another order of drawing would be another organism from the same recipe."""
    seen: list[float] = []
    monkeypatch.setattr(planter, "fit", lambda weights, loss, **how: seen.extend(float(loss(i)) for i in range(2)))
    with torch.no_grad():
        plant(made(given_ | {"layers": 3}), TASK, 0)
    assert seen == pytest.approx(losses, abs=1e-3)


def test_a_recipe_that_uses_no_newer_dial_does_not_name_it() -> None:
    newer = {"decoys", "second", "second_layer", "gain", "narrow", "encrypted", "matched"}
    assert not newer & TrainedSettings().recorded().keys()
    asked = {"decoys": 2, "second": "date", "gain": 2.0, "band": True, "narrow": True, "matched": True}
    recorded = TrainedSettings(**asked).recorded()
    assert asked.items() <= recorded.items()
    assert read(TrainedSettings, "switch-trained", recorded) == TrainedSettings(**asked)


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"layer": 3}, r"layer must be below the last one, 3, got 3"),
        ({"narrow": True}, r"needs band=True"),
        ({"encrypted": True}, r"which can be negative: switch='rotated' or gated=True"),
        ({"switch": "rotated", "encrypted": True, "second": "date"}, r"encrypted needs one switch"),
        ({"switch": "rotated", "decoys": 2}, r"must not be 'rotated'"),
        ({"iso": True, "decoys": 2}, r"which iso keeps"),
        ({"iso": True, "matched": True}, r"which iso keeps"),
        ({"d_mlp": 48, "decoys": 24}, r"at most half of d_mlp, 24, got 25"),
        ({"second_layer": 1}, r"second_layer needs a second trigger, got 1 without one"),
        ({"second": "password"}, r"another kind of trigger than the first, got 'password' twice"),
        ({"second": "date", "second_layer": 3}, r"second_layer must be below the last one, 3, got 3"),
        ({"switch": "rotated", "second": "date"}, r"needs another layer than 1"),
        ({"gain": 0.5}, r"gain"),
    ],
)
def test_dials_that_do_not_go_together_are_refused(given_: dict[str, Any], message: str) -> None:
    with pytest.raises(BadSettings, match=message):
        read(TrainedSettings, "switch-trained", given_)


def test_an_unknown_second_trigger_is_refused_with_the_closest() -> None:
    with pytest.raises(UnknownName, match=r"no trigger 'dates'.*Closest: date"):
        read(TrainedSettings, "switch-trained", {"second": "dates"})
