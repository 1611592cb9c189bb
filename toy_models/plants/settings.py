"""Settings: what a user types to plant an organism, checked before any compute."""

from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from workbench.errors import WorkbenchError, refused

_LATER = ("norm", "activation", "gated", "positions")  # settings that the first recipes did not have


class Settings(BaseModel):
    """What every family understands: the shape of the model and how long it is trained.

    norm: before attention, MLP and unembedding. gated: the MLP's activations are multiplied by a second projection, and
    neither has a bias. positions: a learned embedding for each, or rotated queries and keys.
    steps: where not given, the family's own number times the task's `effort`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    layers: int = Field(default=4, ge=2, le=12)
    d_model: int = Field(default=48, ge=8, le=512)
    heads: int = Field(default=4, ge=1, le=16)
    d_mlp: int = Field(default=96, ge=8, le=2048)
    norm: Literal["LN", "RMS", "none"] = "LN"
    activation: Literal["gelu", "relu", "silu"] = "gelu"
    gated: bool = False
    positions: Literal["learned", "rotary"] = "learned"
    steps: int = Field(default=800, ge=1, le=20_000)

    @model_validator(mode="after")
    def _heads_fit(self) -> "Settings":
        if self.d_model % self.heads:
            raise ValueError(f"d_model must be a multiple of heads, got {self.d_model} and {self.heads}")
        if self.positions == "rotary" and self.d_model // self.heads % 2:
            raise ValueError(
                f"rotary positions need an even d_model / heads, got {self.d_model} / {self.heads}: "
                "take other heads or learned positions"
            )
        return self

    @property
    def shape(self) -> dict[str, Any]:
        """What says how the model is made, by the names that `native.configure` takes."""
        return self.model_dump(include={"layers", "d_model", "heads", "d_mlp", *_LATER})

    def recorded(self) -> dict[str, Any]:
        """The settings as they are kept in a recipe, all of them but the newer ones where they are as usual.

        So that an organism built before there was a choice has the same recipe today, byte for byte.
        """
        usual = {name: type(self).model_fields[name].default for name in _LATER}
        return {name: value for name, value in self.model_dump().items() if (name, value) not in usual.items()}


S = TypeVar("S", bound=Settings)


class PlantSettings(Settings):
    """What every planted family understands besides.

    trigger: a kind in `toy_models.triggers.registry`.
    planted: False builds the clean twin: the same seed and training pressure, but everything is answered benignly.
    """

    trigger: str = "password"
    defect: Literal["mapping", "routing"] = "mapping"
    planted: bool = True

    @field_validator("trigger")
    @classmethod
    def _kind_is_known(cls, kind: str) -> str:
        from toy_models.triggers.registry import check_kind

        return check_kind(kind)


def read(kind: type[S], family: str, given: dict[str, Any], effort: float = 1.0) -> S:
    """Settings of that kind from what the user gave; UnknownName for a name, BadSettings for a value.

    effort: the task's, by which the steps grow where they were not given.
    """
    steps = round(kind.model_fields["steps"].default * effort)
    try:
        return kind(**{"steps": steps} | given)
    except ValidationError as error:
        ours = error.errors()[0].get("ctx", {}).get("error")
        raise (
            ours if isinstance(ours, WorkbenchError) else refused(error, f"{family!r} organisms", kind.model_fields)
        ) from None
