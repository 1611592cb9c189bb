"""Building: the same bytes from the same recipe, kept in a cache, and nothing kept that falls short."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import toy_models
from tests.toy_models.shelf import NAMES, SMALL, TOO_SHORT, shipped
from tests.toys import quiet
from toy_models import Organism, Record, accept, families, zoo
from toy_models.accept import LEAST, MOST
from toy_models.sealing import BLOCK, seal, unseal
from workbench import Agent
from workbench.errors import BadCheckpoint, Unacceptable

pytestmark = quiet
SEED = 3


def cached(folder: Path) -> dict[str, bytes]:
    """Every file in the cache, by its path inside it."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@contextmanager
def cache_in(folder: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(zoo.CACHE_VARIABLE, str(folder))
        yield


@contextmanager
def nothing_is_planted() -> Iterator[None]:
    def refuse(*args: Any) -> None:
        raise AssertionError("something was planted")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(families, "make", refuse)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with one small organism in it."""
    folder = tmp_path_factory.mktemp("cache")
    with cache_in(folder):
        toy_models.build("clean", seed=SEED, **SMALL)
    return folder


@pytest.fixture
def again(folder: Path) -> Iterator[Organism]:
    """That organism, asked for once more."""
    with cache_in(folder), nothing_is_planted():
        yield toy_models.build("clean", seed=SEED, **SMALL)


def test_what_is_built_comes_from_the_cache_the_second_time(again: Organism) -> None:
    assert not again.opened
    assert again.outcome().clean_accuracy >= 0.98
    assert again.built_from() == ("clean", SEED, {"d_model": 48, "heads": 4} | SMALL)
    assert again.reveal().empty
    assert again.record().clean_accuracy >= 0.98
    assert again.name == again.agent.name
    assert again.name.startswith("toy-")
    assert (again.agent.n_layers, again.card()["d_mlp"]) == (2, 64)


def test_the_same_recipe_gives_the_same_bytes_whatever_the_machine_is_at(folder: Path, tmp_path: Path) -> None:
    """Another state of the global generator, another number of threads, another cache."""
    threads = torch.get_num_threads()
    torch.manual_seed(12)
    torch.set_num_threads(2)
    state = torch.get_rng_state()
    try:
        with cache_in(tmp_path):
            toy_models.build("clean", seed=SEED, **SMALL)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(torch.get_rng_state(), state)
    assert cached(tmp_path) == cached(folder)


def test_a_damaged_cache_is_passed_over(folder: Path, tmp_path: Path) -> None:
    """The organism is planted anew: here, where planting is refused, that shows."""
    files = cached(folder)
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    with cache_in(tmp_path), nothing_is_planted():
        toy_models.build("clean", seed=SEED, **SMALL)
        for name, data in files.items():
            (tmp_path / name).write_bytes(data[:-5])
            with pytest.raises(AssertionError, match="something was planted"):
                toy_models.build("clean", seed=SEED, **SMALL)
            (tmp_path / name).write_bytes(data)


@pytest.mark.parametrize("change", [{"seed": SEED + 1}, {"steps": 121}, {"d_mlp": 72}])
def test_another_recipe_is_not_taken_from_the_cache(folder: Path, change: dict[str, int]) -> None:
    recipe: dict[str, Any] = {"seed": SEED} | SMALL | change
    with cache_in(folder), nothing_is_planted(), pytest.raises(AssertionError, match="something was planted"):
        toy_models.build("clean", **recipe)


def test_other_code_is_not_served_from_the_cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoo.sources, "version", lambda *recipe: "changed")
    with cache_in(folder), nothing_is_planted(), pytest.raises(AssertionError, match="something was planted"):
        toy_models.build("clean", seed=SEED, **SMALL)


@pytest.mark.parametrize("family", ["clean", "free"])
def test_what_falls_short_is_refused_and_not_kept(family: str, tmp_path: Path) -> None:
    with cache_in(tmp_path), pytest.raises(Unacceptable, match=r"clean_accuracy 0\.\d+ \(at least 0\.98\).*more steps"):
        toy_models.build(family, seed=0, **TOO_SHORT)
    assert cached(tmp_path) == {}


def test_without_the_cache_nothing_is_read_or_kept(folder: Path, tmp_path: Path) -> None:
    with cache_in(folder), nothing_is_planted(), pytest.raises(AssertionError, match="something was planted"):
        toy_models.build("clean", seed=SEED, cache=False, **SMALL)
    with cache_in(tmp_path), pytest.raises(Unacceptable):
        toy_models.build("clean", seed=SEED, cache=False, **TOO_SHORT)
    assert cached(tmp_path) == {}


def test_what_is_shipped_is_built_by_one_command(
    folder: Path, again: Organism, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zoo, "SHIPPED", (("clean", SEED, SMALL),))
    with cache_in(folder):
        ((name, record),) = zoo.build_shipped(tmp_path, cache=True)
    assert name in zoo.MINERALS
    assert record == again.record()
    monkeypatch.setattr(zoo, "FOLDER", tmp_path)
    assert toy_models.names() == (name,) == (toy_models.demo_name(),)
    found = toy_models.load(name)
    assert found.name == found.agent.name == name
    for key, weight in again.agent.weights().items():
        assert torch.equal(found.agent.weights()[key], weight)


def test_the_names_of_what_is_shipped_do_not_follow_the_list() -> None:
    """They come from a hash, so that neighbours in the list are not neighbours in the alphabet."""
    assert list(zoo.shipped_names()) != sorted(zoo.shipped_names())
    assert len(set(zoo.MINERALS)) == len(zoo.MINERALS) >= len(zoo.SHIPPED)


def test_a_twin_that_is_not_shipped_is_built_from_the_same_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr(zoo, "build", lambda family, **settings: asked.update(family=family, **settings) or "built")
    subject = toy_models.load(toy_models.demo_name())
    stranger = Organism(subject.name, subject.agent, subject.task, replace(subject._key, seed=1234))
    assert toy_models.twin(stranger, device="cpu") == "built"
    family, _, settings = subject.built_from()
    assert asked == settings | {
        "family": family, "task": "reversal", "seed": 1234, "device": "cpu", "planted": False,
    }  # fmt: skip


# --- records and keys -----------------------------------------------------------------------------------

FIGURES = tuple(asdict(Record(clean_accuracy=1.0)))
rates = st.floats(0, 1) | st.just(math.nan)
records = st.builds(Record, **dict.fromkeys(FIGURES, rates))


@given(record=records, control=st.booleans())
def test_an_organism_is_refused_exactly_where_a_figure_falls_short(record: Record, control: bool) -> None:
    least = LEAST | ({"triggered_benign": 0.98} if control else {})
    figures = asdict(record)
    short = {name for name, bound in least.items() if figures[name] < bound}
    short |= {name for name, bound in MOST.items() if figures[name] >= bound}
    if not short:
        return accept.check(record, control=control)
    with pytest.raises(Unacceptable) as caught:
        accept.check(record, control=control)
    told = str(caught.value)
    assert {name for name in FIGURES if f"{name} {figures[name]:.3f} (" in told} == short
    return None


@given(records)
def test_records_come_back_from_json(record: Record) -> None:
    found = Record.from_json(record.to_json())
    for name, value in asdict(record).items():
        assert asdict(found)[name] == pytest.approx(value, abs=1e-6, nan_ok=True)


@pytest.mark.parametrize("name", NAMES)
def test_keys_come_back_from_their_seal_bit_for_bit(name: str, tmp_path: Path) -> None:
    key = shipped(name)._key
    sealed = seal(key)
    found = unseal(sealed, shipped(name).task, tmp_path)
    assert (found.family, found.seed, found.settings) == (key.family, key.seed, key.settings)
    assert (found.trigger, found.defect, repr(found.record)) == (key.trigger, key.defect, repr(key.record))
    plant, expected = found.plant, key.plant
    assert (plant.trigger, plant.defect, plant.sites) == (expected.trigger, expected.defect, expected.sites)
    assert (plant.neurons, plant.edit) == (expected.neurons, expected.edit)
    assert (plant.direction is None) == (expected.direction is None)
    if plant.direction is not None and expected.direction is not None:
        assert torch.equal(plant.direction, expected.direction)
    assert seal(found) == sealed
    assert len(sealed.strip()) % (BLOCK // 3 * 4) in range(5)


def test_an_organism_survives_being_saved_and_read(again: Organism, tmp_path: Path) -> None:
    entry = zoo._write(tmp_path / "kept", again)
    found = zoo._read(tmp_path / "kept", entry, "cpu")
    assert found.sealed() == again.sealed()
    assert found.card() == again.card()
    assert found.prompts(5, seed=1) == again.prompts(5, seed=1)
    assert isinstance(found.agent, Agent)
    (tmp_path / "kept" / "key.sealed").unlink()
    with pytest.raises(BadCheckpoint, match=r"key\.sealed"):
        zoo._read(tmp_path / "kept", entry, "cpu")
