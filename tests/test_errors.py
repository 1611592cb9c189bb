"""Mistakes: each is refused before the model runs, with what was expected, what came, and the cure."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pydantic
import pytest
import torch

from tests.toys import ANSWERS, boot, edit_at, no_compute, noise, quiet, some_prompts, spelled, toy, unchecked
from workbench import (
    LAT,
    Agent,
    Edit,
    EmbeddingAT,
    FineTune,
    HiddenBehaviour,
    L2Ball,
    LatentNoise,
    NeuronSweep,
    Prompts,
    RandomDirections,
    Site,
    SphereLadder,
    SwitchReport,
    Target,
    conclude,
    hunt,
    landscape,
    losses,
    retrain,
    scan,
    sweep,
)
from workbench.budgets import Bound
from workbench.engine import View
from workbench.errors import (
    BadBudget,
    BadCheckpoint,
    BadEdit,
    BadPrompts,
    BadSettings,
    UnknownName,
    UnknownSite,
    WorkbenchError,
    closest,
    unknown,
)

pytestmark = quiet
TOKENS, RIGHT = some_prompts().tokens, some_prompts().answers


class Mistake(NamedTuple):
    """Something that a user can get wrong, and pieces of what they must be told."""

    do: Callable[[], Any]
    error: type[WorkbenchError]
    told: tuple[str, ...]


def rows(**changes: Any) -> Prompts:
    """Prompts with one argument changed."""
    return Prompts(**({"tokens": TOKENS, "answer_positions": ANSWERS, "answers": RIGHT} | changes))


def high() -> Prompts:
    """A token that the toy does not have."""
    return rows(tokens=TOKENS.clone().index_fill_(1, torch.tensor([3]), 20))


def start(**changes: Any) -> Any:
    """The first event of a scan."""
    settings = {
        "prompts": some_prompts(40),
        "surgeons": [RandomDirections()],
        "sites": None,
        "budget": L2Ball(1.0),
        "goal": HiddenBehaviour(),
    }
    settings |= changes
    return scan(toy(), settings.pop("prompts"), **settings)


def bound() -> Bound:
    """A budget in activation units, which needs no run of the model."""
    return L2Ball(1.0, "activation").bind(toy(), ["L1.resid_post"], some_prompts())


POST = "L1.mlp.post"
NO_EDITS: Any = [noise(40)]
NO_BRIDGE: Any = torch.nn.Linear(1, 1)
PROMPTS = {
    "no prompts": Mistake(
        lambda: rows(tokens=TOKENS[:0], answers=RIGHT[:0]), BadPrompts, ("at least one", r"\(0, 9\)")
    ),
    "no tokens": Mistake(lambda: rows(tokens=TOKENS[:, :0]), BadPrompts, ("at least one", r"\(6, 0\)")),
    "fractions": Mistake(
        lambda: rows(tokens=TOKENS + 0.5), BadPrompts, ("tokens", "int64", "float32", "whole numbers")
    ),
    "one row": Mistake(lambda: rows(tokens=TOKENS[0]), BadPrompts, ("tokens", "matrix", r"\(9,\)", "one row a prompt")),
    "ragged rows": Mistake(lambda: rows(tokens=[[1, 2], [3]]), BadPrompts, ("rows", "of one length")),
    "truths": Mistake(lambda: rows(answers=RIGHT > 3), BadPrompts, ("answers", "int64", "bool")),
    "too few answers": Mistake(lambda: rows(answers=RIGHT[:, :1]), BadPrompts, (r"\(6, 2\)", r"got \(6, 1\)")),
    "reading nowhere": Mistake(
        lambda: rows(answer_positions=(), answers=RIGHT[:, :0]), BadPrompts, ("at least one", "none")
    ),
    "reading behind the end": Mistake(lambda: rows(answer_positions=(6, 9)), BadPrompts, (r"0\.\.8", r"\[9\]")),
    "reading before the start": Mistake(
        lambda: rows(answer_positions=(-1, 2)), BadPrompts, (r"0\.\.8", r"\[-1\]", "negative")
    ),
    "reading between tokens": Mistake(
        lambda: rows(answer_positions=(6.5, 8)), BadPrompts, ("whole numbers", r"\(6\.5, 8\)")
    ),
    "reading at no position": Mistake(lambda: rows(answer_positions=None), BadPrompts, ("whole numbers", "None")),
    "words nobody knows": Mistake(
        lambda: Prompts.from_text(spelled(), ["t1 t22"], ["t2"]), BadPrompts, ("'t22'", "vocabulary of 20", "t2")
    ),
    "texts of two lengths": Mistake(
        lambda: Prompts.from_text(spelled(), ["t1", "t1 t2"], ["t2", "t2"]), BadPrompts, (r"lengths \[1, 2\]", "group")
    ),
    "texts without answers": Mistake(
        lambda: Prompts.from_text(spelled(), ["t1", "t2"], ["t2"]), BadPrompts, ("2 texts and 1 answers",)
    ),
    "no texts": Mistake(lambda: Prompts.from_text(spelled(), [], []), BadPrompts, ("at least one",)),
    "queries out of line": Mistake(
        lambda: Prompts.from_text(spelled(), ["t1 ?", "? t1"], ["t2", "t2"]), BadPrompts, ("same positions", "Align")
    ),
    "text without a tokenizer": Mistake(
        lambda: Prompts.from_text(toy(), ["t1"], ["t2"]), BadPrompts, ("toy", "tokenizer", "token numbers")
    ),
    "tokens outside the vocabulary": Mistake(lambda: toy().logits(high()), BadPrompts, (r"0\.\.19", r"0\.\.20")),
    "answers outside the vocabulary": Mistake(
        lambda: toy().logits(rows(answers=RIGHT - 30)), BadPrompts, (r"0\.\.19", "-30|-2")
    ),
    "prompts that are too long": Mistake(
        lambda: toy().logits(some_prompts(length=10)), BadPrompts, ("at most 9", "10")
    ),
    "a view of such tokens": Mistake(lambda: View(toy(), POST, high()), BadPrompts, (r"0\.\.19",)),
    "a sweep with such tokens": Mistake(
        lambda: sweep(toy(), high(), site=POST, doses=[1.0]), BadPrompts, (r"0\.\.19", r"0\.\.20")
    ),
    "a landscape with such tokens": Mistake(
        lambda: landscape(toy(), high(), first=edit_at(POST, noise(40)), second=edit_at(POST, noise(40)), radii=[0.0]),
        BadPrompts,
        (r"0\.\.19", r"0\.\.20"),
    ),
    "losses with such tokens": Mistake(
        lambda: losses(toy(), high(), [edit_at(POST, noise(40))]), BadPrompts, (r"0\.\.20",)
    ),
    "retraining on such tokens": Mistake(lambda: retrain(toy(), high(), LAT()), BadPrompts, (r"0\.\.19", r"0\.\.20")),
    "a hunt with few prompts": Mistake(lambda: hunt(toy(), some_prompts(31)), BadPrompts, ("at least 32", "31")),
}
EDITS = {
    "not a number": Mistake(
        lambda: edit_at(POST, torch.tensor([0.0, float("nan")])), BadEdit, ("finite", "1 NaN", "L1.mlp.post")
    ),
    "infinity": Mistake(lambda: edit_at(POST, torch.tensor([float("inf"), 1.0])), BadEdit, ("finite", "1 .*of 2")),
    "no delta": Mistake(lambda: edit_at(POST, torch.zeros(0)), BadEdit, (r"\[width\]", r"\(0,\)")),
    "a cube": Mistake(lambda: edit_at(POST, torch.zeros(1, 1, 1)), BadEdit, (r"\[position, width\]", r"\(1, 1, 1\)")),
    "words": Mistake(lambda: Edit(Site.parse(POST), "abc"), BadEdit, ("float tensor", "L1.mlp.post")),  # type: ignore[arg-type]
    "no positions": Mistake(lambda: edit_at(POST, noise(40), ()), BadEdit, ("one or more", r"\(\)", "positions=None")),
    "a position twice": Mistake(lambda: edit_at(POST, noise(40), (1, 1)), BadEdit, ("different", r"\(1, 1\)")),
    "negative positions": Mistake(lambda: edit_at(POST, noise(40), (-1,)), BadEdit, ("from 0", r"\(-1,\)")),
    "positions that are words": Mistake(
        lambda: edit_at(POST, noise(40), ("a",)),  # type: ignore[arg-type]
        BadEdit,
        ("whole numbers", "'a'"),
    ),
    "rows without positions": Mistake(
        lambda: edit_at(POST, noise(3, 40), (1, 2)), BadEdit, ("each of 2 positions", "3 rows")
    ),
    "the wrong width": Mistake(
        lambda: toy().logits(some_prompts(), edit_at(POST, noise(16))),
        BadEdit,
        ("width 40", "L1.mlp.post of toy", "got 16"),
    ),
    "positions behind the end": Mistake(
        lambda: toy().logits(some_prompts(), edit_at(POST, noise(40), (9,))), BadEdit, ("below 9", "got 9")
    ),
    "rows for other prompts": Mistake(
        lambda: toy().logits(some_prompts(), edit_at(POST, noise(3, 40))),
        BadEdit,
        ("9 rows", "got 3", "which positions"),
    ),
    "no edit": Mistake(
        lambda: toy().logits(some_prompts(), NO_EDITS),
        BadEdit,
        ("Edits", "Tensor", r"Edit\(site, delta\)"),  # type: ignore[arg-type]
    ),
    "a neuron that is not there": Mistake(lambda: Edit.neuron(POST, 40, 1.0, 40), BadEdit, (r"0\.\.39", "got 40")),
    "a sweep of such a neuron": Mistake(
        lambda: sweep(toy(), some_prompts(), site=POST, neurons=[3, 40], doses=[1.0]), BadEdit, (r"0\.\.39", r"\[40\]")
    ),
    "a sweep of no neurons": Mistake(
        lambda: sweep(toy(), some_prompts(), site=POST, neurons=[], doses=[1.0]), BadEdit, (r"0\.\.39", "none")
    ),
    "a sweep without doses": Mistake(
        lambda: sweep(toy(), some_prompts(), site=POST, doses=[]), BadEdit, ("one or more", r"\[\]")
    ),
    "a sweep with a dose of NaN": Mistake(
        lambda: sweep(toy(), some_prompts(), site=POST, doses=[float("nan")]), BadEdit, ("finite", "nan")
    ),
    "a sweep behind the end": Mistake(
        lambda: sweep(toy(), some_prompts(), site=POST, doses=[1.0], positions=[9]), BadEdit, ("below 9", "got 9")
    ),
    "a landscape of the wrong width": Mistake(
        lambda: landscape(
            toy(), some_prompts(), first=edit_at(POST, noise(40)), second=edit_at(POST, noise(4)), radii=[0.0]
        ),
        BadEdit,
        ("width 40", "got 4"),
    ),
    "a landscape without radii": Mistake(
        lambda: landscape(
            toy(), some_prompts(), first=edit_at(POST, noise(40)), second=edit_at(POST, noise(40)), radii=[]
        ),
        BadEdit,
        ("one or more", r"\[\]"),
    ),
    "losses of the wrong width": Mistake(
        lambda: losses(toy(), some_prompts(), [edit_at(POST, noise(39))]), BadEdit, ("width 40", "got 39")
    ),
}
SITES = {
    "no name": Mistake(lambda: Site.parse(""), UnknownSite, ("hook point", "''", "L1.mlp.post")),
    "no string": Mistake(lambda: Site.parse(3), UnknownSite, ("hook point", "3")),  # type: ignore[arg-type]
    "a misspelled site": Mistake(
        lambda: toy().site("L1.mlp.pots"), UnknownSite, ("L1.mlp.pots", "toy", "L1.mlp.post", r"agent\.sites")
    ),
    "a layer too many": Mistake(lambda: toy().site("L3.mlp.post"), UnknownSite, ("L3.mlp.post", "L2.mlp.post")),
    "an edit there": Mistake(
        lambda: toy().logits(some_prompts(), edit_at("L3.mlp.post", noise(40))), UnknownSite, ("L3.mlp.post",)
    ),
    "activations there": Mistake(
        lambda: toy().activations(some_prompts(), "L3.mlp.post"), UnknownSite, ("L3.mlp.post",)
    ),
    "attention patterns": Mistake(lambda: toy().site("L1.attn.pattern"), UnknownSite, ("L1.attn.pattern", "sites")),
    "a scan there": Mistake(
        lambda: start(sites=["L0.mlp.post", "L7.mlp.post"]), UnknownSite, ("L7.mlp.post", "Closest")
    ),
    "a sweep there": Mistake(
        lambda: sweep(toy(), some_prompts(), site=[POST, "L7.mlp.post"], doses=[1.0]), UnknownSite, ("L7.mlp.post",)
    ),
    "retraining there": Mistake(
        lambda: retrain(toy(), some_prompts(), LAT(sites=("L7.mlp.post",))), UnknownSite, ("L7.mlp.post",)
    ),
}
SETTINGS = {
    "a radius of nought": Mistake(lambda: L2Ball(0.0), BadBudget, ("positive radius", "0.0")),
    "a radius of NaN": Mistake(lambda: L2Ball(float("nan")), BadBudget, ("positive radius", "nan")),
    "an endless radius": Mistake(lambda: L2Ball(float("inf")), BadBudget, ("positive radius", "inf")),
    "a unit nobody knows": Mistake(lambda: L2Ball(1.0, "metre"), BadBudget, ("'rho'", "'activation'", "metre")),  # type: ignore[arg-type]
    "an edit elsewhere": Mistake(
        lambda: bound().project(edit_at(POST, noise(40))), BadBudget, ("L1.resid_post", "L1.mlp.post")
    ),
    "edits that overlap": Mistake(
        lambda: bound().size([edit_at("L1.resid_post", noise(16)), edit_at("L1.resid_post", noise(16), (2,))]),
        BadBudget,
        ("overlap", "L1.resid_post", "one Edit"),
    ),
    "a share above one": Mistake(lambda: HiddenBehaviour(share=1.5), BadSettings, (r"\(0, 1\]", "1.5")),
    "a share of nought": Mistake(lambda: Target.token(1, share=0.0), BadSettings, (r"\(0, 1\]", "0.0")),
    "rungs beyond the budget": Mistake(lambda: SphereLadder(rungs=(0.5, 1.2)), BadSettings, (r"\(0, 1\]", "1.2")),
    "no starts": Mistake(lambda: SphereLadder(starts=0), BadSettings, ("at least one", "0")),
    "no prompt to climb on": Mistake(lambda: SphereLadder(prompts=0), BadSettings, ("at least one prompt", "0")),
    "no prompt to sweep on": Mistake(lambda: NeuronSweep(prompts=0), BadSettings, ("at least one prompt", "0")),
    "no neuron soon": Mistake(lambda: NeuronSweep(soon=0), BadSettings, ("at least one neuron", "0")),
    "no bridge": Mistake(
        lambda: Agent(NO_BRIDGE),
        BadSettings,
        ("TransformerBridge", "Linear", "boot_native"),  # type: ignore[arg-type]
    ),
    "no surgeon": Mistake(lambda: start(surgeons=["sweep"]), BadSettings, ("Surgeon", "'sweep'", "NeuronSweep()")),
    "two agents of one name": Mistake(
        lambda: start(references=[toy()]), BadSettings, ("different names", "toy", "name=")
    ),
    "no recipe": Mistake(lambda: retrain(toy(), some_prompts(), "LAT"), BadSettings, ("recipe", r"LAT\(\)", "'LAT'")),  # type: ignore[arg-type]
    "retraining where nothing is written": Mistake(
        lambda: retrain(toy(), some_prompts(), LAT(sites=("L1.attn.q",))),
        BadSettings,
        ("residual stream", "L1.attn.q", "resid_post"),
    ),
    "the best of nothing": Mistake(lambda: conclude([]).best, BadSettings, ("nothing was proposed", "Surgeon")),
}
MISTAKES = PROMPTS | EDITS | SITES | SETTINGS


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_refused_before_the_model_runs(mistake: Mistake) -> None:
    with no_compute(toy()), unchecked(), pytest.raises(WorkbenchError) as caught:
        mistake.do()
    assert type(caught.value) is mistake.error
    for part in mistake.told:
        assert re.search(part, str(caught.value)), f"{part!r} is not in: {caught.value}"


@pytest.mark.parametrize("site", ["L0.attn.q", "L0.attn.k", "L1.resid_mid", "L1.mlp.pre", "L1.ln1.normalized"])
@pytest.mark.parametrize(
    "do",
    [
        lambda site: L2Ball(1.0).bind(toy(), [site], some_prompts()),
        lambda site: start(sites=[site]),
    ],
    ids=("bind", "scan"),
)
def test_rho_is_refused_where_nothing_is_written(site: str, do: Callable[[str], Any]) -> None:
    with no_compute(toy()), pytest.raises(BadBudget, match=rf"rho is undefined at {site}.*unit='activation'"):
        do(site)


@pytest.mark.parametrize(
    ("recipe", "settings"),
    [
        (LAT, {"eps": 0.0}),
        (LAT, {"eps": float("nan")}),
        (LAT, {"sites": ()}),
        (LAT, {"inner_steps": 0}),
        (LAT, {"epss": 1}),
        (FineTune, {"steps": 0}),
        (FineTune, {"lr": -1.0}),
        (FineTune, {"batch": 0}),
        (FineTune, {"eps": 0.5}),
        (LatentNoise, {"rho": 0.0}),
        (EmbeddingAT, {"eps": float("inf")}),
        (EmbeddingAT, {"clean_weight": -1.0}),
    ],
    ids=str,
)
def test_bad_settings_of_a_recipe_are_refused_by_name(recipe: Any, settings: dict[str, Any]) -> None:
    with pytest.raises(WorkbenchError, match=next(iter(settings))):
        recipe(**settings)


def test_settings_of_a_recipe_cannot_be_changed() -> None:
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        LAT().eps = 0.3


def test_an_unknown_name_comes_with_the_closest_ones() -> None:
    error = unknown("recipe", "latt", ["lat", "noise"], "Pick one.")
    assert isinstance(error, UnknownName)
    assert str(error) == "no recipe 'latt' among 2. Closest: lat. Pick one."
    assert closest("zzz", ["one", "two"]) == "one, two"
    assert closest("x", []) == "none"


def test_no_message_of_a_library_shows_through(tmp_path: Path) -> None:
    """Files that are no checkpoints, in all the ways they can be none."""
    (tmp_path / "pickle").write_bytes(b"\x80\x04\x95" + bytes(40))
    torch.save({"a": torch.zeros(2)}, tmp_path / "zip")
    (tmp_path / "text").write_text("hello, this is no tensor")
    (tmp_path / "nothing").write_bytes(b"")
    told = {
        "pickle": "never opened",
        "zip": "never opened",
        "text": "truncated",
        "nothing": "truncated",
        "absent": "No such file",
    }
    for name, words in told.items():
        with pytest.raises(BadCheckpoint, match=words):
            SwitchReport.load(tmp_path / name)
    toy().save(tmp_path / "agent")
    with pytest.raises(BadCheckpoint, match="switch report"):
        SwitchReport.load(tmp_path / "agent" / "model.safetensors")
    conclude([]).save(tmp_path / "report")
    boot(name="other").save(tmp_path / "agent")
    with pytest.raises(BadCheckpoint, match=r"agent\.json"):
        Agent.load(tmp_path)
