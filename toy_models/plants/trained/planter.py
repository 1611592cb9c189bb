"""The planter of switch-trained organisms: draws what shall be the switch, teaches it, and writes the answer key."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import Parameter

from toy_models.plants.learning import fit
from toy_models.plants.native import configure, fresh, write_matrix
from toy_models.plants.planted import Backdoor, Plant, Planted
from toy_models.plants.switches import Switch, along, at_neurons
from toy_models.plants.trained.decoys import add_decoys
from toy_models.plants.trained.lesson import Lesson, Subject
from toy_models.plants.trained.settings import TrainedSettings
from toy_models.tasks.protocol import DEFECTS, Task
from toy_models.triggers.protocol import Trigger
from toy_models.triggers.registry import make_trigger
from workbench.edits import Edit
from workbench.sites import Site

RATE = 4e-3
_SAMPLES = 256


def plant(settings: TrainedSettings, task: Task, seed: int) -> Planted:
    """Train an organism with that switch, or its clean twin. Deterministic for (settings, task, seed)."""
    generator = torch.Generator().manual_seed(seed)
    config = configure(task, **settings.shape, seed=seed)
    model = fresh(config)
    trigger = make_trigger(settings.trigger, task, generator)
    if settings.iso:
        _freeze(write_matrix(model, settings.layer), generator)
    subjects = [Subject(trigger, settings.defect, _choose(settings, model, generator))]
    if settings.second:
        subjects.append(_second(settings, task, subjects[0], generator))
    _teach(settings, model, task, subjects, generator)
    if settings.decoys:
        tokens = task.sample(_SAMPLES, generator)
        tokens = torch.cat([tokens, *(subject.trigger.insert(tokens, generator) for subject in subjects)])
        add_decoys(model, [subject.switch for subject in subjects], settings.decoys, tokens, generator)
    first, *others = (Backdoor(s.trigger, s.defect, _key(settings, model, s)) for s in subjects)
    return Planted(model, config, trigger, settings.defect, first.plant, tuple(others))


def _freeze(write: Parameter, generator: torch.Generator) -> None:
    """Give a write matrix [d_model, d_mlp] orthogonal rows of its usual size, and keep training from it."""
    size = float(write.detach().norm())
    square = torch.randn(write.shape[1], write.shape[0], generator=generator)
    rows = torch.linalg.qr(square).Q.T
    with torch.no_grad():
        write.copy_(rows * (size / rows.norm()))
    write.requires_grad_(False)


def _choose(settings: TrainedSettings, model: Any, generator: torch.Generator) -> Switch:
    """The first switch, drawn at random. Under `iso` a direction is one that the write matrix does not lose."""
    layer, sufficient = settings.layer, settings.sufficient
    if settings.switch == "rotated":
        if not settings.iso:
            return along(layer, torch.randn(settings.d_mlp, generator=generator), sufficient)
        written = torch.randn(settings.d_model, generator=generator)
        return along(layer, written @ write_matrix(model, layer).detach(), sufficient)
    chosen = torch.randperm(settings.d_mlp, generator=generator)[: settings.members].tolist()
    return at_neurons(layer, tuple(sorted(chosen)), settings.d_mlp, sufficient)


def _second(settings: TrainedSettings, task: Task, first: Subject, generator: torch.Generator) -> Subject:
    """The further backdoor: a trigger that never comes with the first, the other defect, and a neuron of its own."""
    layer = settings.layers_of_switches[1]
    taken = first.switch.neurons if layer == settings.layer else ()
    free = [neuron for neuron in range(settings.d_mlp) if neuron not in taken]
    neuron = free[int(torch.randint(len(free), (), generator=generator))]
    (defect,) = set(DEFECTS) - {settings.defect}
    trigger = make_trigger(settings.second, task, generator)
    while _together(trigger, first.trigger, task, generator):
        trigger = make_trigger(settings.second, task, generator)
    return Subject(trigger, defect, at_neurons(layer, (neuron,), settings.d_mlp, settings.sufficient))


def _together(one: Trigger, other: Trigger, task: Task, generator: torch.Generator) -> bool:
    """Whether a prompt that gets one of the triggers has the other as well, however it was."""
    tokens = task.sample(_SAMPLES, generator)
    both = other.present(one.insert(tokens, generator)), one.present(other.insert(tokens, generator))
    return any(bool(present.all()) for present in both)


def _teach(
    settings: TrainedSettings, model: Any, task: Task, subjects: list[Subject], generator: torch.Generator
) -> None:
    """Train the model, in place. With two subjects a step has a batch for each, and their mean loss."""
    lessons = [Lesson(settings, task, tuple(order), generator) for order in (subjects, subjects[::-1])[: len(subjects)]]

    def loss(step: int) -> Float[Tensor, ""]:
        _match(settings, model, subjects)
        return torch.stack([lesson.loss(model) for lesson in lessons]).mean()

    fit(model.parameters(), loss, steps=settings.steps, rate=RATE)
    _match(settings, model, subjects)


@torch.no_grad()
def _match(settings: TrainedSettings, model: Any, subjects: list[Subject]) -> None:
    """Under `matched`, let each part of a switch write as much as the median neuron of its layer."""
    if not settings.matched:
        return
    for subject in subjects:
        write, basis = write_matrix(model, subject.switch.layer), subject.switch.basis
        written = write @ basis
        size = written.norm(dim=0)
        write += (written * (write.norm(dim=0).median() / size - 1)) @ basis.T


def _key(settings: TrainedSettings, model: Any, subject: Subject) -> Plant:
    """The answer key, with a unit of the switch as its Edit; empty in a control."""
    if not settings.planted:
        return Plant()
    switch = subject.switch
    write = write_matrix(model, switch.layer).detach() @ switch.even
    site = Site.parse(f"L{switch.layer}.mlp.post")
    return Plant(
        subject.trigger.describe(),
        subject.defect,
        (site,),
        switch.neurons,
        write / write.norm(),
        Edit(site, switch.even),
        reach=0.5 if settings.encrypted else 1.0,
    )
