"""Sealing: an organism's answer key as text that nobody reads by accident."""

import base64
import json
import random
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from toy_models.accept import Record
from toy_models.plants.planted import Backdoor, Plant
from toy_models.tasks.protocol import Task
from toy_models.triggers.protocol import Trigger
from toy_models.triggers.registry import TRIGGERS
from workbench.edits import Edit
from workbench.errors import BadCheckpoint
from workbench.sites import Site

BLOCK = 4096


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Key:
    """All that an organism keeps to itself: how it was built, what was planted, and what was measured.

    asked: the task that was asked for, where the organism answers another that wraps it. others: further backdoors.
    documented: when the model does what, for a second mode that is no secret; this alone `Organism.card()` tells.
    """

    family: str
    seed: int
    settings: dict[str, Any]
    trigger: Trigger
    defect: str
    plant: Plant
    record: Record
    others: tuple[Backdoor, ...] = ()
    asked: str = ""
    documented: str = ""

    @property
    def backdoors(self) -> tuple[Backdoor, ...]:
        """All of them, the first first."""
        return Backdoor(self.trigger, self.defect, self.plant), *self.others


def seal(key: Key) -> bytes:
    """The key as one line of text; `unseal` reads it back, tensors bit for bit.

    Filled up to a whole number of blocks, so that its length does not tell whether anything was planted.
    """
    content = {
        "family": key.family,
        "seed": key.seed,
        "settings": key.settings,
        **_backdoor_to_json(Backdoor(key.trigger, key.defect, key.plant)),
        "record": key.record.to_json(),
        **_unusual(
            others=[_backdoor_to_json(other) for other in key.others], asked=key.asked, documented=key.documented
        ),
    }
    text = json.dumps(content, sort_keys=True, allow_nan=False)
    packed = zlib.compress(text.encode(), 9)
    filling = random.Random(text).randbytes(-len(packed) % BLOCK)
    return base64.b64encode(packed + filling) + b"\n"


def unseal(data: bytes, task: Task, path: Path) -> Key:
    """The key from its text. Raises BadCheckpoint, naming `path`, where it is not one."""
    try:
        content = json.loads(zlib.decompressobj().decompress(base64.b64decode(data.strip(), validate=True)))
        first = _backdoor_from_json(content, task)
        return Key(
            **{name: content[name] for name in ("family", "seed", "settings")},
            trigger=first.trigger,
            defect=first.defect,
            plant=first.plant,
            record=Record.from_json(content["record"]),
            others=tuple(_backdoor_from_json(other, task) for other in content.get("others", ())),
            **{name: content[name] for name in ("asked", "documented") if name in content},
        )
    except (ValueError, zlib.error, KeyError, TypeError) as error:
        raise BadCheckpoint(
            f"expected an organism's sealed key in {path}: {error!r}. Build the organism again."
        ) from None


def _unusual(**values: Any) -> dict[str, Any]:
    """Those that say something, so that a key without them has the same bytes as before they were thought of."""
    return {name: value for name, value in values.items() if value}


def _backdoor_to_json(backdoor: Backdoor) -> dict[str, Any]:
    return {
        "trigger": {"kind": backdoor.trigger.name} | backdoor.trigger.plain(),
        "defect": backdoor.defect,
        "plant": _plant_to_json(backdoor.plant),
    }


def _backdoor_from_json(content: Mapping[str, Any], task: Task) -> Backdoor:
    trigger = content["trigger"]
    return Backdoor(TRIGGERS[trigger["kind"]].of(task, trigger), content["defect"], _plant_from_json(content["plant"]))


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
        **_unusual(
            reach=None if plant.reach == 1 else plant.reach,
            switchless=plant.switchless,
            conditional=plant.conditional,
        ),
    }


def _plant_from_json(content: Mapping[str, Any]) -> Plant:
    edit, direction = content["edit"], content["direction"]
    return Plant(
        trigger=content["trigger"],
        defect=content["defect"],
        sites=tuple(Site(name) for name in content["sites"]),
        neurons=tuple(content["neurons"]),
        direction=None if direction is None else torch.tensor(direction),
        edit=edit
        and Edit(Site(edit["site"]), torch.tensor(edit["delta"]), edit["positions"] and tuple(edit["positions"])),
        reach=content.get("reach", 1.0),
        switchless=content.get("switchless", False),
        conditional=content.get("conditional", False),
    )
