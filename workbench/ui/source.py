"""Values as the Python source that makes them again: the code twins of what panels show."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch

import workbench as wb
from workbench.agent import Agent
from workbench.budgets import Both
from workbench.edits import Edit
from workbench.errors import BadSettings
from workbench.prompts import Prompts
from workbench.sites import Site

_WIDE = 100


def source(value: object) -> str:
    """Python that makes an equal value, where `wb` is workbench and `torch` is torch.

    Knows numbers, strings, None, tuples, lists, ranges, Sites, Edits and the settings that workbench exports
    (Budgets, Goals, Surgeons, recipes). Raises BadSettings for anything else.
    """
    if value is None or isinstance(value, bool | int | float | str | range):
        return repr(value)
    if isinstance(value, Site):
        return repr(value.short)
    if isinstance(value, tuple | list):
        inside = ", ".join(source(v) for v in value)
        return f"[{inside}]" if isinstance(value, list) else f"({inside}{',' if len(value) == 1 else ''})"
    if isinstance(value, Edit):
        return _edit(value)
    if isinstance(value, Both):
        return " & ".join(map(source, value.budgets))
    if type(value).__name__ in wb.__all__:
        return f"wb.{type(value).__name__}({_settings(value)})"
    raise BadSettings(f"expected a value that can be written as code, such as L2Ball(2.0), got {type(value).__name__}.")


def _settings(value: object) -> str:
    """The settings that differ from their defaults, as keyword arguments."""
    if hasattr(type(value), "model_fields"):  # a recipe
        given = {name: getattr(value, name) for name in getattr(value, "model_fields_set", ())}
    elif is_dataclass(value):
        given = {f.name: getattr(value, f.name) for f in fields(value) if f.init and not _usual(f, value)}
    else:
        raise BadSettings(f"expected settings whose fields are known, got {type(value).__name__}.")
    return ", ".join(f"{name}={source(one)}" for name, one in given.items())


def _usual(one: Any, value: object) -> bool:
    return bool(one.default == getattr(value, one.name))


def _edit(edit: Edit) -> str:
    """An Edit: of one neuron in words, else number by number, each as short as float32 allows."""
    touched = edit.delta.nonzero().flatten().tolist() if edit.delta.ndim == 1 else []
    if len(touched) == 1 and edit.positions is None and edit.delta.dtype == torch.float32:
        dose = _number(edit.delta[touched[0]])
        return f"wb.Edit.neuron({source(edit.site)}, {touched[0]}, {dose}, {edit.width})"
    rows = edit.delta.reshape(-1, edit.width)
    said = ", ".join("[" + ", ".join(map(_number, row)) + "]" for row in rows)
    said = f"[{said}]" if edit.delta.ndim == 2 else said
    kind = "" if edit.delta.dtype == torch.float32 else f", dtype={edit.delta.dtype}"
    at = "" if edit.positions is None else f", {source(edit.positions)}"
    return f"wb.Edit(wb.Site.parse({source(edit.site)}), torch.tensor({said}{kind}){at})"


def _number(value: torch.Tensor) -> str:
    return str(value.cpu().numpy()[()]) if value.dtype != torch.bfloat16 else repr(float(value))


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """A function of workbench with its settings: run from here, or written as code; so the two cannot differ."""

    function: str
    settings: Mapping[str, Any]

    def __call__(self, agent: Agent, prompts: Prompts) -> Any:
        """The function's value for that Agent and those Prompts."""
        return getattr(wb, self.function)(agent, prompts, **self.settings)

    def code(self, prompts: str = "prompts", **instead: str) -> str:
        """The call as an expression; `instead`: code to write for some settings instead of their values."""
        said = {name: source(value) for name, value in self.settings.items() if name not in instead} | instead
        start, parts = f"wb.{self.function}(", ["agent", prompts, *(f"{k}={v}" for k, v in said.items())]
        line = f"{start}{', '.join(parts)})"
        return line if len(line) <= _WIDE else "\n".join([start, *(f"    {part}," for part in parts), ")"])
