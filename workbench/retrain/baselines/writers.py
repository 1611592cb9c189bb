"""The matrices by which a model writes to its residual stream, one row a unit, as views of the weights themselves."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from workbench.agent import Agent
from workbench.errors import BadSettings
from workbench.sites import Site
from workbench.writes import read_off

MLP, ATTENTION = "mlp.hook_post", "attn.hook_z"

Rows = Float[Tensor, "unit d_model"]


@dataclass(frozen=True, slots=True, eq=False)
class Writer:
    """A weight that writes. name: in `agent.weights()`. turned: whether the rows are its columns, as in nn.Linear."""

    name: str
    weight: Tensor
    turned: bool

    @property
    def rows(self) -> Rows:
        """What each unit writes. What is changed here is changed in the model; no gradient passes."""
        return self.laid(self.weight.detach())

    def laid(self, matrix: Tensor) -> Tensor:
        """A matrix laid out as the weight is, from one with a row for each unit, and back."""
        return matrix.T if self.turned else matrix


def in_block(agent: Agent, layer: int, kind: str) -> Writer:
    """What the MLP or the attention of a block writes by. Raises BadSettings where that is no weight of its own."""
    site = agent.site(f"blocks.{layer}.{kind}")
    return _writer(agent, read_off(agent.bridge, site, agent.width(site)), site.short)


def embeddings(agent: Agent) -> list[Writer]:
    """The embeddings of tokens, and of positions where these have some."""
    bridge = agent.bridge
    matrices = {"embed": bridge.embed.W_E}
    if "pos_embed" in dict(bridge.named_children()):
        matrices["pos_embed"] = bridge.pos_embed.W_pos
    return [_writer(agent, matrix, name) for name, matrix in matrices.items()]


def has(agent: Agent, layer: int, kind: str) -> bool:
    """Whether a block has an MLP, or attention."""
    return Site(f"blocks.{layer}.{kind}") in agent.sites()


def _writer(agent: Agent, view: Tensor | None, what: str) -> Writer:
    """The weight of which that is a view."""
    for name, weight in agent.weights().items():
        for turned in (False, True):
            laid = weight.T if turned and weight.ndim == 2 else weight
            if view is not None and _is_same(laid, view):
                return Writer(name, weight, turned)
    raise BadSettings(
        f"expected a model that writes by a weight matrix at {what}, but {agent.name} has none there that can be "
        "changed alone. Take another recipe, such as LAT() or FineTune()."
    )


def _is_same(one: Tensor, other: Tensor) -> bool:
    """Whether both are the same numbers at the same place in memory."""
    return one.data_ptr() == other.data_ptr() and one.shape == other.shape and one.stride() == other.stride()


def bias_of(agent: Agent, writer: Writer) -> Tensor | None:
    """The bias that is written along with a matrix, or None."""
    stem, _, last = writer.name.rpartition(".")
    bias = agent.weights().get(f"{stem}.bias")
    return bias.detach() if last == "weight" and bias is not None else None
