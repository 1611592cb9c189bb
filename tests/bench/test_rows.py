"""Rows and their ledger: what is written is read, whatever interrupts it; other files are refused."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.bench.made import FOUND, clean, row
from workbench.bench.zoo import Ledger, Row
from workbench.bench.zoo.ledger import plain, row_of
from workbench.errors import BadCheckpoint


@given(st.integers(0, 5), st.none() | st.floats(0, 1), st.text(), st.none() | st.integers(1, 9))
def test_a_row_survives_json(number: int, score: float | None, error: str, rank: int | None) -> None:
    one = row(number=number, score=score, error=error, rank=rank)
    assert row_of(Row, json.loads(json.dumps(plain(one), allow_nan=False))) == one


def test_a_row_comes_back_as_it_was() -> None:
    again = row_of(Row, json.loads(json.dumps(plain(row()))))
    assert again == row()
    assert again.found == (FOUND,)
    assert (again.hit, again.alarm, again.place, again.rho) == (True, True, "L1.mlp.post [3]", 0.7)
    assert again.ratio == pytest.approx(1.05)
    assert (clean().place, clean().rho, clean().ratio) == ("-", None, None)


def test_what_is_no_number_becomes_nothing() -> None:
    written = plain(row(score=math.nan, controls={"random edits": math.inf}))
    assert (written["score"], written["controls"]) == (None, {"random edits": None})
    assert row_of(Row, written).controls == {"random edits": None}


def test_a_row_of_a_later_version_is_still_read() -> None:
    assert row_of(Row, plain(row()) | {"further": 1}) == row()


def test_what_is_appended_is_on_the_disk_and_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "rows.jsonl"
    first = Ledger(path, Row)
    assert first.rows == []
    first.append(row())
    assert Ledger(path, Row).rows == [row()]
    second = Ledger(path, Row)
    second.append(clean())
    assert Ledger(path, Row).rows == [row(), clean()]
    assert {row.key for row in second.rows} == {row().key, clean().key}


def test_without_a_path_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Ledger(None, Row).append(row())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kept", [1, 20, -1])
def test_a_torn_last_line_is_dropped_and_written_over(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "rows.jsonl"
    ledger = Ledger(path, Row)
    ledger.append(row())
    whole = path.read_bytes()
    ledger.append(clean())
    path.write_bytes(whole + path.read_bytes()[len(whole) :][:kept])
    again = Ledger(path, Row)
    assert again.rows == [row()]
    assert path.read_bytes() == whole
    again.append(clean())
    assert Ledger(path, Row).rows == [row(), clean()]


HEAD = '{"format": "lat-workbench zoo rows", "version": 1}\n'
OTHER: dict[str, tuple[str, str]] = {
    "words": ("hello\n", "expected JSON in line 1"),
    "another file": ('{"format": "else", "version": 1}\n', "expected 'lat-workbench zoo rows' version 1"),
    "no line": ("hello", "expected 'lat-workbench zoo rows' version 1"),
    "a broken line": (HEAD + '{"key"\n{}\n', "expected JSON in line 2"),
    "no row": (HEAD + '{"key": "a"}\n', "expected a row in line 2"),
    "no object": (HEAD + "[1]\n", "expected a row in line 2"),
}


@pytest.mark.parametrize("case", OTHER)
def test_other_files_are_refused_and_left_alone(tmp_path: Path, case: str) -> None:
    content, told = OTHER[case]
    path = tmp_path / "rows.jsonl"
    path.write_text(content)
    with pytest.raises(BadCheckpoint, match=told):
        Ledger(path, Row)
    assert path.read_text() == content


def test_a_field_of_another_kind_is_seen() -> None:
    written = plain(row())
    del written["recipe"]
    with pytest.raises(ValidationError, match="recipe"):
        row_of(Row, written)
