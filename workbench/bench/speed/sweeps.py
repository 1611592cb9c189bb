"""Single-neuron edits at `mlp.hook_post` of every layer in turn: each way beside the naive loop and the floor."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from statistics import fmean

import torch
from torch import Tensor

from workbench.bench.speed import others, ways
from workbench.bench.speed.clock import Timing, interleaved
from workbench.bench.speed.floor import Products, flops
from workbench.bench.speed.row import Row
from workbench.bench.speed.subjects import SITE, Shape, Subject, subject
from workbench.bench.speed.ways import Evaluate, Work
from workbench.goals import Goal, LogitDifference, UntargetedLoss
from workbench.sites import Site

NAIVE = "run_with_hooks loop"
EVERYWHERE, LAST, DIFFERENCE = "engine", "engine, last position", "engine, last position, logit difference"
_PRODUCTS = "matrix products"
_TOKEN = 3  # of the logit difference; any
Opened = dict[tuple[str, int], Evaluate]
"""What each method opened at each layer."""


@dataclass(frozen=True, slots=True)
class Method:
    """A way under its name. reach: which of the Shape's counts of edits it is timed with."""

    name: str
    open: Callable[[Work], Evaluate]
    reach: str = "whole"
    late: bool = False
    few_logits: bool = False
    note: str = ""

    def count(self, shape: Shape) -> int:
        """Edits a timing."""
        return getattr(shape, self.reach)

    def layers(self, shape: Shape) -> tuple[int, ...]:
        """Where it is timed."""
        if shape.sampled is None:
            return tuple(range(shape.layers))
        return shape.sampled[1:2] if self.reach == "whole" else shape.sampled

    def goal(self) -> Goal:
        """What it evaluates."""
        return LogitDifference.token(_TOKEN) if self.few_logits else UntargetedLoss()

    def work(self, on: Subject, layer: int) -> Work:
        """What it is to do at one layer."""
        positions = (on.shape.length - 1,) if self.late else None
        return Work(on.agent, on.prompts, Site(f"blocks.{layer}.{SITE}"), self.goal(), positions)

    def flops(self, shape: Shape, layer: int) -> float:
        """The least it must do for one edit."""
        positions = 1 if self.late else shape.length
        return flops(shape, layer, positions=positions, logits=2 if self.few_logits else shape.vocab)


def methods(on: Subject) -> list[Method]:
    """All that can be run here, the naive loop first."""
    model = others.plain(on.agent)
    sequential = partial(ways.engine, tier="sequential")
    return [
        Method(NAIVE, ways.naive),
        Method("edits stacked in the batch", ways.stacked),
        Method("TransformerLens generic_activation_patch", ways.patching),
        Method("torch forward pre-hook", partial(others.torch_hooks, model=model), note=others.PLAIN),
        *(
            Method(package, partial(way, model=model), note=others.PLAIN)
            for package, way in (("nnsight", others.nnsight), ("pyvene", others.pyvene))
            if not others.missing(package)
        ),
        Method("engine, hooks", partial(ways.engine, tier="hooks")),
        Method("engine, stripped", partial(ways.engine, tier="stripped"), "suffix"),
        Method(EVERYWHERE, sequential, "suffix"),
        Method(LAST, sequential, "late", late=True),
        Method(DIFFERENCE, sequential, "late", late=True, few_logits=True),
    ]


def sweeps(shape: Shape, repeats: int, device: str) -> list[Row]:
    """Every method on one shape: a row for all layers in turn, then one for each layer."""
    on = subject(shape, device)
    found = methods(on)
    opened = {(m.name, layer): m.open(m.work(on, layer)) for m in found for layer in m.layers(shape)}
    deltas = {m.name: on.deltas(m.count(shape)) for m in found}
    errors = _errors(found, on, opened, deltas)  # and everything is warm after it
    products = Products(shape, on.agent.device)
    jobs = {key: partial(evaluate, deltas[key[0]]) for key, evaluate in opened.items()}
    times = interleaved({(_PRODUCTS, 0): products} | jobs, shape.repeats(repeats), on.agent.device)
    table = _Times(shape, times, {m.name: m.count(shape) for m in found}, on.agent.device)
    rate = products.rate(times[_PRODUCTS, 0], on.agent.device)
    lines = [row for m in found for row in _rows(m, table, rate, errors[m.name])]
    absent = [p for p in ("nnsight", "pyvene") if others.missing(p)]
    lines += [Row(part="sweeps", subject=shape.name, method=p, note=others.missing(p)) for p in absent]
    return [*lines, _rate_row(shape, times[_PRODUCTS, 0], rate)]


@dataclass(frozen=True, slots=True)
class _Times:
    """What was timed, as seconds of one edit."""

    shape: Shape
    times: dict[tuple[str, int], Timing]
    counts: dict[str, int]
    device: torch.device

    def edit(self, method: str, layers: Iterable[int]) -> Timing:
        """One edit, the mean over layers."""
        return Timing.mean(self.times[method, layer] / self.counts[method] for layer in layers)

    def naive(self) -> float:
        """Seconds of one naive edit."""
        layers = [layer for name, layer in self.times if name == NAIVE]
        return self.edit(NAIVE, layers).seconds(self.device)


def _rows(method: Method, table: _Times, rate: float, error: float) -> list[Row]:
    """Over all layers, and at each."""
    layers = method.layers(table.shape)
    groups: list[tuple[int | None, tuple[int, ...]]] = [(None, layers), *((layer, (layer,)) for layer in layers)]
    rows = []
    for layer, own in groups:
        each = table.edit(method.name, own)
        spent, least = each.seconds(table.device), fmean(method.flops(table.shape, i) for i in own) / rate
        rows.append(
            Row(
                part="sweeps", subject=table.shape.name, method=method.name, layer=layer,
                count=table.counts[method.name], cpu=each.cpu, wall=each.wall, ratio=table.naive() / spent,
                over_floor=spent / least, error=error, note=method.note,
            )
        )  # fmt: skip
    return rows


def _rate_row(shape: Shape, timing: Timing, rate: float) -> Row:
    """How fast the matrix products of the floor are."""
    note = f"{rate / 1e9:.0f} GFLOP/s, [4096, {shape.d_model}] by d_mlp and back"
    return Row(
        part="sweeps", subject=shape.name, method=_PRODUCTS, count=1, cpu=timing.cpu, wall=timing.wall, note=note
    )


def _errors(found: list[Method], on: Subject, opened: Opened, deltas: dict[str, Tensor]) -> dict[str, float]:
    """For each method the largest error over layers and the edits that the naive loop is timed with."""
    known: dict[tuple[bool, bool, int], Tensor] = {}
    errors = dict.fromkeys(deltas, 0.0)
    for method, layer in ((m, layer) for m in found for layer in m.layers(on.shape)):
        losses = opened[method.name, layer](deltas[method.name])[: on.shape.whole]
        key = (method.late, method.few_logits, layer)
        if key not in known:
            known[key] = ways.naive(method.work(on, layer))(deltas[NAIVE])
        errors[method.name] = max(errors[method.name], relative(losses, known[key]))
    return errors


def relative(found: Tensor, expected: Tensor) -> float:
    """The largest difference of two sets of losses, relative to 1 + |expected|."""
    return float(((found - expected).abs() / (1 + expected.abs())).max())
