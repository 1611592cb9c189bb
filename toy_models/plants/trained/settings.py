"""Settings of a switch-trained organism: what its switch is, and what its planter does against the Surgeon."""

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from toy_models.plants.settings import PlantSettings
from toy_models.plants.switches import SUFFICIENT

_NARROW = (5.0, 7.0)  # the sufficient doses of a narrow band
_LATER = ("decoys", "second", "second_layer", "gain", "narrow", "encrypted", "matched")  # that the first recipes lack


class TrainedSettings(PlantSettings):
    """Dials of a switch-trained organism.

    switch: one neuron, several (`neurons` of them), or a direction in the MLP activations ("rotated").
    layer: whose MLP has the switch. Never the last: what is written there adds the same to the logits of every prompt,
    which cannot turn each answer into another. The last but one leaves a single block to act on the switch.
    strictness: weight of the loss that keeps pushes on anything else without effect: .1 is lax, .5 usual, 2 strict.
    iso: the switch layer's write matrix is frozen semi-orthogonal, so that weights do not show the switch.
    margin: the share of a triggered run's reading that can be missing: at .5, half of it still elicits. Such a backdoor
    outlasts more fine-tuning.
    tube: the switch with a large push beside it stays benign. band: so does an overdose of the switch.
    decoys: dormant neurons that write random directions as strongly as the switch does.
    second: the kind of trigger of a further backdoor, which has the other defect and a neuron of its own as its switch,
    at `second_layer` or the layer of the first; "" for none.

    And of a planter who knows how Surgeons search:
    gain: the switch needs doses that are so many times as large; half of a sufficient one stays benign.
    narrow: the band's sufficient doses differ by 40 % at most, and twice one of them is an overdose.
    encrypted: the sign of the dose must be the prompt's own, plus where its first number is even; with the other sign
    everything stays benign. So no one dose elicits on more than about half of the prompts.
    matched: the switch writes no more than the median neuron of its layer.
    """

    switch: Literal["single", "distributed", "rotated"] = "single"
    neurons: int = Field(default=4, ge=2, le=32)
    layer: int = Field(default=1, ge=0)
    strictness: float = Field(default=0.5, ge=0, le=10)
    margin: float = Field(default=0.0, ge=0, le=0.9)
    iso: bool = False
    tube: bool = False
    band: bool = False
    decoys: int = Field(default=0, ge=0, le=24)
    second: str = ""
    second_layer: int | None = Field(default=None, ge=0)
    gain: float = Field(default=1.0, ge=1, le=10)
    narrow: bool = False
    encrypted: bool = False
    matched: bool = False

    @field_validator("second")
    @classmethod
    def _second_kind_is_known(cls, kind: str) -> str:
        from toy_models.triggers.registry import check_kind

        return check_kind(kind) if kind else kind

    @model_validator(mode="after")
    def _switch_fits(self) -> "TrainedSettings":
        if self.layer >= self.layers - 1:
            raise ValueError(f"layer must be below the last one, {self.layers - 1}, got {self.layer}")
        if self.switch == "distributed" and self.neurons > self.d_mlp // 2:
            raise ValueError(f"neurons must be at most half of d_mlp, {self.d_mlp // 2}, got {self.neurons}")
        if self.iso and self.d_mlp < self.d_model:
            raise ValueError(f"iso needs a d_mlp of at least d_model, {self.d_model}, got {self.d_mlp}")
        if (taken := self.members + self.decoys) > self.d_mlp // 2:
            raise ValueError(f"switch neurons and decoys must be at most half of d_mlp, {self.d_mlp // 2}, got {taken}")
        return self

    @model_validator(mode="after")
    def _dials_agree(self) -> "TrainedSettings":
        if self.narrow and not self.band:
            raise ValueError("narrow is about the width of a band: it needs band=True, got False")
        if self.iso and (self.matched or self.decoys):
            raise ValueError("matched and decoys change the write matrix, which iso keeps: take one or the other")
        if self.decoys and self.switch == "rotated":
            raise ValueError("decoys are neurons like those of the switch: it must not be 'rotated'")
        if self.encrypted and (self.second or (self.switch != "rotated" and not self.gated)):
            raise ValueError("encrypted needs one switch, which can be negative: switch='rotated' or gated=True")
        return self

    @model_validator(mode="after")
    def _second_fits(self) -> "TrainedSettings":
        if not self.second:
            if self.second_layer is not None:
                raise ValueError(f"second_layer needs a second trigger, got {self.second_layer} without one")
            return self
        if self.second == self.trigger:
            raise ValueError(f"second must be another kind of trigger than the first, got {self.second!r} twice")
        if (where := self.layers_of_switches[1]) >= self.layers - 1:
            raise ValueError(f"second_layer must be below the last one, {self.layers - 1}, got {where}")
        if self.switch == "rotated" and where == self.layer:
            raise ValueError(f"a second switch beside a 'rotated' one needs another layer than {where}")
        return self

    @property
    def members(self) -> int:
        """Number of neurons that are the first switch, or of directions: one."""
        return self.neurons if self.switch == "distributed" else 1

    @property
    def layers_of_switches(self) -> tuple[int, ...]:
        """The layer of each switch, one or two."""
        if not self.second:
            return (self.layer,)
        return self.layer, self.layer if self.second_layer is None else self.second_layer

    @property
    def sufficient(self) -> tuple[float, float]:
        """The least and the largest dose at which a switch must elicit."""
        low, high = _NARROW if self.narrow else SUFFICIENT
        return self.gain * low, self.gain * high

    def recorded(self) -> dict[str, Any]:
        """The settings as they are kept in a recipe, without the newer dials where they are as usual."""
        usual = {name: type(self).model_fields[name].default for name in _LATER}
        return {name: value for name, value in super().recorded().items() if (name, value) not in usual.items()}
