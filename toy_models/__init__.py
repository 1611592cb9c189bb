"""Toy models with planted backdoors: `names`, `load`, `build`. Nothing heavy is imported until a model is."""

from typing import TYPE_CHECKING

from toy_models.zoo import SHIPPED, build, build_shipped, demo_name, load, names, twin

if TYPE_CHECKING:
    from toy_models.accept import Record
    from toy_models.organism import Organism, Outcome
    from toy_models.plants.planted import Plant

__all__ = [
    "SHIPPED",
    "Organism",
    "Outcome",
    "Plant",
    "Record",
    "build",
    "build_shipped",
    "demo_name",
    "load",
    "names",
    "twin",
]

_LAZY = {
    "Organism": "toy_models.organism",
    "Outcome": "toy_models.organism",
    "Plant": "toy_models.plants.planted",
    "Record": "toy_models.accept",
}


def __getattr__(name: str) -> object:
    """The classes, imported when first used."""
    if name not in _LAZY:
        raise AttributeError(f"module 'toy_models' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LAZY[name]), name)
