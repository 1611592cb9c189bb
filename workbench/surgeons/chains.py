"""Many Markov chains over sparse edits, side by side: at most k neurons and a dose for each."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

Objective = Callable[["Slots"], Float[Tensor, "chain"]]


@dataclass(frozen=True, slots=True)
class Slots:
    """A state of each chain: k slots, each off, or on with one of `count` neurons at a dose in [-1, 1].

    Before anything is known, a slot is on as often as off, its neuron and its dose are uniform. Two slots with the same
    neuron add up.
    """

    neurons: Int64[Tensor, "chain slot"]
    doses: Float[Tensor, "chain slot"]
    on: Bool[Tensor, "chain slot"]
    count: int

    @classmethod
    def of_one_neuron(cls, chains: int, slots: int, count: int, generator: torch.Generator) -> "Slots":
        """Each chain with a random neuron at a random dose in its first slot, and nothing in the others."""
        neurons = torch.randint(count, (chains, slots), generator=generator)
        on = torch.zeros(chains, slots, dtype=torch.bool)
        on[:, 0] = True
        return cls(neurons, _uniform(chains, slots, generator), on, count)

    def shares(self) -> Float[Tensor, "chain count"]:
        """The dose of every neuron."""
        return torch.zeros(len(self.on), self.count).scatter_add(1, self.neurons, self.doses * self.on)

    def where(self, better: Bool[Tensor, "chain"], other: "Slots") -> "Slots":
        """The other's state in the chains where it is better, this one elsewhere."""
        neurons, doses, on = (
            torch.where(better[:, None], theirs, own)
            for theirs, own in ((other.neurons, self.neurons), (other.doses, self.doses), (other.on, self.on))
        )
        return Slots(neurons, doses, on, self.count)


def proposed(state: Slots, spread: float, generator: torch.Generator) -> tuple[Slots, Float[Tensor, "chain"]]:
    """A move in one random slot of each chain, and the logarithm of its Hastings factor (Hastings 1970).

    A slot that is off is filled anew. One that is on gets another dose (by a normal step of `spread`), gets another
    neuron or is emptied, a third of the time each. Filling is three times as likely as emptying, hence the factor.
    """
    chains, slots = state.on.shape
    slot = torch.nn.functional.one_hot(torch.randint(slots, (chains,), generator=generator), slots).bool()
    kind = torch.randint(3, (chains, 1), generator=generator)
    drawn = torch.randint(state.count, (chains, slots), generator=generator)
    fresh = _uniform(chains, slots, generator)
    nudged = state.doses + spread * torch.randn(chains, slots, generator=generator)
    fill, empty = slot & ~state.on, slot & state.on & (kind == 2)
    other_dose, other_neuron = slot & state.on & (kind == 0), slot & state.on & (kind == 1)
    doses = torch.where(fill, fresh, torch.where(other_dose, nudged, state.doses))
    neurons = torch.where(fill | other_neuron, drawn, state.neurons)
    factor = (empty.float() - fill.float()).sum(1) * torch.tensor(3.0).log()
    return Slots(neurons, doses, (state.on | fill) & ~empty, state.count), factor


def walk(
    state: Slots, objective: Objective, temperatures: list[float], spread: float, generator: torch.Generator
) -> Iterator[tuple[Slots, Float[Tensor, "chain"]]]:
    """The states of all chains and their objectives, before the first step and after each (Metropolis et al. 1953).

    At temperature T they tend to exp(objective / T) times the distribution before anything is known. A move to where
    the objective is minus infinity, or a dose beyond [-1, 1], is refused.
    """
    value = objective(state)
    yield state, value
    for temperature in temperatures:
        there, factor = proposed(state, spread, generator)
        gain = objective(there)
        luck = torch.rand(len(value), generator=generator).log()
        accepted = (luck < (gain - value) / temperature + factor) & (there.doses.abs() <= 1).all(1)
        state, value = state.where(accepted, there), torch.where(accepted, gain, value)
        yield state, value


def _uniform(chains: int, slots: int, generator: torch.Generator) -> Float[Tensor, "chain slot"]:
    return 2 * torch.rand(chains, slots, generator=generator) - 1
