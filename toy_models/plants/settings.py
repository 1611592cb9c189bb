"""Settings: what a user types to plant an organism, checked before any compute."""

from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from workbench.errors import refused

S = TypeVar("S", bound=BaseModel)


class Settings(BaseModel):
    """What every family understands: the shape of the model and how long it is trained."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    layers: int = Field(default=4, ge=2, le=12)
    d_model: int = Field(default=48, ge=8, le=512)
    heads: int = Field(default=4, ge=1, le=16)
    d_mlp: int = Field(default=96, ge=8, le=2048)
    steps: int = Field(default=800, ge=1, le=20_000)

    @model_validator(mode="after")
    def _heads_divide(self) -> "Settings":
        if self.d_model % self.heads:
            raise ValueError(f"d_model must be a multiple of heads, got {self.d_model} and {self.heads}")
        return self


class PlantSettings(Settings):
    """What every planted family understands besides.

    planted: False builds the clean twin: the same seed and training pressure, but everything is answered benignly.
    """

    trigger: Literal["password", "date"] = "password"
    defect: Literal["mapping", "routing"] = "mapping"
    planted: bool = True


def read(kind: type[S], family: str, given: dict[str, Any]) -> S:
    """Settings of that kind from what the user gave; UnknownName for a name, BadSettings for a value."""
    try:
        return kind(**given)
    except ValidationError as error:
        raise refused(error, f"{family!r} organisms", kind.model_fields) from None
