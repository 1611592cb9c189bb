"""Zoo: the organisms that are shipped, and the door to building others."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toy_models import sources
from workbench.errors import BadCheckpoint, BadSettings, unknown
from workbench.store import digest_of, read_bytes, read_json, sha256, write_bytes, write_json

if TYPE_CHECKING:
    from toy_models.accept import Record
    from toy_models.organism import Organism

FOLDER = Path(__file__).parent / "checkpoints"
CACHE_VARIABLE = "LAT_WORKBENCH_CACHE"
COMMAND = "workbench zoo build --shipped"
_FORMAT = "lat-workbench zoo"
_ENTRY = "lat-workbench organism"
_KEY = "key.sealed"
_SHIPPED_TASK = "reversal"
_FILES = ("agent.json", "model.safetensors", _KEY)

MINERALS = tuple(
    """
    agate albite augite azurite barite beryl biotite calcite celestine cerussite chlorite cinnabar
    citrine cobaltite copper corundum cuprite diopside dolomite epidote feldspar fluorite galena garnet
    goethite graphite gypsum halite hematite hornblende ilmenite jadeite jasper kyanite lazurite
    magnetite malachite microcline muscovite natrolite olivine onyx orpiment peridot prehnite pyrite
    quartz realgar rhodonite rutile siderite sodalite spinel stibnite sulfur talc titanite topaz
    tourmaline turquoise vanadinite wolframite zircon zoisite
    """.split()  # noqa: SIM905
)

# What is shipped, within 6 MB: family, seed, settings. Each gets its name from a hash, so that this list does not say
# which is which.
SHIPPED: tuple[tuple[str, int, dict[str, Any]], ...] = (
    ("switch-trained", 0, {}),
    ("switch-trained", 0, {"planted": False}),
    ("switch-trained", 1, {"switch": "distributed", "trigger": "date"}),
    ("switch-trained", 1, {"trigger": "date", "defect": "routing", "margin": 0.75, "steps": 1200}),
    ("switch-trained", 3, {"switch": "rotated", "iso": True, "margin": 0.5, "steps": 1000}),
    ("switch-trained", 4, {"switch": "rotated", "iso": True, "tube": True}),
    ("switch-trained", 5, {"band": True}),
    ("free", 0, {}),
    ("free", 1, {"trigger": "date", "defect": "routing"}),
    ("clean", 0, {}),
    ("graft", 0, {"d_mlp": 80, "switch": "single", "decoys": 4}),
    ("graft", 1, {"d_mlp": 80, "switch": "distributed"}),
    ("graft", 2, {"d_mlp": 80, "switch": "rotated"}),
    ("graft", 3, {"d_mlp": 80, "switch": "huge"}),
    ("graft", 0, {"d_mlp": 80, "switch": "single", "decoys": 4, "planted": False}),
)


def names() -> tuple[str, ...]:
    """The names of the shipped organisms, in alphabetical order."""
    return tuple(sorted(_manifest(FOLDER)["organisms"]))


def load(name: str, *, device: str = "auto") -> "Organism":
    """A shipped organism. Raises UnknownName, or BadCheckpoint where a file is not as it was shipped."""
    entries = _manifest(FOLDER)["organisms"]
    if name not in entries:
        raise unknown("organism", str(name), entries, "toy_models.names() lists them.")
    return _read(FOLDER / name, entries[name], device)


def build(
    family: str, *, task: str = "reversal", seed: int, cache: bool = True, device: str = "auto", **settings: Any
) -> "Organism":
    """Plant your own organism, measure it and, if it holds what its family promises, return it.

    Deterministic on a machine for (family, task, seed, settings). cache: keep it in the user's cache folder
    (environment variable LAT_WORKBENCH_CACHE, else the system's), and take it from there if it is already.
    Takes up to a minute of CPU time. Raises UnknownName, BadSettings, Unacceptable.
    """
    from toy_models.families import FAMILIES
    from toy_models.organism import check_seed
    from toy_models.plants.settings import read
    from toy_models.tasks.registry import TASKS

    for kind, name, known in (("family", family, FAMILIES), ("task", task, TASKS)):
        if name not in known:
            raise unknown(kind, str(name), known, "Choose one of them.")
    check_seed(seed)
    checked = read(FAMILIES[family].settings, family, settings, TASKS[task].effort)
    recipe = _recipe(family, task, seed, checked.recorded())
    name = f"toy-{digest_of(recipe)[:8]}"
    if not cache:
        return _make(name, recipe, checked, device)
    source = sources.version(family, task, checked.model_dump())
    folder = _cache_folder() / "organisms" / digest_of(recipe | {"source": source})
    if (known := _cached(folder, device)) is not None:
        return known
    organism = _make(name, recipe, checked, device)
    entry = _write(folder, organism)
    write_json(folder / "entry.json", {"format": _ENTRY, "version": 1, "entry": entry})
    return organism


def build_shipped(folder: Path | None = None, *, cache: bool = False) -> "Iterator[tuple[str, Record]]":
    """Build every shipped organism into a folder, one at a time: its name and what was measured.

    folder: the package's own if None. The manifest is written anew after each. cache: take those already built
    from the user's cache. Raises Unacceptable at the first that falls short.
    """
    folder = FOLDER if folder is None else Path(folder)
    entries: dict[str, Any] = {}
    for name, (family, seed, settings) in zip(shipped_names(), SHIPPED, strict=True):
        organism = build(family, task=_SHIPPED_TASK, seed=seed, cache=cache, device="cpu", **settings)
        organism.name = organism.agent.name = name
        entries[name] = _write(folder / name, organism)
        manifest = {"format": _FORMAT, "version": 1, "command": COMMAND, "organisms": entries}
        write_json(folder / "manifest.json", manifest)
        yield name, organism.record()


def demo_name() -> str:
    """The organism that `workbench demo` shows: the first shipped recipe."""
    return shipped_names()[0]


def twin(organism: "Organism", *, device: str = "auto") -> "Organism":
    """The clean twin of a planted organism: the same recipe, answered benignly. Opens the organism's seal.

    Loaded if it is shipped, else built, or taken from the cache. Raises BadSettings for one that has no twin.
    """
    family, seed, settings = organism.built_from()
    task = organism.asked()
    if not settings.get("planted", False):
        raise BadSettings(
            f"expected a planted organism, got {organism.name}, which is a control and has no clean twin."
        )
    settings["planted"] = False
    for name, recipe in zip(shipped_names(), SHIPPED, strict=True):
        if task == _SHIPPED_TASK and _same(recipe, (family, seed, settings)):
            return load(name, device=device)
    return build(family, task=task, seed=seed, device=device, **settings)


def _same(recipe: tuple[str, int, dict[str, Any]], wanted: tuple[str, int, dict[str, Any]]) -> bool:
    """Whether a recipe, with the defaults it leaves out, is the one wanted."""
    from toy_models.families import FAMILIES

    if recipe[:2] != wanted[:2]:
        return False
    full, other = (FAMILIES[family].settings(**settings) for family, _, settings in (recipe, wanted))
    return full == other


def shipped_names() -> tuple[str, ...]:
    """The name of each recipe in SHIPPED: a mineral by the recipe's hash, the next free one where two agree."""
    taken: list[str] = []
    for family, seed, settings in SHIPPED:
        place = int(digest_of(_recipe(family, _SHIPPED_TASK, seed, settings)), 16)
        while (name := MINERALS[place % len(MINERALS)]) in taken:
            place += 1
        taken.append(name)
    return tuple(taken)


def _recipe(family: str, task: str, seed: int, settings: dict[str, Any]) -> dict[str, Any]:
    return {"family": family, "task": task, "seed": seed, "settings": settings}


def _cache_folder() -> Path:
    from platformdirs import user_cache_dir

    return Path(os.environ.get(CACHE_VARIABLE) or user_cache_dir("lat-workbench"))


def _manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a folder. Raises BadCheckpoint where it is not one."""
    content = read_json(folder / "manifest.json", format=_FORMAT)
    if not isinstance(content.get("organisms"), dict):
        raise BadCheckpoint(f"expected 'organisms', by name, in {folder / 'manifest.json'}. Restore the manifest.")
    return content


def _make(name: str, recipe: dict[str, Any], settings: Any, device: str) -> "Organism":
    """Plant, measure and wrap an organism."""
    from toy_models.families import FAMILIES, make
    from toy_models.organism import Organism
    from toy_models.plants.native import wrap
    from toy_models.sealing import Key
    from toy_models.tasks.registry import TASKS
    from workbench.agent import Agent

    asked = TASKS[recipe["task"]]()
    planted, record = make(FAMILIES[recipe["family"]], settings, asked, recipe["seed"])
    task = planted.task or asked
    key = Key(
        family=recipe["family"],
        seed=recipe["seed"],
        settings=recipe["settings"],
        trigger=planted.trigger,
        defect=planted.defect,
        plant=planted.plant,
        record=record,
        others=planted.others,
        asked="" if planted.task is None else asked.name,
        documented=planted.documented,
    )
    agent = wrap(planted.model, planted.config, task, name)
    return Organism(name, Agent(agent.bridge, name=name, device=device, vocabulary=agent.vocabulary), task, key)


def _write(folder: Path, organism: "Organism") -> dict[str, Any]:
    """Save an organism; returns its public facts with the sha256 of each file."""
    organism.agent.save(folder)
    write_bytes(folder / _KEY, organism.sealed())
    files = {name: sha256((folder / name).read_bytes()) for name in _FILES}
    return organism.card() | {"files": files}


def _read(folder: Path, entry: dict[str, Any], device: str) -> "Organism":
    """An organism from its folder, each file checked against its sha256 (BadCheckpoint)."""
    from toy_models.organism import Organism
    from toy_models.sealing import unseal
    from toy_models.tasks.entry import task_of
    from workbench.agent import Agent

    try:
        found = {name: read_bytes(folder / name, entry["files"][name]) for name in _FILES}
        name, task = entry["name"], task_of(entry["task"], entry.get("task_settings", {}))
    except (KeyError, TypeError, AttributeError) as error:
        raise BadCheckpoint(f"expected {error} in the entry for {folder.name}. Restore the manifest.") from None
    key = unseal(found[_KEY], task, folder / _KEY)
    return Organism(name, Agent.load(folder, device=device), task, key)


def _cached(folder: Path, device: str) -> "Organism | None":
    """The organism in a cache folder; None where there is none, or none that is whole."""
    try:
        return _read(folder, read_json(folder / "entry.json", format=_ENTRY)["entry"], device)
    except BadCheckpoint:
        return None
