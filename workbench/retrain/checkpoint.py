"""The state of a retraining run between two steps, in memory and as tensors that a file can hold."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from workbench.agent import Agent
from workbench.errors import BadCheckpoint
from workbench.retrain.schedules import Terms
from workbench.store import check_tensors

_WEIGHT, _BESIDE, _MOMENT, _GENERATOR = "weight.", "beside.", "moment.", "generator"
_NOTES = ("number", "of", "agent", "groups", "gradients", "terms")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """All that is needed to go on after step `number` as if nothing had happened.

    of: the run it belongs to. gradients: evaluations so far. terms: of the contest at the next step. beside: what is
    learnt beside the Agent's weights, such as masks, by its number among the method's parameters.
    """

    number: int
    of: str
    agent: Agent
    optimizer: dict[str, Any]
    generator: Tensor
    gradients: int
    terms: Terms
    beside: Mapping[str, Tensor] = field(default_factory=dict)

    def packed(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        """Everything as tensors, and notes for the rest: what `Run.checkpoint` takes."""
        weights = {f"{_WEIGHT}{name}": weight for name, weight in self.agent.weights().items()}
        moments = {
            f"{_MOMENT}{number}.{name}": torch.as_tensor(value)
            for number, state in self.optimizer["state"].items()
            for name, value in state.items()
        }
        beside = {f"{_BESIDE}{name}": tensor for name, tensor in self.beside.items()}
        groups = json.dumps(self.optimizer["param_groups"])
        notes = {"number": str(self.number), "of": self.of, "agent": self.agent.name, "groups": groups}
        notes |= {"gradients": str(self.gradients), "terms": json.dumps(asdict(self.terms))}
        return weights | beside | moments | {_GENERATOR: self.generator}, notes

    @classmethod
    def unpacked(cls, tensors: Mapping[str, Tensor], notes: Mapping[str, str], like: Agent) -> "Checkpoint":
        """The checkpoint that was packed. like: an Agent of that architecture, of which a copy gets the weights.

        Raises BadCheckpoint where these are not the tensors and notes of a checkpoint of such an Agent.
        """
        if missing := [name for name in _NOTES if name not in notes] + [_GENERATOR] * (_GENERATOR not in tensors):
            raise BadCheckpoint(f"expected a checkpoint of a retraining run, got one without {', '.join(missing)}.")
        agent = like.copy(name=notes["agent"])
        kept, beside = (_under(prefix, tensors) for prefix in (_WEIGHT, _BESIDE))
        check_tensors(f"the checkpoint of step {notes['number']}", kept, agent.weights())
        with torch.no_grad():
            for name, weight in agent.weights().items():
                weight.copy_(kept[name])
        optimizer = {"state": _moments(tensors), "param_groups": json.loads(notes["groups"])}
        terms = Terms(**json.loads(notes["terms"]))
        number, gradients = int(notes["number"]), int(notes["gradients"])
        return cls(number, notes["of"], agent, optimizer, tensors[_GENERATOR], gradients, terms, beside)


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin so, by the rest of their names."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _moments(tensors: Mapping[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    """The optimiser's state of each parameter, by its number."""
    states: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith(_MOMENT):
            number, _, field = name.removeprefix(_MOMENT).partition(".")
            states.setdefault(int(number), {})[field] = tensor
    return states
