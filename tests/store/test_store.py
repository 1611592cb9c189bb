"""Laws of the store: what was kept comes back, equal settings are one run, and others may write at the same time."""

import json
import pickle
import threading
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.toys import noise, unchecked
from workbench import Store
from workbench.errors import BadSettings, UnknownName
from workbench.store import Run


def plain(floats: st.SearchStrategy[float]) -> st.SearchStrategy[Any]:
    """Plain JSON with such floats."""
    texts = st.text(st.characters(codec="utf-8"))
    return st.recursive(
        st.none() | st.booleans() | st.integers(-(2**60), 2**60) | floats | texts,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3),
        max_leaves=6,
    )


values, finite = plain(st.floats(allow_nan=False)), plain(st.floats(allow_nan=False, allow_infinity=False))
figures = st.dictionaries(st.text("ab_ ", min_size=1, max_size=3), st.floats(), max_size=3)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store") as opened:
        yield opened


@pytest.fixture
def run(store: Store) -> Run:
    return store.run("test", {"seed": 0})


@settings(max_examples=25)
@given(st.dictionaries(st.integers(-3, 1000), figures.filter(bool), max_size=4))
def test_figures_come_back(logged: dict[int, dict[str, float]]) -> None:
    with TemporaryDirectory() as folder, Store(folder) as store:
        run = store.run("test", {})
        for step, row in logged.items():
            run.log(step, {"earlier": 1.0})
            run.log(step, row)
        frame = run.frame()
    assert list(frame.index) == sorted(logged)
    for step, row in logged.items():
        there = frame.loc[step]
        assert set(there.dropna().index) <= set(row)
        assert repr([there[name] for name in row]) == repr([numpy.float64(value + 0.0) for value in row.values()])


@settings(max_examples=40)
@given(st.lists(st.tuples(values, values), max_size=5))
def test_results_and_items_come_back_once_and_the_first_stays(pairs: list[tuple[Any, Any]]) -> None:
    expected: dict[str, tuple[Any, Any]] = {}
    with TemporaryDirectory() as folder, Store(folder) as store:
        results = store.run("test", {}).results
        for item, value in pairs:
            results.put(item, value)
            first = expected.setdefault(json.dumps(item, sort_keys=True), (item, value))
            assert item in results
            assert results.get(item) == first[1]
        assert len(results) == len(list(results))
        assert [pair for pair in expected.values() if pair not in list(results)] == []
        assert results.get(["no", "such"], default=7) == 7


@settings(max_examples=20)
@given(
    shapes=st.lists(st.lists(st.integers(0, 3), max_size=3), min_size=1, max_size=3),
    dtype=st.sampled_from((torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.bool, torch.uint8)),
    note=st.text(st.characters(codec="utf-8"), max_size=9),
)
def test_checkpoints_come_back(shapes: list[list[int]], dtype: torch.dtype, note: str) -> None:
    tensors = {f"t{i}": (noise(*s, seed=i) * 9).to(dtype) for i, s in enumerate(shapes)}
    with TemporaryDirectory() as folder, Store(folder) as store:
        run = store.run("test", {})
        assert run.latest() is None
        run.checkpoint(3, tensors, {"note": note})
        run.put("the tensors", tensors)
        found, put = run.latest(), run.get("the tensors")
    assert found is not None
    assert (found.number, found.notes, found.skipped) == (3, {"note": note}, ())
    for kept in (found.tensors, put):
        assert kept.keys() == tensors.keys()
        assert all(kept[n].dtype == dtype and torch.equal(kept[n], tensors[n]) for n in tensors)


def test_arrays_come_back_as_arrays_or_as_tensors(run: Run) -> None:
    arrays = {"matrix": numpy.arange(12.0).reshape(3, 4).T, "number": numpy.array(5)}
    run.checkpoint(1, arrays)
    plain, torches = run.latest(as_numpy=True), run.latest()
    assert plain is not None
    assert torches is not None
    for name, array in arrays.items():
        assert plain.tensors[name].shape == array.shape
        assert numpy.array_equal(plain.tensors[name], array)
        assert torch.equal(torches.tensors[name], torch.from_numpy(array))


@settings(max_examples=30)
@given(values, values)
def test_what_was_put_comes_back_and_replaces_what_was_there(first: Any, second: Any) -> None:
    with TemporaryDirectory() as folder, Store(folder) as store:
        run = store.run("test", {})
        run.put("it", first)
        assert run.get("it") == first
        run.put("it", second)
        assert run.get("it") == second
        assert run.names() == ("it",)
        assert len(list(Path(folder).glob("objects/*/*"))) == 1


@settings(max_examples=40)
@given(st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=4), finite, max_size=3))
def test_equal_settings_are_one_run_in_any_order_and_in_any_process(given_settings: dict[str, Any]) -> None:
    with TemporaryDirectory() as folder, Store(folder) as store, Store(folder) as other:
        run = store.run("test", given_settings)
        again = other.run("test", dict(reversed(given_settings.items())))
        assert run == again
        assert run.settings == again.settings == given_settings
        assert store.run("other", given_settings) != run
        assert store.run("test", given_settings | {"one more": 1}) != run
        run.finish({"asr": float("nan")})
        assert again.done
        assert repr(again.outcome) == "{'asr': nan}"
        assert len(other.runs()) == 3
        assert other.runs("test")[0] == run


def test_an_item_is_found_whatever_the_order_of_its_fields(run: Run) -> None:
    run.results.put({"a": 1, "b": (2, 3)}, 4)
    assert run.results.get({"b": [2, 3], "a": 1}) == 4
    assert {"a": 1} not in run.results


def test_a_run_says_how_far_it_is(run: Run) -> None:
    assert (run.status, run.reason, run.done) == ("new", "", False)
    run.log(1, {"loss": 1.0})
    assert run.status == "running"
    run.fail("the loss is nan")
    assert (run.status, run.reason) == ("failed", "the loss is nan")
    run.results.put(1, 1)
    assert (run.status, run.reason) == ("running", "")
    run.stop("cancelled")
    assert (run.status, run.reason) == ("stopped", "cancelled")
    run.finish()
    run.put("a note", "after it was done")
    assert run.done


def test_only_the_newest_checkpoints_stay(run: Run) -> None:
    for number in range(1, 6):
        run.checkpoint(number, {"a": numpy.full(3, number)}, keep=3)
    assert len(list(run.folder.iterdir())) == 3
    run.checkpoint(2, {"a": numpy.full(3, 20)})  # begun anew: the newest is the one written last
    found = run.latest(as_numpy=True)
    assert found is not None
    assert (found.number, found.tensors["a"].tolist()) == (2, [20, 20, 20])
    assert len(list(run.folder.iterdir())) == 2


def test_runs_are_found_by_name_and_by_how_their_key_begins(store: Store, run: Run) -> None:
    named = store.run("test", {"seed": 1}, "my run")
    assert store.find("my run") == store.find(named.key[:8]) == store.find(named.key) == named
    assert store.find(run.key[:8]) == run
    store.run("test", {"seed": 1}, "another name")
    store.run("test", {"seed": 1})
    assert named.name == "another name"
    with pytest.raises(UnknownName, match=r"no run 'my run' among 2\. Closest: .*another name"):
        store.find("my run")
    store.run("test", {"seed": 2}, "another name")
    with pytest.raises(UnknownName, match=r"2 runs answer to 'another name': [0-9a-f]{12}, [0-9a-f]{12}"):
        store.find("another name")


def test_looking_at_a_store_that_is_not_there_makes_none(tmp_path: Path) -> None:
    store = Store(tmp_path / "none")
    assert (store.runs(), store.check(), store.tidy()) == ((), (), ())
    with pytest.raises(UnknownName, match="no run 'x' among 0"):
        store.find("x")
    assert not store.folder.exists()


def test_the_folder_is_the_variables_or_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAT_WORKBENCH_STORE", str(tmp_path / "mine"))
    assert Store().folder == (tmp_path / "mine").resolve()
    monkeypatch.delenv("LAT_WORKBENCH_STORE")
    assert "lat-workbench" in str(Store().folder)


def test_litter_goes_and_nothing_else(store: Store, run: Run) -> None:
    run.checkpoint(1, {"a": numpy.ones(3)})
    run.put("note", {"a": 1})
    litter = [run.folder / name for name in (".checkpoint-1.safetensors.x", "item-0.json")]
    for path in litter:
        path.write_bytes(b"")
    assert store.tidy() == ()
    assert store.tidy(older_than=0.0) == tuple(sorted(litter))
    assert store.check() == ()
    assert len(list(run.folder.iterdir())) == 2


def test_stores_and_runs_can_be_sent_to_another_process(store: Store, run: Run) -> None:
    run.log(1, {"loss": 2.0})
    again, elsewhere = pickle.loads(pickle.dumps((run, store)))
    again.log(2, {"loss": 1.0})
    assert list(run.frame()["loss"]) == [2.0, 1.0]
    assert elsewhere.find(run.key) == run


def test_threads_share_a_run(run: Run) -> None:
    def work(who: int) -> None:
        for number in range(50):
            run.results.put([who, number], number)

    threads = [threading.Thread(target=work, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(run.results) == 200


@pytest.mark.parametrize(
    ("mistake", "told"),
    [
        (lambda run, store: store.run("test", {"a": float("nan")}), "settings without NaN"),
        (lambda run, store: store.run("test", {"a": {1, 2}}), "expected settings as numbers, texts"),
        (lambda run, store: store.run("", {}), "expected as a kind of run 1 to 100 letters"),
        (lambda run, store: run.log(1, {"loss": "high"}), "expected a number to log as 'loss', got 'high'"),
        (lambda run, store: run.put("x", object()), "expected content as numbers, texts"),
        (lambda run, store: run.results.put(b"x", 1), "expected an item as numbers, texts"),
        (lambda run, store: _half(run).latest(as_numpy=True), "a type that numpy has, got 'BF16'.* Read it as tensors"),
        (lambda run, store: run.checkpoint(1, {}, keep=0), "at least one checkpoint, got keep=0"),
    ],
)
def test_mistakes_are_told_and_leave_nothing(store: Store, run: Run, mistake: Any, told: str) -> None:
    with unchecked(), pytest.raises(BadSettings, match=told):
        mistake(run, store)
    assert len(store.runs()) == 1
    assert not run.names()


def _half(run: Run) -> Run:
    run.checkpoint(1, {"a": torch.ones(2, dtype=torch.bfloat16)})
    return run


def test_an_item_that_is_not_there_is_named(run: Run) -> None:
    run.put("weights", {"a": torch.ones(2)})
    with pytest.raises(UnknownName, match=r"no item of a run 'weight' among 1\. Closest: weights"):
        run.get("weight")
