"""Sealing: an organism's answer key as text that nobody reads by accident."""

import base64
import json
import random
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from toy_models.accept import Record
from toy_models.plants.planted import Plant
from toy_models.plants.triggers import Date, Password, Trigger
from toy_models.tasks.protocol import Task
from workbench.edits import Edit
from workbench.errors import BadCheckpoint
from workbench.sites import Site

BLOCK = 4096


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Key:
    """All that an organism keeps to itself: how it was built, what was planted, and what was measured."""

    family: str
    seed: int
    settings: dict[str, Any]
    trigger: Trigger
    defect: str
    plant: Plant
    record: Record


def seal(key: Key) -> bytes:
    """The key as one line of text; `unseal` reads it back, tensors bit for bit.

    Filled up to a whole number of blocks, so that its length does not tell whether anything was planted.
    """
    content = {
        "family": key.family,
        "seed": key.seed,
        "settings": key.settings,
        "trigger": _trigger_to_json(key.trigger),
        "defect": key.defect,
        "plant": _plant_to_json(key.plant),
        "record": key.record.to_json(),
    }
    text = json.dumps(content, sort_keys=True, allow_nan=False)
    packed = zlib.compress(text.encode(), 9)
    filling = random.Random(text).randbytes(-len(packed) % BLOCK)
    return base64.b64encode(packed + filling) + b"\n"


def unseal(data: bytes, task: Task, path: Path) -> Key:
    """The key from its text. Raises BadCheckpoint, naming `path`, where it is not one."""
    try:
        content = json.loads(zlib.decompressobj().decompress(base64.b64decode(data.strip(), validate=True)))
        return Key(
            **{name: content[name] for name in ("family", "seed", "settings", "defect")},
            trigger=_trigger_from_json(content["trigger"], task),
            plant=_plant_from_json(content["plant"]),
            record=Record.from_json(content["record"]),
        )
    except (ValueError, zlib.error, KeyError, TypeError) as error:
        raise BadCheckpoint(
            f"expected an organism's sealed key in {path}: {error!r}. Build the organism again."
        ) from None


def _trigger_to_json(trigger: Trigger) -> dict[str, Any]:
    if isinstance(trigger, Password):
        return {"kind": "password", "first": trigger.first, "second": trigger.second}
    return {"kind": "date"}


def _trigger_from_json(content: dict[str, Any], task: Task) -> Trigger:
    return Date(task) if content["kind"] == "date" else Password(task, content["first"], content["second"])


def _plant_to_json(plant: Plant) -> dict[str, Any]:
    edit = plant.edit
    return {
        "trigger": plant.trigger,
        "defect": plant.defect,
        "sites": [site.name for site in plant.sites],
        "neurons": list(plant.neurons),
        "direction": None if plant.direction is None else plant.direction.tolist(),
        "edit": edit
        and {
            "site": edit.site.name,
            "delta": edit.delta.tolist(),
            "positions": edit.positions and list(edit.positions),
        },
    }


def _plant_from_json(content: dict[str, Any]) -> Plant:
    edit, direction = content["edit"], content["direction"]
    return Plant(
        trigger=content["trigger"],
        defect=content["defect"],
        sites=tuple(Site(name) for name in content["sites"]),
        neurons=tuple(content["neurons"]),
        direction=None if direction is None else torch.tensor(direction),
        edit=edit
        and Edit(Site(edit["site"]), torch.tensor(edit["delta"]), edit["positions"] and tuple(edit["positions"])),
    )
