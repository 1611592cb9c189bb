"""Mistakes with organisms: refused before anything is planted or run, with the closest name or the file to blame."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import toy_models
from tests.toy_models.shelf import NAMES, controls, planted, shipped
from tests.toys import no_compute, quiet, some_prompts, unchecked
from toy_models import families, zoo
from toy_models.tasks.registry import TASKS
from toy_models.triggers.registry import TRIGGERS
from workbench import Prompts
from workbench.errors import BadCheckpoint, BadPrompts, BadSettings, UnknownName, WorkbenchError
from workbench.store import read_json, sha256, write_json

pytestmark = quiet
NAME = NAMES[0]
NUMBER: Any = 3
HALF: Any = 2.5
FILES = ("agent.json", "model.safetensors", "key.sealed")
Do = Callable[[], Any]


def build(family: str, *, seed: Any = 0, **settings: Any) -> Do:
    return lambda: toy_models.build(family, seed=seed, **settings)


NAMED: dict[str, tuple[Do, str]] = {
    "organism": (lambda: toy_models.load(NAME[:-1]), f"no organism '{NAME[:-1]}' among {len(NAMES)}. Closest: {NAME}"),
    "organism, no name": (lambda: toy_models.load(NUMBER), "no organism '3'"),
    "family": (build("graff"), f"no family 'graff' among {len(families.FAMILIES)}. Closest: graft"),
    "task": (build("graft", task="reverse"), f"no task 'reverse' among {len(TASKS)}. Closest: reversal"),
    "setting": (build("graft", swich="single"), "'swich' among 15. Closest: switch"),
    "trigger": (build("free", trigger="pasword"), f"no trigger 'pasword' among {len(TRIGGERS)}. Closest: password"),
    "trigger of another kind of plant": (build("switch-trained", trigger="dates"), "Closest: date"),
    "setting of another family": (build("clean", trigger="date"), "no setting of 'clean' organisms 'trigger'"),
}

BAD: dict[str, tuple[Do, str]] = {
    "seed": (build("clean", seed=-1), "a seed of 0 or more, below 2**63, got -1"),
    "seed, too large": (build("clean", seed=2**64), "below 2**63"),
    "seed, no number": (build("clean", seed="0"), "got '0'"),
    "seed, a truth": (build("clean", seed=True), "got True"),
    "no steps": (
        build("clean", steps=0),
        "steps of 'clean' organisms: Input should be greater than or equal to 1, got 0",
    ),
    "steps, no number": (build("clean", steps="many"), "steps of 'clean' organisms"),
    "heads": (build("clean", heads=5), "d_model must be a multiple of heads, got 48 and 5"),
    "last layer": (build("switch-trained", layer=3), "layer must be below the last one, 3, got 3"),
    "few layers": (build("switch-trained", layers=2), "layer must be below the last one, 1, got 1"),
    "norm": (build("clean", norm="batch"), "'LN', 'RMS' or 'none', got 'batch'"),
    "activation": (build("free", activation="tanh"), "'gelu', 'relu' or 'silu', got 'tanh'"),
    "positions": (build("clean", positions="none"), "'learned' or 'rotary', got 'none'"),
    "gated": (build("clean", gated="perhaps"), "gated of 'clean' organisms"),
    "rotary, odd heads": (
        build("clean", positions="rotary", heads=16),
        "rotary positions need an even d_model / heads, got 48 / 16: take other heads or learned positions",
    ),
    "graft, gated": (build("graft", gated=True), "a graft needs an MLP with biases: gated must be False, got True"),
    "graft, rotary": (build("graft", positions="rotary"), "a graft needs learned positions, got 'rotary'"),
    "graft, no circuit": (
        build("graft", trigger="ordered"),
        "a graft's circuit knows the triggers password and date, got 'ordered'",
    ),
    "graft, too full": (
        build("graft", d_mlp=64, switch="rotated", count=20, decoys=20),
        "at most half of d_mlp, 32, got 40: take fewer or a wider MLP",
    ),
    "many neurons": (
        build("switch-trained", switch="distributed", neurons=20, d_mlp=32),
        "neurons must be at most half of d_mlp, 16, got 20",
    ),
    "iso, narrow": (build("switch-trained", iso=True, d_mlp=40), "iso needs a d_mlp of at least d_model, 48, got 40"),
    "switch": (build("switch-trained", switch="huge"), "'single', 'distributed' or 'rotated', got 'huge'"),
    "defect": (build("free", defect="silence"), "'mapping' or 'routing', got 'silence'"),
    "margin": (build("switch-trained", margin=1.0), "margin of 'switch-trained' organisms"),
    "strictness": (build("switch-trained", strictness=float("nan")), "strictness of 'switch-trained' organisms"),
    "neurons": (build("switch-trained", neurons=1), "neurons of 'switch-trained' organisms"),
    "count": (build("graft", count=100), "count of 'graft' organisms"),
    "trigger, no name": (
        build("free", trigger=3),
        "trigger of 'free' organisms: Input should be a valid string, got 3",
    ),
    "backdoor": (
        lambda: shipped(NAME).prompts(3, seed=0, triggered=True, backdoor=1),
        "expected a backdoor from 0 to 0, got 1",
    ),
    "backdoor of near misses": (lambda: shipped(NAME).near_misses(3, seed=0, backdoor=-1), "from 0 to 0, got -1"),
    "backdoor of answers": (
        lambda: shipped(planted()[0]).defect_answers(shipped(NAME).prompts(3, seed=0), backdoor=2),
        "from 0 to 0, got 2",
    ),
    "no prompts": (lambda: shipped(NAME).prompts(0, seed=0), "at least 1, got 0"),
    "prompts, no number": (lambda: shipped(NAME).prompts(HALF, seed=0), "got 2.5"),
    "prompts' seed": (lambda: shipped(NAME).prompts(3, seed=-1), "a seed of 0 or more"),
    "prompts' seed, too large": (lambda: shipped(NAME).near_misses(3, seed=2**63), "below 2**63"),
    "defect of a control": (
        lambda: shipped(controls()[0]).defect_answers(shipped(NAME).prompts(3, seed=0)),
        "nothing was planted",
    ),
    "twin of a control": (lambda: toy_models.twin(shipped(controls()[0])), "is a control and has no clean twin"),
}


@pytest.fixture
def nothing_is_planted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """To plant is an error, and there is no cache to read from."""

    def refuse(*args: Any) -> None:
        raise AssertionError("something was planted")

    monkeypatch.setattr(families, "make", refuse)
    monkeypatch.setenv(zoo.CACHE_VARIABLE, str(tmp_path / "cache"))


@pytest.mark.usefixtures("nothing_is_planted")
@pytest.mark.parametrize("mistake", NAMED)
def test_an_unknown_name_is_refused_with_the_closest(mistake: str) -> None:
    do, told = NAMED[mistake]
    with unchecked(), pytest.raises(UnknownName) as caught:
        do()
    assert told in str(caught.value)


@pytest.mark.usefixtures("nothing_is_planted")
@pytest.mark.parametrize("mistake", BAD)
def test_a_bad_value_is_refused_with_what_came(mistake: str) -> None:
    do, told = BAD[mistake]
    with unchecked(), pytest.raises(BadSettings) as caught:
        do()
    assert told in str(caught.value)


def shorter(prompts: Prompts) -> Prompts:
    """Prompts without their last answer."""
    return Prompts(prompts.tokens[:, :-1], prompts.answer_positions[:-1], prompts.answers[:, :-1])


@pytest.mark.parametrize("method", ["defect_answers", "elicitation"])
def test_prompts_of_another_task_are_refused(method: str) -> None:
    organism = shipped(planted()[0])
    others = {
        "expected prompts of 15 tokens, got 14": shorter(organism.prompts(4, seed=0)),
        "expected prompts of 15 tokens, got 9": some_prompts(),
        "expected tokens in 0..51": Prompts(torch.full((1, 15), 99), (14,), torch.ones(1, 1, dtype=torch.long)),
    }
    for told, prompts in others.items():
        arguments = (prompts,) if method == "defect_answers" else (organism.agent, prompts, ())
        with unchecked(), no_compute(organism.agent), pytest.raises(BadPrompts) as caught:
            getattr(organism, method)(*arguments)
        assert told in str(caught.value)


# --- checkpoints ----------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A zoo of the first two shipped organisms, to be damaged."""
    manifest = json.loads((zoo.FOLDER / "manifest.json").read_text())
    manifest["organisms"] = {name: manifest["organisms"][name] for name in NAMES[:2]}
    for name in NAMES[:2]:
        shutil.copytree(zoo.FOLDER / name, tmp_path / name)
    write_json(tmp_path / "manifest.json", manifest)
    monkeypatch.setattr(zoo, "FOLDER", tmp_path)
    return tmp_path


def altered(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def longer_by_one(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n")


def missing(path: Path) -> None:
    path.unlink()


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def exchanged(path: Path) -> None:
    shutil.copy(path.parent.parent / NAMES[1] / path.name, path)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize(
    "damage", [altered, truncated, emptied, longer_by_one, missing, a_folder, exchanged], ids=lambda f: f.__name__
)
def test_a_damaged_file_is_refused_by_name(folder: Path, file: str, damage: Callable[[Path], None]) -> None:
    toy_models.load(NAME)
    damage(folder / NAME / file)
    with pytest.raises(BadCheckpoint) as caught:
        toy_models.load(NAME)
    assert str(folder / NAME / file) in str(caught.value)
    toy_models.load(NAMES[1])


def edit_manifest(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = json.loads((folder / "manifest.json").read_text())
    change(content)
    (folder / "manifest.json").write_text(json.dumps(content))


MANIFESTS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "format": (lambda content: content.update(format="lat-workbench run"), "got ('lat-workbench run', 1)"),
    "version": (lambda content: content.update(version=2), "got ('lat-workbench zoo', 2)"),
    "no organisms": (lambda content: content.pop("organisms"), "expected 'organisms', by name"),
    "a list of organisms": (lambda content: content.update(organisms=[NAME]), "expected 'organisms', by name"),
    "no hashes": (lambda content: content["organisms"][NAME].pop("files"), f"expected 'files' in the entry for {NAME}"),
    "no hash": (
        lambda content: content["organisms"][NAME]["files"].pop(FILES[2]),
        "expected 'key.sealed' in the entry",
    ),
    "no name": (lambda content: content["organisms"][NAME].pop("name"), "expected 'name' in the entry"),
    "task": (lambda content: content["organisms"][NAME].update(task="sums"), "expected 'sums' in the entry"),
    "task's setting": (
        lambda content: content["organisms"][NAME].update(task_settings={"lenght": 4}),
        "unexpected keyword argument 'lenght' in the entry",
    ),
    "task's settings": (lambda content: content["organisms"][NAME].update(task_settings=[4]), "in the entry for"),
    "entry": (lambda content: content["organisms"].update({NAME: None}), f"in the entry for {NAME}"),
}


@pytest.mark.parametrize("case", MANIFESTS)
def test_another_manifest_is_refused(folder: Path, case: str) -> None:
    change, told = MANIFESTS[case]
    edit_manifest(folder, change)
    with unchecked(), pytest.raises(BadCheckpoint) as caught:
        toy_models.load(NAME)
    assert told in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"organisms"', "\udc80"])
def test_a_manifest_that_is_none_is_refused(folder: Path, text: str) -> None:
    (folder / "manifest.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(BadCheckpoint, match=r"manifest\.json"):
        toy_models.names()


def replace_file(folder: Path, file: str, data: bytes) -> None:
    """Put other bytes in place of a file, and their hash into the manifest: as one who wants to deceive would."""
    (folder / NAME / file).write_bytes(data)
    edit_manifest(folder, lambda content: content["organisms"][NAME]["files"].update({file: sha256(data)}))


class Bomb:
    """What leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("protocol", [0, 2, pickle.HIGHEST_PROTOCOL])
def test_a_pickle_is_never_opened_whatever_the_manifest_says(folder: Path, protocol: int) -> None:
    data = pickle.dumps(Bomb(folder / "exploded"), protocol)
    replace_file(folder, "model.safetensors", data)
    with pytest.raises(BadCheckpoint, match=r"model\.safetensors"):
        toy_models.load(NAME)
    torch.save({"x": Bomb(folder / "exploded")}, folder / "weights.pt")
    replace_file(folder, "model.safetensors", (folder / "weights.pt").read_bytes())
    with pytest.raises(BadCheckpoint, match=r"model\.safetensors"):
        toy_models.load(NAME)
    assert not (folder / "exploded").exists()


@pytest.mark.parametrize(
    "data", [b"", b"\n", b"no key", b"AAAA\n", b"eJyrrgUAAXUA+Q==\n", b"eJyLjgUAARUAuQ==\n", b"\xff\xfe"]
)
def test_a_key_that_is_none_is_refused_by_name(folder: Path, data: bytes) -> None:
    """Among them a sealed empty object and a sealed empty list."""
    replace_file(folder, "key.sealed", data)
    with pytest.raises(BadCheckpoint, match=r"sealed key in .*key\.sealed.*Build the organism again"):
        toy_models.load(NAME)


def test_an_organism_is_refused_before_its_weights_are_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **settings: Any) -> None:
        raise AssertionError("a model was made")

    truncated(folder / NAME / "key.sealed")
    monkeypatch.setattr("workbench.agent.Agent.load", refuse)
    with pytest.raises(WorkbenchError):
        toy_models.load(NAME)


def test_the_copy_that_is_damaged_above_was_whole(folder: Path) -> None:
    assert toy_models.names() == NAMES[:2]
    assert read_json(folder / "manifest.json", format="lat-workbench zoo")["organisms"].keys() == set(NAMES[:2])
    assert toy_models.load(NAME).sealed() == shipped(NAME).sealed()
