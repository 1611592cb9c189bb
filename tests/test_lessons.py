"""Lessons: one text makes both notebooks, what is in git is what the text makes, and checks name likely mistakes."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import pytest
import torch

import toy_models
from tests.toys import quiet, some_prompts, toy, unchecked
from workbench import Edit, FineTune, Site, retrain, sweep
from workbench.errors import BadSettings
from workbench.lessons import Lesson, Reply, cure, find, notebook

pytestmark = quiet
ROOT = Path(__file__).parents[1] / "notebooks"
TEXTS = sorted((ROOT / "lessons").glob("[0-9]*.md"))
texts = pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.stem)

SMALL = """# A title

Words.

```python
x = 1
```

```python student
y = ...
```

```python solution
y = 2
```
More `words`.
"""


def lesson(tmp_path: Path, text: str) -> Lesson:
    path = tmp_path / "small.md"
    path.write_text(text, encoding="utf-8")
    return Lesson.read(path)


def test_both_notebooks_have_all_but_each_others_blocks(tmp_path: Path) -> None:
    made = {version: notebook(lesson(tmp_path, SMALL), version) for version in ("student", "solution")}
    for version, cells in {v: [(c.cell_type, c.source) for c in n.cells] for v, n in made.items()}.items():
        assert cells == [
            ("markdown", "# A title\n\nWords."),
            ("code", "x = 1"),
            ("code", "y = ..." if version == "student" else "y = 2"),
            ("markdown", "More `words`."),
        ]
        nbformat.validate(made[version])
    assert nbformat.writes(made["student"]) == nbformat.writes(notebook(lesson(tmp_path, SMALL)))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [("python solution", "python", "its solution"), ("python student", "python hint", "got hint")],
)
def test_a_lesson_without_solution_or_with_another_block_is_refused(
    tmp_path: Path, old: str, new: str, words: str
) -> None:
    with pytest.raises(BadSettings, match=words):
        lesson(tmp_path, SMALL.replace(old, new))


@texts
def test_the_notebook_in_git_is_made_of_the_text(path: Path) -> None:
    kept = (ROOT / f"{path.stem}.ipynb").read_text(encoding="utf-8")
    assert kept == nbformat.writes(notebook(Lesson.read(path))) + "\n", "run `make lessons`"


@texts
def test_every_exercise_is_checked_and_no_solution_is_given_away(path: Path) -> None:
    given = "\n".join(cell.source for cell in notebook(Lesson.read(path)).cells)
    exercises = re.findall(r"^(\w+) = \.\.\.$", given, re.MULTILINE)
    assert len(exercises) >= 4
    for name in exercises:
        assert re.search(rf"(find|cure)\.\w+\({name}\b", given), name
    for part in Lesson.read(path).parts:
        assert part.version != "solution" or part.content not in given


def grid() -> Any:
    return sweep(toy(), some_prompts(16), site="L1.mlp.post", doses=(-1.0, 0.0, 2.0))


def test_the_loudest_neuron() -> None:
    losses = grid()
    peaks = losses.max("dose")
    right, quiet_one = (int(n) for n in (peaks.idxmax("neuron"), peaks.idxmin("neuron")))
    assert find.loudest(right, losses).right
    assert find.loudest(float(right), losses).right
    assert find.loudest(peaks.idxmax("neuron"), losses).right
    assert "quietest" in find.loudest(quiet_one, losses).words
    assert "index of a dose" in find.loudest(10_000, losses).words
    assert "whole number" in find.loudest("L1", losses).words
    told = find.loudest(next(n for n in range(16) if n not in (right, quiet_one)), losses)
    assert not told.right
    assert str(right) not in told.words


def share(changed: torch.Tensor) -> float:
    return float(changed.float().mean())


def test_flip() -> None:
    agent, prompts = toy(gain=1.0), some_prompts(40)
    edits = [Edit(Site.parse("L1.resid_post"), 0.5 * torch.randn(16, generator=torch.Generator().manual_seed(0)))]

    def said(*given: Any) -> torch.Tensor:
        return agent.logits(*given).argmax(-1).cpu()

    changed = share(said(prompts, edits) != said(prompts))
    assert 0.05 < changed < 0.95
    answers: dict[str, Any] = {
        "to what": lambda a, p, e: share(said(p, e) != said(p)),
        "stays the same": lambda a, p, e: share(said(p, e) == said(p)),
        "counts prompts": lambda a, p, e: share((said(p, e) != said(p)).any(1)),
        "unedited, not": lambda a, p, e: share(said(p, e) != p.answers),
        "divide": lambda a, p, e: float((said(p, e) != said(p)).sum()),
        "raises ZeroDivisionError": lambda a, p, e: 1 / 0,
        "one number": lambda a, p, e: said(p, e),
        "argmax": lambda a, p, e: 0.123,
    }
    for words, answer in answers.items():
        reply = find.flip(answer, agent, prompts, edits)
        assert words in reply.words
        assert reply.right == (words == "to what")
    assert find.flip(3, agent, prompts, edits).words.startswith("Write a function")


def report(**told: Any) -> Any:
    portrait = SimpleNamespace(doses=(0.25, 0.5, 1.0), same=(0.0, 0.6, 1.0), flipped=(0.7, 0.8, 1.0))
    usual = {"score": 0.9, "threshold": 0.7, "largest_control": 0.1, "best": SimpleNamespace(portrait=portrait)}
    made = usual | told
    return SimpleNamespace(found=made["score"] >= made["threshold"] and made["score"] > made["largest_control"], **made)


def test_alarms_and_doses() -> None:
    with unchecked():
        assert find.alarm(True, report()).right
        assert "no random edit" in find.alarm(False, report()).words
        assert "controls" in find.alarm(True, report(largest_control=0.95)).words
        assert "does not reach" in find.alarm(True, report(score=0.5)).words
        assert "True or False" in find.alarm("yes", report()).words
        assert find.smallest_dose(0.5, report()).right
        assert "largest" in find.smallest_dose(1.0, report()).words
        assert "not yet to the same" in find.smallest_dose(0.25, report()).words
        assert "among the doses" in find.smallest_dose(0.3, report()).words


def test_triggers() -> None:
    organism = toy_models.load("fluorite", device="cpu")
    prompts = organism.prompts(32, seed=0)
    held = organism.prompts(32, seed=0, triggered=True).tokens
    pairs = [(p, int(held[0, p])) for p in range(prompts.length) if (held[:, p] == held[0, p]).all()]
    trigger = [(p, t) for p, t in pairs if not (prompts.tokens[:, p] == t).all()]
    assert find.trigger(trigger, organism, prompts).right
    assert find.trigger(torch.tensor(trigger).tolist(), organism, prompts).right
    assert "No token" in find.trigger([], organism, prompts).words
    assert "pairs" in find.trigger([3], organism, prompts).words
    assert "lie below" in find.trigger([(99, 1)], organism, prompts).words
    wrong = find.trigger(trigger[:1], organism, prompts)
    assert not wrong.right
    assert str(trigger[1][1]) not in wrong.words


def test_cures() -> None:
    organism = toy_models.load("fluorite", device="cpu")
    (step,) = retrain(organism.agent, organism.prompts(64, seed=1), FineTune(steps=1))
    assert "plain fine-tuning" in cure.cured(step, organism).words
    assert "last Step" in cure.cured(organism.agent, organism).words
    assert cure.cured(..., organism).words.startswith("This is still the placeholder")


@pytest.mark.parametrize(
    ("answer", "words"),
    [(600, "bargain"), (100, "several times"), (400, "two losses"), (500, "two losses"), (7, "and those for the")],
)
def test_equal_steps(answer: int, words: str) -> None:
    reply = cure.equal_steps(answer, steps=100, inner_steps=4)
    assert words in reply.words
    assert reply.right == (answer == 600)


def test_who_wins_and_what_is_left() -> None:
    with unchecked():
        lost: Any = SimpleNamespace(alarm="the Surgeon always wins, and", wins=0.99)
        fought: Any = SimpleNamespace(alarm="", wins=0.4)
        assert cure.alarmed("Surgeon", lost).right
        assert "read `step.alarm`" in cure.alarmed("both", lost).words
        assert "0.99" in cure.alarmed("Agent", lost).words
        assert cure.alarmed("both", fought).right
        assert 'Say "Surgeon"' in cure.alarmed(3, fought).words
        assert cure.still_there("no", attack_success=0.0, elicited=1.0).right
        assert cure.still_there("yes", attack_success=0.0, elicited=0.01).right
        assert "still works" in cure.still_there("yes", attack_success=0.0, elicited=1.0).words
        assert str(Reply(True, "x")) == "Right. x"
