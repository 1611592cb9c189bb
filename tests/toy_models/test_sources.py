"""What makes a cached organism out of date: the code that decides it, and no other."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.toys import quiet
from toy_models import families, sources
from toy_models.sources import ROOT, deciding, version
from toy_models.tasks.registry import TASKS

pytestmark = quiet
SETTINGS = {"trigger": "date", "layers": 4, "planted": True}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the package's code, to be changed."""
    return Path(shutil.copytree(ROOT, tmp_path / "copy", ignore=shutil.ignore_patterns("checkpoints", "__pycache__")))


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def of(root: Path, family: str = "free", task: str = "sorting") -> str:
    return version(family, task, SETTINGS, root=root)


def add_docstring(tree: Path) -> None:
    change(tree / "plants" / "free.py", '"""', '"""Other words. ')
    change(tree / "plants" / "learning.py", '    """Minimise', '    """Make small')


def add_comment(tree: Path) -> None:
    change(tree / "accept.py", "import copy", "# why we copy\n\n\nimport copy  # so")


def add_planter(tree: Path) -> None:
    (tree / "plants" / "novel.py").write_text("RATE = 3\n")
    change(tree / "families.py", "FAMILIES = {", 'FAMILIES = {\n    "novel": Family("novel", "A", "b", bool),')


def add_task(tree: Path) -> None:
    (tree / "tasks" / "novel.py").write_text("class Novel:\n    pass\n")
    change(tree / "tasks" / "registry.py", "TASKS", "from toy_models.tasks.novel import Novel\n\nTASKS")


def add_trigger(tree: Path) -> None:
    (tree / "triggers" / "novel.py").write_text("class Novel:\n    pass\n")
    change(tree / "triggers" / "registry.py", "TRIGGERS", "from toy_models.triggers.novel import Novel\n\nTRIGGERS")


def change_other_task(tree: Path) -> None:
    change(tree / "tasks" / "recall.py", "keys: int = 4", "keys: int = 5")


def change_other_planter(tree: Path) -> None:
    change(tree / "plants" / "grafts.py", "_HUGE = 600.0", "_HUGE = 500.0")


def change_other_entry(tree: Path) -> None:
    change(tree / "families.py", '"grafts"', '"circuits"')


def change_zoo(tree: Path) -> None:
    change(tree / "zoo.py", "agate", "garnets")


HARMLESS = (
    add_docstring,
    add_comment,
    add_planter,
    add_task,
    add_trigger,
    change_other_task,
    change_other_planter,
    change_other_entry,
    change_zoo,
)


@pytest.mark.parametrize("do", HARMLESS)
def test_what_does_not_decide_changes_nothing(do: Callable[[Path], None], tree: Path) -> None:
    before = of(tree)
    do(tree)
    assert of(tree) == before


DECIDING: dict[str, tuple[str, str, str]] = {
    "a constant of the planter": ("plants/free.py", "RATE = 3e-3", "RATE = 4e-3"),
    "a default of its settings": ("plants/free.py", "default=1400", "default=1500"),
    "what it imports": ("plants/learning.py", "betas=(0.9, 0.98)", "betas=(0.9, 0.99)"),
    "what all planters share": ("plants/settings.py", "default=96", "default=80"),
    "the task": ("tasks/sorting.py", "body.sort(1)", "body.sort(-1)"),
    "what all tasks share": ("tasks/header.py", "YEARS = 16", "YEARS = 17"),
    "the kind of trigger": ("triggers/date.py", "PRESENT - 2, 2", "PRESENT - 3, 3"),
    "the bounds of acceptance": ("accept.py", "SEED = 71_993", "SEED = 71_994"),
    "how all families are made": ("families.py", "requires_grad_(True)", "requires_grad_(False)"),
    "the family's entry": ("families.py", '"free", "FreeSettings"', '"free", "CleanSettings"'),
}


@pytest.mark.parametrize("what", DECIDING)
def test_what_decides_changes_the_hash(what: str, tree: Path) -> None:
    before = of(tree)
    file, old, new = DECIDING[what]
    change(tree / file, old, new)
    assert of(tree) != before


def test_a_kind_of_trigger_counts_where_it_is_named_in_the_recipe_or_in_the_code(tree: Path) -> None:
    def both() -> tuple[str, str]:
        return version("free", "sorting", {"trigger": "ordered"}, root=tree), version("clean", "sorting", {}, root=tree)

    ordered, clean = both()
    change(tree / "triggers" / "ordered.py", "_COUNT = 3", "_COUNT = 2")
    assert both()[0] != ordered
    assert both()[1] == clean
    change(tree / "triggers" / "password.py", "kind == 2", "kind == 3")  # clean models have a password that is not set
    assert both()[1] != clean


@pytest.mark.parametrize("family", sorted(families.FAMILIES))
def test_a_family_is_decided_by_its_own_planter_and_by_nothing_that_ships_or_wraps(family: str) -> None:
    found = deciding(family, "reversal", {})
    assert f"toy_models.plants.{families.FAMILIES[family].module}" in found
    assert {"toy_models.accept", "toy_models.families", TASKS["reversal"].__module__} <= set(found)
    assert not set(found) & {"toy_models", "toy_models.zoo", "toy_models.organism", "toy_models.sealing"}
    assert not any(name.endswith(".registry") for name in found)


def test_recipes_of_different_families_and_tasks_have_different_sources() -> None:
    hashes = {of(ROOT, family, task) for family in ("free", "graft") for task in ("sorting", "recall")}
    assert len(hashes) == 4


def test_the_code_is_read_and_not_imported(tree: Path) -> None:
    change(tree / "plants" / "free.py", "RATE = 3e-3", "RATE = 1 / 0")
    assert of(tree) != of(ROOT)


def test_a_module_is_found_in_a_file_or_in_a_folder() -> None:
    assert sources._path("toy_models.accept", ROOT) == ROOT / "accept.py"
    assert sources._path("toy_models.tasks", ROOT) == ROOT / "tasks" / "__init__.py"
    assert not sources._path("workbench.errors", ROOT).exists()
