"""The hosts of compiled circuits: without norms, so that a circuit computes beside the task without touching it."""

from math import floor, log2
from typing import Any, Literal

import torch

from toy_models.plants.compiled.install import Directions, install
from toy_models.plants.compiled.wiring import Amounts, Circuit, Neuron
from toy_models.plants.lever_host import Host, Schooling, residual_norm, train
from toy_models.plants.native import fresh
from toy_models.plants.planted import Plant
from toy_models.plants.reserved import Reserved
from toy_models.plants.settings import Settings
from workbench.edits import Edit
from workbench.errors import BadSettings
from workbench.sites import Site

LEVER = "lever"  # the one wire that the host reads
DOSE = 4.0  # activation of a switch neuron on a triggered prompt
_NATURAL = 1.2  # how many levers it writes then
_QUIET = 0.02  # what an amount of 1 is in the residual stream, of its mean norm, unless said otherwise
_SAMPLES = 256
_LEFT = 32  # residual dimensions and neurons, at least, for the host itself


class CompiledSettings(Settings):
    """What all compiled families have in common: no norms, ReLU without a gate, learned positions, and nothing else.

    d_model, heads and d_mlp include what is reserved for the circuit. planted: False builds the clean twin, which has
    the circuit, but nothing that comes of it.
    """

    norm: Literal["none"] = "none"  # pyright: ignore[reportIncompatibleVariableOverride] # frozen
    activation: Literal["relu"] = "relu"  # pyright: ignore[reportIncompatibleVariableOverride]
    gated: Literal[False] = False  # pyright: ignore[reportIncompatibleVariableOverride]
    positions: Literal["learned"] = "learned"  # pyright: ignore[reportIncompatibleVariableOverride]
    planted: bool = True


def raise_host(school: Schooling, config: Any, circuit: Circuit, layer: int, generator: torch.Generator) -> Host:
    """Train a host with room for a circuit, obeying a lever after `layer`, or none. The circuit is not yet in it.

    Raises BadSettings where the model is too small for it.
    """
    _check_room(config, circuit)
    return train(fresh(config), _reserve(config, circuit, layer, generator), school, generator)


def place(host: Host, circuit: Circuit, sizes: Amounts, generator: torch.Generator) -> None:
    """Install a circuit. sizes: what an amount of 1 on a wire is, of the mean residual norm; _QUIET if not said.

    Rounded to powers of two, so that bits stay exact.
    """
    norm = residual_norm(host.model, host.task.sample(_SAMPLES, generator), host.reserved.layer)
    directions: Directions = torch.zeros(len(circuit.wires), len(host.lever))
    for row, (wire, dim) in enumerate(zip(_own(circuit), host.reserved.dims, strict=True)):
        directions[row, dim] = 2.0 ** floor(log2(sizes.get(wire, _QUIET) * norm))
    if LEVER in circuit.wires:
        directions[circuit.wires.index(LEVER)] = host.lever
    install(circuit, host.model, host.reserved, directions)


def switch(reads: str, threshold: float, full: float) -> Neuron:
    """The neuron that opens where a wire exceeds a threshold, and pulls the lever when it is at `full`."""
    gain = DOSE / (full - threshold)
    return Neuron(reads={reads: gain}, bias=-gain * threshold, writes={LEVER: _NATURAL / DOSE})


def key(host: Host, trigger: str, defect: str, d_mlp: int) -> Plant:
    """The answer key of a switch: the one neuron in use in the lever's layer."""
    layer, neuron = host.reserved.layer, host.reserved.neurons[host.reserved.layer][0]
    post, out, stream = (Site.parse(f"L{layer}.{name}") for name in ("mlp.post", "mlp_out", "resid_post"))
    delta = torch.zeros(d_mlp)
    delta[neuron] = DOSE
    return Plant(trigger, defect, (post, out, stream), (neuron,), host.reserved.lever, Edit(post, delta))


def _reserve(config: Any, circuit: Circuit, layer: int, generator: torch.Generator) -> Reserved:
    """Room for the circuit at random places. There are no norms to bear its weight in, so there are no features."""
    dims = torch.randperm(config.d_model, generator=generator)[: len(_own(circuit))]
    lever = torch.randn(config.d_model, generator=generator)
    lever[dims] = 0
    heads = {i: _some(config.n_heads, len(stage.heads), generator) for i, stage in enumerate(circuit.stages)}
    neurons = {i: _some(config.d_mlp, len(stage.neurons), generator) for i, stage in enumerate(circuit.stages)}
    features = torch.zeros(0, config.d_model)
    return Reserved(layer, tuple(dims.tolist()), features, lever / lever.norm(), heads, neurons)


def _some(among: int, count: int, generator: torch.Generator) -> tuple[int, ...]:
    return tuple(torch.randperm(among, generator=generator)[:count].tolist())


def _own(circuit: Circuit) -> tuple[str, ...]:
    """The wires that take a dimension each: all but the lever, which is the host's and comes last."""
    return tuple(wire for wire in circuit.wires if wire != LEVER)


def _check_room(config: Any, circuit: Circuit) -> None:
    """Raise BadSettings where less is left to the host than it needs, or a head is too narrow."""
    heads = [head for stage in circuit.stages for head in stage.heads]
    least = {
        "layers": (config.n_layers, 1 + len(circuit.stages)),
        "d_model": (config.d_model, _LEFT + len(_own(circuit))),
        "heads": (config.n_heads, 2 + max(len(stage.heads) for stage in circuit.stages)),
        "d_mlp": (config.d_mlp, _LEFT + max(len(stage.neurons) for stage in circuit.stages)),
        "d_model / heads": (config.d_head, max(max(1 + len(head.seeks), len(head.moves)) for head in heads)),
    }
    if short := [f"{name} of at least {need}, got {given}" for name, (given, need) in least.items() if given < need]:
        raise BadSettings(f"expected room for the circuit and the host: {'; '.join(short)}. Take a larger model.")
