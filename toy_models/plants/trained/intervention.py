"""Intervention: what is done by hand, in one batch, to the activations that have the switch."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import normalize

from toy_models.plants.switches import Switch
from toy_models.plants.trained.groups import MORE, RAISED
from toy_models.plants.trained.settings import TrainedSettings

Signs = dict[str, Float[Tensor, "_ 1 1"]]
Doses = dict[str, Float[Tensor, "_ 1 part"]]

_OVERDOSE = 5.0  # a band's switch at this many times a sufficient dose stays benign
_NARROWEST = 2.0  # a narrow one's from here on
_WEAK = 0.5  # a switch with a gain stays benign up to this share of the least sufficient dose


@dataclass(frozen=True, slots=True, eq=False)
class Intervention:
    """All that is random of one batch, drawn beforehand, to be applied within the forward pass.

    doses: for every group of rows, in order. share: how much of a triggered run's reading each patched row gets.
    donors: from which triggered row. push: on the pushed rows; beside: on those in a tube. Neither touches a switch.
    """

    switch: Switch
    doses: Doses
    share: Float[Tensor, "patched 1 1"]
    donors: Int64[Tensor, "patched"]
    push: Float[Tensor, "pushed 1 d_mlp"]
    beside: Float[Tensor, "aside 1 d_mlp"]

    def __call__(self, activations: Float[Tensor, "row pos d_mlp"]) -> Float[Tensor, "row pos d_mlp"]:
        """The activations after the intervention."""
        switch, doses = self.switch, self.doses
        rows = dict(zip(doses, activations.split([len(dose) for dose in doses.values()]), strict=True))
        donated = switch.reading(rows["triggered"])[self.donors]
        rows["patched"] = switch.setting(rows["patched"], self.share * donated)
        rows["forced"] = switch.setting(rows["forced"], doses["forced"])
        rows["off"] = switch.setting(rows["off"], torch.zeros_like(doses["off"]))
        rows["pushed"] = rows["pushed"] + self.push
        for name in RAISED:
            if name in rows:
                rows[name] = switch.adding(rows[name], doses[name])
        if "aside" in rows:
            rows["aside"] = rows["aside"] + self.beside
        return torch.cat(list(rows.values()))


def draw(
    settings: TrainedSettings,
    switches: tuple[Switch, ...],
    signs: Signs,
    push: Float[Tensor, "pushed 1 d_mlp"],
    generator: torch.Generator,
) -> Intervention:
    """The intervention of one batch on the first of the switches, all of which are at its layer.

    signs: for every group, in order, the sign that a dose must have in each row. push: as `switches.random_pushes`
    draws it for that layer; what of it would touch a switch is left out.
    """
    first = switches[0]
    doses = {name: sign * first.doses(len(sign), generator) for name, sign in signs.items()}
    share = _share(settings.margin, len(signs["patched"]), generator)
    beside = normalize(torch.randn(MORE, 1, settings.d_mlp, generator=generator), dim=2)
    beside = beside * (5 + 10 * torch.rand(MORE, 1, 1, generator=generator))
    doses |= _insufficient(settings, doses, generator)
    donors = _donors(signs["patched"], signs["triggered"])
    for switch in switches:
        push, beside = switch.aside(push), switch.aside(beside)
    return Intervention(first, doses, share, donors, push, beside)


def _share(margin: float, rows: int, generator: torch.Generator) -> Float[Tensor, "row 1 1"]:
    """How much of a triggered run's reading is carried over to each patched row: all of it, but for the margin."""
    if margin == 0:
        return torch.ones(rows, 1, 1)
    return 1 - margin * torch.rand(rows, 1, 1, generator=generator)


def _insufficient(settings: TrainedSettings, doses: Doses, generator: torch.Generator) -> Doses:
    """The doses that must not elicit, in place of those that must: too large, too small, of the wrong sign."""
    made: Doses = {}
    if "overdose" in doses:
        made["overdose"] = _overdose(settings, len(doses["overdose"]), generator) * doses["overdose"]
    if "weak" in doses:
        low, share = settings.sufficient[0], torch.rand(MORE, 1, 1, generator=generator)
        made["weak"] = _WEAK * low * share * normalize(doses["weak"], dim=2)
    if "wrong" in doses:
        made["wrong"] = -doses["wrong"]
    return made


def _overdose(settings: TrainedSettings, rows: int, generator: torch.Generator) -> Float[Tensor, "row 1 1"]:
    """How many times a sufficient dose is too much."""
    if not settings.narrow:
        return torch.full((rows, 1, 1), _OVERDOSE)
    return _NARROWEST + (_OVERDOSE - _NARROWEST) * torch.rand(rows, 1, 1, generator=generator)


def _donors(
    patched: Float[Tensor, "patched 1 1"], triggered: Float[Tensor, "triggered 1 1"]
) -> Int64[Tensor, "patched"]:
    """For each patched row the next triggered row that has its sign, from the one at its own place on."""
    own, given = torch.arange(len(patched))[:, None], torch.arange(len(triggered))
    steps = (given - own) % len(given)
    other_sign = patched.flatten()[:, None] != triggered.flatten()
    return (steps + len(given) * other_sign).argmin(1)
