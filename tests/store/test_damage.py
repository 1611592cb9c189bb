"""Damage: whatever is not what was written is refused by name; stores of other versions are upgraded or refused."""

import pickle
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from workbench import Store
from workbench.errors import BadCheckpoint, BadSettings
from workbench.store import Run, schema

DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda whole: whole[: len(whole) // 2],
    "empty": lambda whole: b"",
    "flipped": lambda whole: whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:],
    "foreign": lambda whole: save({"a": numpy.zeros(4)}),
    "pickled": lambda whole: pickle.dumps({"a": [1.0] * 4}),
}
damages = pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    with Store(tmp_path / "store") as store:
        yield store.run("test", {"seed": 0}, "a run")


def spoil(run: Run, file: str, damage: Callable[[bytes], bytes]) -> None:
    """Damage the newest file of a name such as `item-*`."""
    path = max(run.folder.glob(file), key=lambda path: path.stat().st_mtime_ns)
    path.write_bytes(damage(path.read_bytes()))


@damages
def test_the_checkpoint_before_a_damaged_one_is_taken_and_that_is_said(run: Run, damage: Callable) -> None:
    for number in (1, 2):
        run.checkpoint(number, {"a": numpy.full(4, number)})
    spoil(run, "checkpoint-*", damage)
    found = run.latest(as_numpy=True)
    assert found is not None
    assert (found.number, found.tensors["a"].tolist()) == (1, [1, 1, 1, 1])
    assert len(found.skipped) == 1
    assert str(run.folder) in found.skipped[0]
    assert Store(run.folder.parents[1]).check() == found.skipped


@damages
def test_where_all_are_damaged_that_is_said_of_each(run: Run, damage: Callable) -> None:
    run.checkpoint(1, {"a": numpy.ones(4)})
    run.put("it", {"a": numpy.ones(4)})
    run.put("note", {"a": 1})
    for file in ("checkpoint-*", "item-*.safetensors", "item-*.json"):
        spoil(run, file, damage)
    for read in (run.latest, lambda: run.get("it"), lambda: run.get("note")):
        with pytest.raises(BadCheckpoint, match=f"{run.folder}.*is not the file that was saved: expected sha256"):
            read()
    assert len(Store(run.folder.parents[1]).check()) == 3


def test_a_missing_file_is_named(run: Run) -> None:
    run.put("note", 1)
    next(run.folder.glob("item-*")).unlink()
    with pytest.raises(BadCheckpoint, match=f"expected a file at {run.folder}.*No such file"):
        run.get("note")


@pytest.mark.parametrize("name", [name for name in DAMAGES if name != "flipped"])  # SQLite keeps no sums
def test_an_index_that_is_none_is_refused(run: Run, name: str) -> None:
    for number in range(300):
        run.log(number, {"loss": 1.0})
    run.put("note", 1)
    run._index.close()
    path = run._index.path
    spoiled = DAMAGES[name](path.read_bytes())
    path.write_bytes(spoiled)
    store = Store(path.parent)
    with pytest.raises(BadCheckpoint, match=str(path)):
        store.runs()
    store.close()
    assert path.read_bytes() == spoiled
    assert len(list(run.folder.iterdir())) == 1


def test_settings_that_were_altered_are_seen(run: Run) -> None:
    with run._index.writing() as index:
        index.execute("UPDATE runs SET settings = replace(settings, '0', '1')")
    with pytest.raises(BadCheckpoint, match=r"settings of run .* were altered"):
        Store(run.folder.parents[1]).runs()


def test_an_index_without_its_files_or_files_without_an_index_are_refused(run: Run) -> None:
    run.put("note", 1)
    run._index.close()
    run._index.path.unlink()
    with pytest.raises(
        BadCheckpoint, match=r"expected the index of the runs in .*objects, got an empty .*index\.sqlite"
    ):
        Store(run.folder.parents[1]).tidy(older_than=0.0)
    assert len(list(run.folder.iterdir())) == 1


def test_the_database_of_another_program_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE bookmarks (url TEXT)")
    before = path.read_bytes()
    with pytest.raises(BadCheckpoint, match=r"expected the index of a store in .* got another database"):
        Store(tmp_path).run("test", {})
    assert path.read_bytes() == before


# --- names and links ----------------------------------------------------------------------------------------

EVIL = ("../x", "..", ".", "", "/etc/passwd", "a/b", "a\\b", "C:\\x", "x\0y", "n" * 300, "~", "$HOME", "CON", "nul.txt")
names = st.text(max_size=120) | st.text("ab1 ._-/\\", max_size=12) | st.sampled_from(EVIL)


def test_whatever_a_run_is_called_no_file_lies_outside_the_store(tmp_path: Path) -> None:
    folder = tmp_path / "around" / "store"
    taken, refused = set(), []
    with Store(folder) as store:
        (folder / "objects").mkdir(parents=True)
        (folder / "link").symlink_to(tmp_path)  # a name in the store that leads out of it

        @settings(max_examples=1000)
        @given(names)
        @example("link")
        @example("../../outside")
        @example("a run, with comma")
        @example("A run_1.2-3")
        def named(name: str) -> None:
            try:
                run = store.run("test", {"name": name}, name)
                run.put(name or "empty", 1)
                taken.add(name)
            except BadSettings as error:
                refused.append(str(error))
            assert [*tmp_path.iterdir(), *folder.parent.iterdir()] == [folder.parent, folder]

        named()
        assert all("Choose another" in told and len(told) < 700 for told in refused)
        assert {"link", "A run_1.2-3"} <= taken
        assert not taken & (set(EVIL) - {""})
    inside = {
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and "link/" not in str(path)
    }
    patterns = ("index.sqlite*", "objects/*/item-*.json")
    assert inside == {str(path.relative_to(folder)) for pattern in patterns for path in folder.glob(pattern)}


@pytest.mark.parametrize("where", ["objects", "objects/key"])
def test_a_link_in_the_place_of_a_folder_is_not_followed(tmp_path: Path, where: str) -> None:
    run = Store(tmp_path / "store").run("test", {})
    outside = tmp_path / "outside"
    outside.mkdir()
    link = run.folder if where == "objects/key" else run.folder.parent
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(outside)
    with pytest.raises(BadCheckpoint, match=r"within .*got a link"):
        run.put("x", 1)
    assert list(outside.iterdir()) == []


def test_a_path_in_the_index_is_not_followed(run: Run, tmp_path: Path) -> None:
    run.put("x", 1)
    (tmp_path / "outside.json").write_bytes(next(run.folder.glob("item-*")).read_bytes())
    with run._index.writing() as index:
        index.execute("UPDATE files SET file = '../../../outside.json'")
    with pytest.raises(BadCheckpoint, match="a path that leads elsewhere"):
        run.get("x")


# --- versions -----------------------------------------------------------------------------------------------


def newer(monkeypatch: pytest.MonkeyPatch, *statements: str) -> None:
    """As if a later release had added a step."""
    monkeypatch.setattr(schema, "STEPS", (*schema.STEPS, statements))


def version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as index:
        return index.execute("PRAGMA user_version").fetchone()[0]


def test_a_store_of_an_earlier_version_is_upgraded_after_a_backup(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run.log(1, {"loss": 2.0})
    run._index.close()
    newer(monkeypatch, "ALTER TABLE runs ADD COLUMN machine TEXT", "UPDATE runs SET machine = 'unknown'")
    with Store(run.folder.parents[1]) as store:
        assert list(store.find("a run").frame()["loss"]) == [2.0]
        store.run("test", {"seed": 1})
        assert len(store._index.rows("SELECT machine FROM runs")) == 2
    folder = run.folder.parents[1]
    assert (version(folder / "index.sqlite"), version(folder / "index-version-1.sqlite")) == (2, 1)
    with closing(sqlite3.connect(folder / "index-version-1.sqlite")) as backup:
        assert backup.execute("SELECT name, value FROM metrics").fetchall() == [("loss", 2.0)]
    assert not list(folder.glob(".backup*"))


def test_a_store_of_a_later_version_is_refused_with_the_cure(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = run.folder.parents[1]
    with monkeypatch.context() as later:
        run._index.close()
        newer(later, "ALTER TABLE runs ADD COLUMN machine TEXT")
        with Store(folder) as store:
            store.runs()
    with pytest.raises(BadCheckpoint, match=r"version 1 or earlier in .*got version 2.*pip install --upgrade"):
        Store(folder).runs()


def test_an_upgrade_that_fails_leaves_the_store_as_it_was(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run.log(1, {"loss": 2.0})
    run._index.close()
    with monkeypatch.context() as later:
        newer(later, "DROP TABLE metrics", "ALTER TABLE nonsense ADD COLUMN x")
        with pytest.raises(ValueError, match="no such table: nonsense"):
            Store(run.folder.parents[1]).runs()
    assert list(run.frame()["loss"]) == [2.0]
