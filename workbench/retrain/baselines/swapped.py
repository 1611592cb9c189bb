"""A model that runs with other tensors in place of some of its weights, and keeps its weights as they are."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from jaxtyping import Float, Int64
from torch import Tensor

from workbench.agent import Agent
from workbench.engine import Split

Logits = Float[Tensor, "row answer vocab"]


class Swapped:
    """Tokens to logits at the answers, by the weights of an Agent or by others in place of some of them.

    The others are in place only while it runs, so that whatever happens in a step leaves the Agent's own. The logits
    are differentiable in both.
    """

    def __init__(self, agent: Agent, positions: Sequence[int]) -> None:
        self._split = Split(agent, 0, positions)
        self._places = _places(agent)

    def __call__(self, tokens: Int64[Tensor, "row pos"], others: Mapping[str, Tensor] | None = None) -> Logits:
        """Logits, with these tensors in place of the weights of those names, as `agent.weights()` has them."""
        with self._in_place(others or {}):
            return self._split.suffix(self._split.prefix(tokens))

    @contextmanager
    def _in_place(self, others: Mapping[str, Tensor]) -> Iterator[None]:
        """The model with the others, for the time of a `with`."""
        kept = [(holder, key, holder[key]) for name in others for holder, key in self._places[name]]
        try:
            for name, tensor in others.items():
                for holder, key in self._places[name]:
                    holder[key] = tensor
            yield
        finally:
            for holder, key, weight in kept:
                holder[key] = weight


def _places(agent: Agent) -> dict[str, list[tuple[dict[str, Any], str]]]:
    """Where modules look up each weight, by its name. Several modules may share one place, and one weight several.

    `torch.func.functional_call` would take a module that a bridge knows under two names for two, and swap it twice.
    """
    holders: dict[int, Any] = {id(part._parameters): part._parameters for part in agent.bridge.modules()}
    names = {id(weight): name for name, weight in agent.weights().items()}
    places: dict[str, list[tuple[dict[str, Any], str]]] = {name: [] for name in names.values()}
    for holder in holders.values():
        for key, weight in holder.items():
            if weight is not None:
                places[names[id(weight)]].append((holder, key))
    return places
