"""Rows, recipes and arms made by hand: nothing here is hunted."""

import os
from dataclasses import replace
from typing import Any

from workbench.bench.zoo import BUILD, Found, Job, Recipe, Row

FOUND = Found(
    place="L1.mlp.post [3]",
    surgeon="NeuronSweep",
    spread=1,
    rho=0.7,
    score=0.9,
    control=0.1,
    hit=True,
    elicitation=0.99,
    parts={"flip": 1.0},
    portrait={"nearness": None, "doses": [1.0, 2.0]},
)


def recipe(family: str = "graft single", number: int = 0, **changes: Any) -> Recipe:
    """A recipe of a model that nobody builds."""
    return Recipe(**{"family": family, "planter": "graft", "seed": number} | changes)


def row(family: str = "graft single", number: int = 0, **changes: Any) -> Row:
    """A row of the default hunt that found what was planted; with `number` another model's."""
    made = recipe(**{"family": family, "number": number} | changes.pop("made", {}))
    usual: dict[str, Any] = {
        "key": f"{family} {number} {changes}",
        "arm": "default",
        "recipe": made,
        "seed": 0,
        "made_with": number,
        "organism": f"toy-{number}",
        "truth": "planted",
        "located": True,
        "verdict": "switch",
        "score": 0.9,
        "threshold": 0.5,
        "controls": {"random edits": 0.1},
        "rank": 1,
        "elicitation": 0.99,
        "found": (FOUND,),
        "smallest": 0.42,
        "optimum": 0.4,
        "evaluations": 1000,
        "cpu": 12.0,
        "stages": {"NeuronSweep": 4.0, "SphereLadder": 8.0},
    }
    return Row(**usual | changes)


def clean(number: int = 0, **changes: Any) -> Row:
    """A row of the default hunt on a clean model, without an alarm."""
    none = {"truth": "clean", "located": False, "verdict": "none", "score": 0.2, "rank": None, "elicitation": None}
    return row("clean", number, **none | {"found": (), "smallest": None, "optimum": None} | changes)


def fake(job: Job) -> Row:
    """Does a job without an organism. Seeds say what goes wrong: 1 cannot be built, 2 fails, 3 ends the process."""
    if job.recipe.seed == 3 and job.arm != BUILD:
        os._exit(7)
    if job.recipe.seed == (1 if job.arm == BUILD else 2):
        return replace(job.empty_row, error="it went wrong")
    return replace(job.empty_row, made_with=job.made_with if job.arm != BUILD else job.recipe.seed + 50, verdict="none")
