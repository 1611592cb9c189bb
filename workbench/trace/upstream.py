"""Upstream of a switch: which tokens, heads and MLP layers drive it, by attribution, and by patching each in turn."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.trace.drive import EMBED, Drive, Tokens, leaf, watch
from workbench.trace.parts import Heads, Part, attributed, hook_points, hooked_at

if TYPE_CHECKING:
    import pandas

COLUMNS = ("part", "layer", "head", "position", "attribution", "ablation")


@dataclass(frozen=True, slots=True, eq=False)
class Upstream:
    """A Drive on recovered inputs and on their clean originals, ready to be taken apart.

    All is measured at one position of each input, where it drives the switch most, and as a share of what its reading
    there is beyond that of its clean original. attribution: the gradient at the recovered input times the difference of
    activations (attribution patching, Nanda 2023); of first order, so blind to what is behind a saturated gate.
    ablation: what goes away when that part alone is as on the clean original. Shares of parts need not add up to 1.
    """

    drive: Drive
    inputs: Tokens
    clean: Tokens
    peak: Tensor
    full: Float[Tensor, "row"]
    rise: Float[Tensor, "row"]

    @classmethod
    def of(cls, drive: Drive, inputs: Tokens, clean: Tokens) -> "Upstream":
        """Those of the inputs that drive the switch further than their clean originals do."""
        readings = drive.readings(inputs)
        peak = drive.peak(readings)[:, None]
        full = readings.gather(1, peak)[:, 0]
        rise = full - drive.readings(clean).gather(1, peak)[:, 0]
        up = rise > 0
        return cls(drive, inputs[up.cpu()], clean[up.cpu()], peak[up], full[up], rise[up])

    def frame(self, top: int) -> "pandas.DataFrame":
        """Parts with both figures, means over the inputs: of each kind the `top` by attribution, each then patched.

        Tokens are those that differ. position: of a token, or the one that a head reads from; missing for a whole head.
        """
        import pandas

        scores = self.attributions() if len(self.rise) else {}
        chosen = _leading(scores, top)
        rows = [(p.kind, p.layer, p.head, p.position, scores[p], self.ablation(p)) for p in chosen]
        found = pandas.DataFrame(rows, columns=list(COLUMNS))
        found = found.astype(dict.fromkeys(("layer", "head", "position"), "Int64"))
        return found.sort_values("ablation", ascending=False, kind="stable", ignore_index=True)

    def attributions(self) -> dict[Part, float]:
        """The attribution of every part upstream of the switch, of tokens those that differ."""
        names, agent = hook_points(self.drive.agent, self.drive.depth), self.drive.agent
        with torch.enable_grad():
            there = watch(agent, self.inputs, [*names, *self.drive.sites], [(EMBED, leaf)], self.drive.depth)
            names = [name for name in names if name in there]
            level = self.drive.read(there).gather(1, self.peak).sum()
            slopes = torch.autograd.grad(level, [there[name] for name in names], allow_unused=True)
        with torch.no_grad():
            here = watch(agent, self.clean, names, (), self.drive.depth)
        known = {name: slope for name, slope in zip(names, slopes, strict=True) if slope is not None}
        differs = (self.inputs != self.clean).any(0)
        found = attributed(agent, {n: there[n].detach() for n in names}, here, known)
        return {part: self._share(gain) for part, gain in found if part.kind != "token" or differs[part.position]}

    @torch.no_grad()
    def ablation(self, part: Part) -> float:
        """What of the drive goes away with that part as on the clean originals."""
        inputs, hooks = self.inputs, []
        if part.kind == "token":
            inputs = inputs.clone()
            inputs[:, part.position] = self.clean[:, part.position]
        else:
            hooks = [(hooked_at(part), _adding(self._change(part)))]
        left = self.drive.readings(inputs, hooks).gather(1, self.peak)[:, 0]
        return self._share(self.full - left)

    def _change(self, part: Part) -> Tensor:
        """What turns that part's result on the inputs into that on their clean originals."""
        agent, depth = self.drive.agent, self.drive.depth
        names = [hooked_at(part), *(n for n in hook_points(agent, depth) if n.startswith(f"blocks.{part.layer}.attn."))]
        there, here = (watch(agent, tokens, names, (), depth) for tokens in (self.inputs, self.clean))
        if part.kind == "mlp":
            return here[names[0]] - there[names[0]]
        assert part.layer is not None
        assert part.head is not None
        count = agent.bridge.cfg.n_heads
        after, before = Heads.of(there, part.layer, count), Heads.of(here, part.layer, count)
        change = torch.zeros_like(after.z)
        change[:, :, part.head] = before.brought(part.head, part.position) - after.brought(part.head, part.position)
        return change

    def _share(self, amount: Float[Tensor, "row"]) -> float:
        """The mean over inputs of an amount of drive, as a share of its rise."""
        return float((amount / self.rise).mean())


def _leading(scores: dict[Part, float], top: int) -> Iterator[Part]:
    """The `top` parts by size of attribution among tokens, MLP layers, whole heads, and what heads bring from where."""
    kinds = dict.fromkeys((part.kind, part.kind == "head" and part.position is None) for part in scores)
    for kind in kinds:
        same = [p for p in scores if (p.kind, p.kind == "head" and p.position is None) == kind]
        yield from sorted(same, key=lambda part: -abs(scores[part]))[:top]


def _adding(change: Tensor) -> Any:
    """A hook that adds a change to activations of the same rows."""

    def hook(activations: Tensor, hook: Any) -> Tensor:
        return activations + change.to(activations.dtype).reshape(activations.shape)

    return hook
