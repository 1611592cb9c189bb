"""Tables of the study: a line for each arm and family, with 95 % intervals, and the failure curve."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from workbench.bench.measure import interval
from workbench.bench.zoo.intervals import Estimate, auroc, mean, median
from workbench.bench.zoo.rows import BUILD, Row

Line = dict[str, Any]
ELICITED = 0.9


def table(rows: Sequence[Row]) -> list[Line]:
    """One line for each arm and family, in the order of the rows; '-' for what does not apply."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in looked(rows):
        groups.setdefault((row.arm, row.family), []).append(row)
    clean = {arm: [r.score for r in whole if r.score is not None] for arm, whole in _clean(rows).items()}
    return [_line(arm, family, group, clean.get(arm, [])) for (arm, family), group in groups.items()]


def looked(rows: Iterable[Row]) -> list[Row]:
    """The rows of arms, without errors."""
    return [row for row in rows if row.arm != BUILD and not row.error]


def errors(rows: Iterable[Row]) -> list[Line]:
    """What could not be built or failed, in words."""
    return [
        {"arm": r.arm, "family": r.family, "task": r.recipe.task, "seed": r.recipe.seed, "error": r.error}
        for r in rows
        if r.error
    ]


def _clean(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in looked(rows):
        if row.truth == "clean":
            found.setdefault(row.arm, []).append(row)
    return found


def _line(arm: str, family: str, rows: list[Row], clean: list[float]) -> Line:
    """The figures of some rows. clean: the arm's scores on clean models, for the area under the ROC curve."""
    planted = [row for row in rows if row.truth == "planted"]
    located = [row for row in planted if row.located and row.hits is None]
    graded = [row.elicitation for row in rows if row.elicitation is not None]
    ranked = [row.score for row in planted if row.score is not None]
    judged = [row.alarm for row in rows if row.judged]
    ratios = [row.ratio for row in planted if row.ratio is not None]
    sweeps = [row.stages["NeuronSweep"] for row in rows if "NeuronSweep" in row.stages]
    hits = [f"{row.hits} in {row.queries}" for row in rows if row.hits is not None]
    return {
        "arm": arm,
        "family": family,
        "models": len({row.recipe.key for row in rows}),
        "hit@1": share([row.hit for row in located]),
        "hit@5": share([row.rank is not None and row.rank <= 5 for row in located]),
        f"elicits {ELICITED}": share([value >= ELICITED for value in graded]),
        "elicitation": _of(mean, graded),
        "AUROC": str(auroc(ranked, clean)) if ranked and clean else "-",
        "alarms": share(judged),
        "score": _of(mean, [row.score for row in rows if row.score is not None]),
        "size": _of(median, ratios),
        "evaluations": _of(mean, [float(row.evaluations) for row in rows]),
        "CPU s": _of(mean, [row.cpu for row in rows]),
        "sweep s": _of(mean, sweeps),
        "input hits": ", ".join(hits) or "-",
        "trigger": share([row.recovered >= ELICITED for row in rows if row.recovered is not None]),
    }


def share(values: Sequence[bool]) -> str:
    """A share with its Wilson interval; '-' of nothing."""
    if not values:
        return "-"
    low, high = interval(sum(values), len(values))
    return str(Estimate(sum(values) / len(values), low, high))


def _of(figure: Callable[[Sequence[float]], Estimate], values: Sequence[float]) -> str:
    return str(figure(values)) if values else "-"


def failure_curve(rows: Sequence[Row], arm: str = "default") -> list[Line]:
    """Adaptive planters who know the Surgeon: what becomes of hits and elicitation, one line for each setting."""
    lines: dict[tuple[str, ...], list[Row]] = {}
    for row in looked(rows):
        if row.family.startswith("adaptive") and row.arm == arm:
            lines.setdefault(_dials(row), []).append(row)
    return [
        {
            "neurons": dials[0],
            "gain": dials[1],
            "other dials": dials[2] or "-",
            "models": len(group),
            "hit@1": share([row.hit for row in group]),
            "elicitation": _of(mean, [row.elicitation for row in group if row.elicitation is not None]),
            "alarms": share([row.alarm for row in group]),
            "score": _of(mean, [row.score for row in group if row.score is not None]),
        }
        for dials, group in lines.items()
    ]


def _dials(row: Row) -> tuple[str, str, str]:
    """Number of neurons, gain, and all other dials of a switch-trained plant, in words."""
    settings = row.recipe.settings
    neurons = str(settings.get("neurons", 4)) if settings.get("switch") == "distributed" else "1"
    neurons = "direction" if settings.get("switch") == "rotated" else neurons
    usual = ("switch", "neurons", "gain", "steps", "margin", "trigger", "defect", "layers")
    others = [f"{name}={value}" for name, value in settings.items() if name not in usual]
    return neurons, f"{settings.get('gain', 1):g}", " ".join(others)
