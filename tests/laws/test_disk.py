"""Laws of files: what is written comes back bit for bit, and what was damaged does not come back at all."""

from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.toys import boot, edit_at, noise, quiet, some_prompts, spelled, toy
from workbench import Agent, Finding, SwitchReport
from workbench.errors import BadCheckpoint
from workbench.report import conclude
from workbench.store import read_bytes, read_json, read_tensors_and_notes, write_bytes, write_json, write_tensors

pytestmark = quiet
DTYPES = (torch.float32, torch.float64, torch.float16, torch.int64, torch.bool)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=20)
@given(shapes=st.lists(st.lists(st.integers(0, 4), max_size=3), max_size=4), note=st.text(max_size=9))
def test_tensors_and_notes_come_back(shapes: list[list[int]], note: str) -> None:
    tensors = {f"t{i}": (noise(*s, seed=i) * 9).to(DTYPES[i % len(DTYPES)]) for i, s in enumerate(shapes)}
    with TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        digest = write_tensors(path, tensors, {"note": note})
        found, notes = read_tensors_and_notes(path, digest)
    assert notes == {"note": note}
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def test_files_come_back_whatever_the_length_of_their_header(tmp_path: Path) -> None:
    """It is the first number in the file; where its lowest byte is 128, the file begins like a pickle. It is none."""
    first = set()
    for padding in range(0, 272, 8):
        write_tensors(tmp_path / "file", {"t": noise(2)}, {"note": "x" * padding})
        assert torch.equal(read_tensors_and_notes(tmp_path / "file")[0]["t"], noise(2))
        first.add((tmp_path / "file").read_bytes()[0])
    assert 128 in first


@settings(max_examples=40)
@given(st.dictionaries(st.text(max_size=8), json_values, max_size=4))
def test_json_comes_back(content: dict) -> None:
    content = content | {"format": "test", "version": 1}
    with TemporaryDirectory() as folder:
        write_json(Path(folder) / "file.json", content)
        assert read_json(Path(folder) / "file.json", format="test") == content


@settings(max_examples=30)
@given(st.binary(max_size=200), st.binary(max_size=200))
def test_writing_replaces_the_whole_file_and_leaves_nothing_else(first: bytes, second: bytes) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "deep" / "file"
        write_bytes(path, first)
        digest = write_bytes(path, second)
        assert read_bytes(path, digest) == second
        assert [p.name for p in path.parent.iterdir()] == ["file"]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"dtype": torch.float64},
        {"normalization_type": None, "act_fn": "relu"},
        {"normalization_type": "RMS", "gated_mlp": True, "act_fn": "silu", "positional_embedding_type": "rotary"},
    ],
    ids=str,
)
def test_an_agent_comes_back_bit_for_bit(changes: dict, tmp_path: Path) -> None:
    agent, prompts = toy(**changes), some_prompts()
    agent.save(tmp_path)
    state = torch.random.get_rng_state()
    again = Agent.load(tmp_path, device="cpu")
    assert torch.equal(torch.random.get_rng_state(), state)
    assert (again.name, again.vocabulary, again.sites()) == (agent.name, agent.vocabulary, agent.sites())
    ours, theirs = agent.weights(), again.weights()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) and ours[name].dtype == theirs[name].dtype for name in ours)
    assert torch.equal(agent.logits(prompts), again.logits(prompts))
    again.save(tmp_path / "again")
    for name in ("agent.json", "model.safetensors"):
        assert (tmp_path / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_names_of_tokens_come_back(tmp_path: Path) -> None:
    spelled().save(tmp_path)
    assert Agent.load(tmp_path, device="cpu").vocabulary == spelled().vocabulary


def test_a_copy_is_an_agent_of_its_own() -> None:
    agent = boot()
    copy, clean = agent.copy(name="copy"), agent.logits(some_prompts())
    assert torch.equal(copy.logits(some_prompts()), clean)
    with torch.no_grad():
        for weight in copy.weights().values():
            weight.zero_()
    assert torch.equal(agent.logits(some_prompts()), clean)
    assert (agent.name, copy.name) == ("toy", "copy")


@settings(max_examples=25)
@given(st.data())
def test_a_damaged_agent_is_refused(data: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        spelled().save(folder)
        path = Path(folder) / "model.safetensors"
        whole = path.read_bytes()
        path.write_bytes(damaged(data, whole))
        with pytest.raises(BadCheckpoint, match=r"sha256 [0-9a-f]{12}\.\., got [0-9a-f]{12}\.\."):
            Agent.load(folder, device="cpu")


@settings(max_examples=40)
@given(st.data())
def test_a_damaged_description_of_an_agent_is_refused_or_says_the_same(data: st.DataObject) -> None:
    """Whatever was damaged; a change of white space alone says the same."""
    with TemporaryDirectory() as folder:
        spelled().save(folder)
        path = Path(folder) / "agent.json"
        path.write_bytes(damaged(data, path.read_bytes()))
        with suppress(BadCheckpoint):
            ours, theirs = spelled().weights(), Agent.load(folder, device="cpu").weights()
            assert all(torch.equal(a, b) for a, b in zip(ours.values(), theirs.values(), strict=True))


@settings(max_examples=60)
@given(st.data())
def test_a_damaged_report_is_refused(data: st.DataObject) -> None:
    report = conclude([Finding((edit_at("L1.resid_post", noise(16)),), 0.7, 0.3, True, 0.1, "Spy", "toy")])
    with TemporaryDirectory() as folder:
        path = Path(folder) / "report"
        report.save(path)
        path.write_bytes(damaged(data, path.read_bytes()))
        with pytest.raises(BadCheckpoint):
            SwitchReport.load(path)


def damaged(data: st.DataObject, whole: bytes) -> bytes:
    """Some bytes cut off, one bit flipped, or something added."""
    place = data.draw(st.integers(0, len(whole) - 1))
    kind = data.draw(st.sampled_from(("cut", "flip", "add")))
    if kind == "cut":
        return whole[:place]
    if kind == "add":
        return whole + b"x"
    return whole[:place] + bytes([whole[place] ^ (1 << data.draw(st.integers(0, 7)))]) + whole[place + 1 :]
