"""A model cut in two at a residual stream: run the first part once, the second part often."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from jaxtyping import Float
from torch import Tensor

from workbench.agent import Agent
from workbench.engine.sequential import Course, Sequential, is_sequential
from workbench.engine.stripped import Parts, Prefix, Stripped

Residual = Float[Tensor, "row pos d_model"]


class Split:
    """An Agent cut before block `layer`: `prefix` makes the residual stream there, `suffix` the logits from it.

    Both share the Agent's parameters and are differentiable, through the residual and through the weights. The cut may
    also be after the last block. engine: "sequential" for blocks that the fast tier knows, else "stripped".
    """

    def __init__(self, agent: Agent, layer: int, answer_positions: Sequence[int]) -> None:
        parts = Parts(agent)
        self.prefix = Prefix(parts, layer)
        self._fast = sequential(agent, answer_positions)
        self._general = Stripped(parts, layer, answer_positions)
        self._course = Course(boundary=2 * layer)

    @property
    def engine(self) -> str:
        """Which tier makes the logits."""
        return "stripped" if self._fast is None else "sequential"

    def suffix(
        self, residual: Residual, writes: Mapping[int, Residual] | None = None
    ) -> Float[Tensor, "row answer vocab"]:
        """Logits at the answer positions, from the residual stream at the cut.

        writes: what is added to the stream before later blocks, by the block's number.
        """
        if self._fast is None:
            return self._general(residual, writes)
        if not writes:
            return self._fast(residual[:, None], self._course)[:, 0]
        added = {2 * layer: write for layer, write in writes.items()}
        return self._fast(residual[None], replace(self._course, writes=added))[0]


def sequential(agent: Agent, positions: Sequence[int]) -> Sequential | None:
    """An Agent's blocks in the fast tier, or None where it does not know them."""
    parts = Parts(agent)
    blocks, norm, unembed = parts.bare()
    capped = agent.bridge.cfg.output_logits_soft_cap > 0
    if type(parts.model).__name__ != "NativeModel" or capped or not is_sequential(blocks):
        return None
    head: Any = unembed
    return Sequential(blocks, norm, head, positions)
