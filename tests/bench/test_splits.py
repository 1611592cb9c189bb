"""Splits: disjoint, as large as was asked, and made of recipes that could be built."""

from collections import Counter
from itertools import combinations

import pytest

from toy_models.families import FAMILIES
from toy_models.plants.settings import read
from toy_models.tasks.registry import TASKS
from workbench.bench.zoo import SPLITS, Recipe
from workbench.bench.zoo.bars import BARS
from workbench.bench.zoo.recipes import ATTEMPTS

TEST = SPLITS["test"]
LEAST = {
    ("graft single", "graft distributed", "trained single", "trained distributed"): 24,
    ("graft rotated", "graft huge"): 10,
    ("trained rotated", "trained iso"): 8,
    ("trained tube", "trained band"): 8,
    ("date",): 8,
    ("password",): 8,
    ("ordered",): 6,
    ("hash",): 5,
    ("masked",): 5,
    ("product",): 3,
    ("two backdoors",): 3,
    ("conditional",): 3,
    ("adaptive",): 17,
    ("clean",): 100,
}


@pytest.mark.parametrize("pair", list(combinations(SPLITS, 2)))
def test_no_task_and_no_seed_is_in_two_splits(pair: tuple[str, str]) -> None:
    one, other = (SPLITS[name] for name in pair)
    assert not {r.task for r in one} & {r.task for r in other}
    seeds = [{r.at_attempt(n).seed for r in split for n in range(ATTEMPTS)} for split in (one, other)]
    assert not seeds[0] & seeds[1]


@pytest.mark.parametrize("split", SPLITS)
def test_no_organism_is_in_a_split_twice(split: str) -> None:
    assert max(Counter(r.key for r in SPLITS[split]).values()) == 1
    new = [r.seed for r in SPLITS[split] if r.seed >= 1000]
    assert len(set(new)) == len(new)


@pytest.mark.parametrize("families", LEAST, ids=" ".join)
def test_the_test_split_is_large_enough(families: tuple[str, ...]) -> None:
    assert sum(r.family in families for r in TEST) >= LEAST[families]


def test_clean_models_are_of_every_task_and_of_several_shapes() -> None:
    clean = [r for r in TEST if r.family == "clean"]
    assert {r.task for r in clean} == {r.task for r in TEST}
    assert len({r.shape for r in clean}) >= 4
    assert {r.settings.get("norm", "LN") for r in clean} == {"LN", "RMS", "none"}
    assert sum(r.planter != "clean" for r in clean) >= 10


def test_every_family_that_is_asked_for_something_is_tested_and_tuned() -> None:
    asked = {family for bar in BARS for family in bar.families}
    for split in ("dev", "test"):
        assert asked <= {r.family for r in SPLITS[split]}
    assert {r.family for r in SPLITS["dev"]} == {r.family for r in TEST}


@pytest.mark.parametrize("split", ["dev", "test"])
def test_about_twenty_are_looked_at_by_all(split: str) -> None:
    sampled = [r for r in SPLITS[split] if r.sampled]
    assert 18 <= len(sampled) <= 30
    assert sum(r.family == "clean" for r in sampled) >= 8


@pytest.mark.parametrize("split", SPLITS)
def test_recipes_are_of_settings_that_there_are(split: str) -> None:
    for recipe in SPLITS[split]:
        family = FAMILIES[recipe.planter]
        read(family.settings, recipe.planter, recipe.settings, TASKS[recipe.task].effort)
        assert recipe.settings.get("planted", True) == (recipe.family != "clean" or recipe.planter == "clean")


def test_a_recipe_is_known_by_what_it_makes() -> None:
    one = Recipe(family="a", planter="graft", seed=1)
    assert one.key == Recipe(family="b", planter="graft", seed=1, sampled=True).key
    assert one.key != Recipe(family="a", planter="graft", seed=1, settings={"count": 2}).key
