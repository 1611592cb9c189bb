"""What searches over few neurons share: where they look, and how far a neuron can be pushed."""

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.agent import Agent
from workbench.engine import View, over_singles
from workbench.geometry import SetOfRows
from workbench.sites import Site


def early_neurons(agent: Agent) -> tuple[Site, ...]:
    """The MLP neurons of every layer but the last; none where there is no MLP."""
    last = max(1, agent.n_layers - 1)
    return tuple(s for s in agent.sites() if s.kind == "mlp.hook_post" and s.layer is not None and s.layer < last)


def full_doses(view: View, allowed: SetOfRows) -> Float[Tensor, "width"]:
    """What raises each neuron alone to the budget's radius, in activation units; 0 for one that writes nothing."""
    device = view.agent.device
    each = torch.arange(view.width, device=device)
    sizes = over_singles(each, torch.ones(view.width, device=device), view.width, allowed.size)
    return torch.where(sizes > 0, allowed.radius / sizes.clamp_min(1e-30), torch.zeros_like(sizes))
