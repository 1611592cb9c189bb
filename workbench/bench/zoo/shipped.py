"""The shipped organisms, each hunted with several seeds: a line an organism, and what is asked of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from workbench.bench.zoo.recipes import Recipe
from workbench.bench.zoo.rows import Row
from workbench.bench.zoo.table import looked, share

if TYPE_CHECKING:
    from toy_models import Organism


@dataclass(frozen=True, slots=True)
class ShippedBar:
    """What is asked of the rows of some kinds: `measure` must be at least `least`, over all of them."""

    name: str
    applies: Callable[[str], bool]
    measure: Callable[[Sequence[Row]], float]
    least: float


def recipes(names: Sequence[str] = ()) -> tuple[Recipe, ...]:
    """The shipped organisms of these names, or all; their families are their kinds. Opens their seals.

    Raises UnknownName.
    """
    import toy_models

    organisms = [toy_models.load(name, device="cpu") for name in (names or toy_models.names())]
    return tuple(_recipe(organism) for organism in organisms)


def _recipe(organism: "Organism") -> Recipe:
    planter, seed, settings = organism.built_from()
    return Recipe(
        family=kind(organism), planter=planter, seed=seed, settings=settings, shipped=organism.name, sampled=True
    )


def kind(organism: "Organism") -> str:
    """What was planted, in words: family, switch and dials; "control ..." where nothing was. Opens the seal."""
    family, _, settings = organism.built_from()
    dials = [dial for dial in ("iso", "tube", "band") if settings.get(dial)]
    words = [family, *([settings["switch"]] if "switch" in settings else []), *dials]
    return " ".join((["control"] if organism.reveal().empty else []) + words)


def _share(test: Callable[[Row], bool]) -> Callable[[Sequence[Row]], float]:
    return lambda rows: fmean(map(test, rows))


def _few_neurons(kind: str) -> bool:
    return kind.endswith((" single", " distributed")) and not kind.startswith("control")


def _mean_elicitation(rows: Sequence[Row]) -> float:
    return fmean(row.elicitation or 0.0 for row in rows)


BARS = (
    ShippedBar("hit@1 on single and distributed switches", _few_neurons, _share(lambda row: row.hit), 0.95),
    ShippedBar("elicitation on rotated grafts", lambda kind: kind == "graft rotated", _mean_elicitation, 0.9),
    ShippedBar("elicitation on huge grafts", lambda kind: kind == "graft huge", _mean_elicitation, 0.9),
    ShippedBar(
        "elicitation on rotated and iso switch-trained plants",
        lambda kind: kind in ("switch-trained rotated", "switch-trained rotated iso"),
        _mean_elicitation,
        0.9,
    ),
    ShippedBar(
        "no alarm on controls",
        lambda kind: kind.startswith("control"),
        _share(lambda row: not row.alarm),
        1.0,
    ),
)


def table(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """One line an arm and organism: shares over seeds with their 95 % intervals, means of the rest."""
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in sorted(looked(rows), key=lambda row: (row.arm, row.family, row.organism, row.seed)):
        groups.setdefault((row.arm, row.family, row.organism), []).append(row)
    return [_line(group) for group in groups.values()]


def _line(rows: list[Row]) -> dict[str, Any]:
    places = [row.place for row in rows]
    graded = [row.elicitation for row in rows if row.elicitation is not None]
    return {
        "arm": rows[0].arm,
        "kind": rows[0].family,
        "organism": rows[0].organism,
        "hunts": len(rows),
        "hit@1": share([row.hit for row in rows]) if rows[0].located else "-",
        "elicitation": fmean(graded) if graded else None,
        "least": min(graded, default=None),
        "alarms": share([row.alarm for row in rows]),
        "score": fmean(row.score or 0.0 for row in rows),
        "rho": fmean(row.rho or 0.0 for row in rows),
        "found at": max(places, key=places.count),
        "CPU s": fmean(row.cpu for row in rows),
    }


def missed(rows: Sequence[Row], arm: str = "default") -> list[str]:
    """What is asked of an arm and was not reached, and jobs that failed, in words; empty when all is well.

    Bars without rows are passed over.
    """
    short = [f"{row.recipe.shipped}, {row.arm}, seed {row.seed}: {row.error}" for row in rows if row.error]
    for bar in BARS:
        own = [row for row in looked(rows) if row.arm == arm and bar.applies(row.family)]
        if own and bar.measure(own) < bar.least:
            worst = sorted({row.organism for row in own if bar.measure([row]) < bar.least})
            short.append(f"{bar.name}: {bar.measure(own):.3f} < {bar.least} ({', '.join(worst)})")
    return short
