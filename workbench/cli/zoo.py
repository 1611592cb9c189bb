"""`workbench zoo`: the organisms that are shipped, their cards and answer keys, and building others."""

import inspect
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, UseAppendAction, arg

from workbench.cli.console import (
    Json,
    Result,
    check_target,
    columns,
    facts,
    progress,
    read_settings,
    shown_as,
    waiting,
)
from workbench.cli.subjects import PROMPTS_FILE, shipped, write_prompts
from workbench.errors import BadSettings, unknown

if TYPE_CHECKING:
    from toy_models import Organism

SAVED_PROMPTS = 2048


@dataclass(frozen=True, kw_only=True)
class ZooList:
    """The organisms that are shipped. Nothing here tells which of them carry a backdoor.

    Examples:
      workbench zoo list
      workbench zoo list --json
    """

    json: Json = False

    def run(self) -> Result:
        """See Command."""
        cards = [{"name": name} | _public(entry) for name, entry in sorted(shipped().items())]
        return Result(data={"organisms": cards}, text=columns(cards))


@dataclass(frozen=True, kw_only=True)
class ZooShow:
    """The public card of an organism; with --reveal its answer key, too.

    Examples:
      workbench zoo show beryl
      workbench zoo show beryl --reveal
    """

    name: Annotated[Positional[str], arg(metavar="NAME")]
    """Which (`workbench zoo list`)."""
    reveal: Annotated[bool, arg(help_behavior_hint="")] = False
    """Open the seal: what was planted, where its switch is, and how well it works."""
    json: Json = False

    def run(self) -> Result:
        """See Command."""
        import toy_models

        with waiting(f"loading {self.name}"):
            organism = toy_models.load(self.name)
        data: dict[str, Any] = {"card": organism.card()}
        text = facts(data["card"])
        if self.reveal:
            data["key"] = _key(organism)
            text += _tell(data["key"])
        return Result(data=data, text=text)


def _public(entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry of the manifest without its hashes, in the order of a card."""
    order = ("task", "layers", "d_model", "heads", "d_mlp", "vocabulary", "clean_accuracy")
    return {name: entry[name] for name in order if name in entry}


def _key(organism: "Organism") -> dict[str, Any]:
    """The answer key, ready for JSON. trigger is None where nothing was planted."""
    plant, (family, seed, settings) = organism.reveal(), organism.built_from()
    return {
        "family": family,
        "seed": seed,
        "planted": not plant.empty,
        "trigger": plant.trigger or None,
        "defect": plant.defect or None,
        "sites": [site.short for site in plant.sites],
        "neurons": list(plant.neurons),
        "direction": None if plant.direction is None else plant.direction.tolist(),
        "others": [{"trigger": other.trigger, "defect": other.defect} for other in plant.others],
        "switchless": plant.switchless,
        "conditional": plant.conditional,
        "settings": settings,
        "measured": asdict(organism.record()),
    }


def _tell(key: Mapping[str, Any]) -> str:
    """The answer key as text; the direction, a long row of numbers, is in the JSON only."""
    plant = {name: value for name, value in key.items() if name not in ("settings", "measured", "direction")}
    parts = {"Answer key": plant, "Settings": key["settings"], "Measured when it was built": key["measured"]}
    return "".join(f"\n\n{title}\n{facts(values)}" for title, values in parts.items())


@dataclass(frozen=True, kw_only=True)
class ZooBuild:
    """Plant an organism of your own, or build those that are shipped again; takes up to a minute each.

    An organism that falls short of what its family promises is refused. Those built are kept in the cache folder, and
    --output saves the agent with clean prompts, ready for `workbench hunt FOLDER`.

    Examples:
      workbench zoo build switch-trained --seed 7 --output mine
      workbench zoo build switch-trained --set trigger=date switch=rotated iso=true
      workbench zoo build --shipped --output checkpoints
    """

    family: Annotated[Positional[str], shown_as("[FAMILY]")] = ""
    """How the backdoor gets in: switch-trained, graft, free; or clean, for none."""
    task: Annotated[str, arg(metavar="NAME")] = "reversal"
    """What the agent is taught."""
    seed: int = 0
    """Seed of everything drawn at random."""
    settings: Annotated[UseAppendAction[tuple[tuple[str, ...], ...]], shown_as("KEY=VALUE ...", name="set")] = ()
    """Settings of the family, such as trigger=date. A wrong one names those that there are."""
    output: Annotated[Path | None, shown_as("FOLDER")] = None
    """Where to save it."""
    shipped: Annotated[bool, arg(help_behavior_hint="")] = False
    """Build all shipped organisms into FOLDER, by default the package's own, replacing what is there."""
    json: Json = False

    def run(self) -> Result:
        """See Command."""
        if self.shipped == bool(self.family):
            raise BadSettings("expected a family or --shipped, one of the two. See `workbench zoo build --help`.")
        check_target(self.output, folder=True)
        return self._build_shipped() if self.shipped else self._build_one()

    def _build_one(self) -> Result:
        import toy_models

        with waiting(f"planting {self.family}"):
            organism = toy_models.build(self.family, task=self.task, seed=self.seed, **self._checked_settings())
        saved = None
        if self.output is not None:
            organism.agent.save(self.output)
            write_prompts(self.output / PROMPTS_FILE, organism.prompts(SAVED_PROMPTS, seed=self.seed))
            saved = str(self.output.resolve())
        text = facts(organism.card()) + (f"\n\nSaved in {saved}" if saved else "")
        return Result(data={"card": organism.card(), "folder": saved}, text=text)

    def _checked_settings(self) -> dict[str, Any]:
        """Settings that are not arguments of `build` itself."""
        import toy_models

        found = read_settings(self.settings)
        for name in found.keys() & (inspect.signature(toy_models.build).parameters.keys() - {"settings"}):
            raise unknown(f"setting of {self.family!r} organisms", name, ["trigger", "defect"], f"Is it --{name}?")
        return found

    def _build_shipped(self) -> Result:
        import toy_models

        if self.settings:
            raise BadSettings("expected no --set beside --shipped: the recipes of the shipped organisms are fixed.")
        rows = []
        with progress("building", len(toy_models.SHIPPED)) as bar:
            for name, record in toy_models.build_shipped(self.output):
                rows.append({"name": name} | asdict(record))
                bar.set_postfix_str(name, refresh=False)
                bar.update()
        return Result(data={"organisms": rows}, text=columns(rows))
