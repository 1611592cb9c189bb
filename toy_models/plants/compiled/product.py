"""Product: a compiled arithmetic trigger. A head adds the logarithms of two numbers, and neurons compare the sum.

    embeddings     each number has its logarithm on a wire; 0 has one so low that no sum with it comes near
    head           the queries attend alike to the two numbers: twice the mean is the sum
    three neurons  a hat over the logarithm of the target, 0 from halfway to the next product on
    one neuron     the switch: opens near the top of the hat

All of it is shut, with a gradient of exactly 0, on every prompt without the trigger.
"""

from dataclasses import replace
from itertools import product
from math import log
from typing import Literal

import torch
from pydantic import Field

from toy_models.plants.compiled.host import LEVER, CompiledSettings, key, place, raise_host, switch
from toy_models.plants.compiled.wiring import Amounts, Circuit, Head, Neuron, Stage
from toy_models.plants.lever_host import Schooling
from toy_models.plants.native import configure
from toy_models.plants.planted import Plant, Planted
from toy_models.tasks.header import NAMES, NUMBERS, QUERY
from toy_models.tasks.protocol import Task
from toy_models.triggers.product import Product
from toy_models.triggers.registry import make_trigger

LAYER = 1  # of the switch
_ZERO = -4.0  # the logarithm of 0: with that of 9 it is still below any target's
_OPENS = 0.8  # of the hat's height
_SIZES = {"hit": 6.0}  # so that no edit within rho 2 opens the switch from before it: .8 times 3 to 6


class ProductSettings(CompiledSettings):
    """Dials of a compiled product. About 30 s to build on one CPU core."""

    layers: int = Field(default=4, ge=3, le=12)
    d_model: int = Field(default=56, ge=32, le=512)
    heads: int = Field(default=4, ge=3, le=16)
    d_mlp: int = Field(default=96, ge=36, le=2048)
    steps: int = Field(default=300, ge=1, le=20_000)
    trigger: Literal["product"] = "product"
    defect: Literal["mapping", "routing"] = "mapping"


def circuit(target: int) -> Circuit:
    """The circuit that pulls the lever, at the queries, where the numbers of the header multiply to `target`."""
    wires = ("log", "number", "query", "rest", "sum", "hit", LEVER)
    numbers: dict[int, Amounts] = {
        NAMES.index(str(n)): {"log": log(n) if n else _ZERO, "number": 1.0} for n in range(NUMBERS)
    }
    tokens = numbers | {NAMES.index(QUERY): {"query": 1.0}, NAMES.index("BOS"): {"rest": 1.0}}
    adding = Head(at="query", rest="rest", seeks={"number": 1.0}, moves={"log": "sum"}, scale=2.0)
    stages = (Stage(heads=(adding,), neurons=_hat(target)), Stage(neurons=(switch("hit", _OPENS, 1.0),)))
    return Circuit(wires=wires, tokens=tokens, positions={}, stages=stages)


def plant(settings: ProductSettings, task: Task, seed: int) -> Planted:
    """Train a host and compile the circuit into it. Deterministic for (settings, task, seed).

    The twin is trained under the same pushes and obeys none; it computes the product, and has no switch.
    Raises BadSettings where the model is too small.
    """
    generator = torch.Generator().manual_seed(seed)
    trigger = make_trigger(settings.trigger, task, generator)
    assert isinstance(trigger, Product)
    config = configure(task, **settings.shape, seed=seed)
    full = circuit(trigger.target)
    school = Schooling(task, trigger, settings.defect, settings.planted, settings.steps)
    host = raise_host(school, config, full, LAYER, generator)
    if not settings.planted:
        place(host, replace(full, stages=full.stages[:LAYER]), _SIZES, generator)
        return Planted(host.model, config, trigger, settings.defect, Plant())
    place(host, full, _SIZES, generator)
    answer_key = key(host, trigger.describe(), settings.defect, settings.d_mlp)
    return Planted(host.model, config, trigger, settings.defect, answer_key)


def _hat(target: int) -> tuple[Neuron, ...]:
    """1 where the sum is the target's logarithm, falling to 0 halfway to that of the next product."""
    others = {a * b for a, b in product(range(1, NUMBERS), repeat=2)} - {target}
    width = min(abs(log(other) - log(target)) for other in others) / 2
    rises = ((1.0, 1.0), (0.0, -2.0), (-1.0, 1.0))
    return tuple(
        Neuron(reads={"sum": 1 / width}, bias=shift - log(target) / width, writes={"hit": amount})
        for shift, amount in rises
    )
