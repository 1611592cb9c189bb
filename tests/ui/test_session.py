"""The session: one shared value, watched; edits undone and redone; places by name; scripts that open it again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import toy_models
from tests.toys import edit_at, noise, some_prompts, toy, unchecked
from workbench.errors import BadEdit, BadSettings, UnknownName
from workbench.sites import Site
from workbench.ui.history import History, Line
from workbench.ui.places import BadPlace, Selection, read_places
from workbench.ui.session import Session
from workbench.ui.source import Call

POST = Site.parse("L1.mlp.post")


def session() -> Session:
    return Session(toy(), some_prompts())


# The history.

moves = st.lists(st.sampled_from(["then", "undo", "redo"]), max_size=30)


@given(moves)
def test_undo_and_redo_are_inverse(names):
    history = History()
    for number, name in enumerate(names):
        step = (edit_at("L1.mlp.post", noise(40, seed=number)),)
        history = history.then(step) if name == "then" else getattr(history, name)()
    line = history.line
    if line.at > 0:
        assert history.undo().redo() == history
    if line.at < len(line.steps) - 1:
        assert history.redo().undo() == history
    further = history.then((edit_at("L1.mlp.post", noise(40, seed=99)),))
    assert further.undo().now == history.now
    assert further.redo() == further


def test_the_first_and_the_last_step_stay_where_they_are() -> None:
    assert History().undo() == History().redo() == History()
    assert History().now == ()
    assert Line().then(()) == Line()


def test_branches_go_their_own_ways() -> None:
    one, other = (edit_at("L1.mlp.post", noise(40, seed=i)) for i in range(2))
    forked = History().then((one,)).fork("idea").then((other,))
    assert forked.now == (other,)
    assert forked.on("main").now == (one,)
    assert forked.on("main").undo().on("idea").now == (other,)
    with pytest.raises(BadSettings, match="new name"):
        forked.fork("idea")
    with pytest.raises(UnknownName, match="idea"):
        forked.on("idee")


# Places.


@pytest.mark.parametrize(
    ("text", "sites", "neurons", "positions"),
    [
        ("", (), (), None),
        ("L1.mlp.7", ("L1.mlp.post",), (7,), None),
        ("L1.mlp.post.7", ("L1.mlp.post",), (7,), None),
        ("L1.mlp", ("L1.mlp.post",), (), None),
        ("blocks.1.mlp.hook_post.3,5-8", ("L1.mlp.post",), (3, 5, 6, 7, 8), None),
        ("L0.resid_post@2,4", ("L0.resid_post",), (), (2, 4)),
        ("L0.resid.1@0-2", ("L0.resid_post",), (1,), (0, 1, 2)),
        ("L0.attn;  L1.mlp.2", ("L1.mlp.post", "L0.attn.z"), (2,), None),
        ("L1.mlp.2 L1.mlp.9@3", ("L1.mlp.post",), (2, 9), (3,)),
    ],
)
def test_places_are_read(text: str, sites: tuple, neurons: tuple, positions: tuple | None) -> None:
    found = read_places(toy(), text, 9)
    assert found == Selection(sites=tuple(map(Site.parse, sites)), neurons=neurons, positions=positions)
    assert read_places(toy(), found.text(), 9) == found


@given(st.sets(st.integers(0, 39)), st.sets(st.integers(0, 8)))
def test_what_is_written_is_read_again(neurons, positions):
    chosen = Selection(sites=(POST,), neurons=tuple(sorted(neurons)), positions=tuple(sorted(positions)) or None)
    assert read_places(toy(), chosen.text(), 9) == chosen


@pytest.mark.parametrize(
    ("text", "cure"),
    [
        ("L1.mlp.40", "0..39"),
        ("L9.mlp.1", "Closest: L"),
        ("L1.mlp.pots", "L1.mlp.post"),
        ("L1.mpl.3", "Closest: L1.mlp,"),
        ("L1.mlp.8-3", "such as 3,5-8"),
        ("L1.mlp.1@9", "0..8"),
        ("<script>", "Write L1.mlp.42"),
        ("L0.mlp.1 L1.mlp.2", "neurons at one site"),
        ("L1.mlp." + "9" * 10_000, "0..39"),
        ("x" * 10_000, "Closest"),
    ],
)
def test_other_text_is_refused_with_the_cure(text: str, cure: str) -> None:
    with pytest.raises(BadPlace) as caught:
        read_places(toy(), text, 9)
    assert cure in str(caught.value)
    assert len(str(caught.value)) < 600


# What is shared.


def test_watchers_hear_of_what_they_watch_until_they_are_told_not_to() -> None:
    here, heard = session(), []
    unwatch = here.watch(heard.append, "selection", "history")
    here.select("L1.mlp.7")
    here.put(findings=())
    here.edit(edit_at("L1.mlp.post", noise(40)))
    here.undo()
    assert heard == ["selection", "history", "history"]
    unwatch()
    here.redo()
    assert len(heard) == 3
    assert here.watchers == 0


def test_an_edit_that_does_not_fit_changes_nothing() -> None:
    here = session()
    with pytest.raises(BadEdit):
        here.edit(edit_at("L1.mlp.post", noise(39)))
    assert here.edits == ()


def test_a_shared_value_there_is_not_is_refused() -> None:
    with pytest.raises(UnknownName, match="findings"):
        session().put(finding=())
    with pytest.raises(UnknownName, match="selection"):
        session().watch(print, "selektion")


@pytest.mark.parametrize("subject", [None, "rutile"])
def test_other_subjects_are_refused(subject: object) -> None:
    with unchecked(), pytest.raises(BadSettings):
        Session(subject)  # pyright: ignore[reportArgumentType]


def test_an_agent_needs_prompts() -> None:
    with pytest.raises(BadSettings, match=r"wb\.Prompts"):
        Session(toy())


def test_the_script_opens_the_same_agent_and_prompts() -> None:
    here, names = Session(toy_models.load("zircon"), count=40, seed=3), {}
    exec(here.code(), names)
    assert names["prompts"] == here.prompts
    assert names["agent"].name == here.agent.name
    assert "opened with" in session().code()


def test_the_bridge_runs_a_call_on_the_prompts_it_is_given() -> None:
    here, call = session(), Call("sweep", {"site": POST, "doses": (1.0,)})
    assert here.do(call).identical(call(here.agent, here.prompts))
    assert not here.do(call, here.prompts[:2]).equals(here.do(call))
