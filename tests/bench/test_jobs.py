"""Jobs: planned from data, done once, in several processes, whatever becomes of one of them."""

from pathlib import Path

import pytest

from tests.bench.made import fake, recipe
from tests.toys import unchecked
from workbench.bench.zoo import BUILD, Job, Ledger, Plan, Row, planned, study
from workbench.errors import BadSettings, UnknownName

FINE, UNBUILT, FAILS, DIES = (recipe(number=number) for number in (0, 1, 2, 3))


def ended(row: Row) -> tuple[int, str, str]:
    return row.recipe.seed, row.arm, row.error


def test_organisms_are_built_first_and_those_that_are_not_are_left_out() -> None:
    rows = list(study(Plan((FINE, UNBUILT, FAILS), ("default",)), Ledger(None, Row), do=fake))
    assert list(map(ended, rows)) == [
        (0, BUILD, ""),
        (1, BUILD, "it went wrong"),
        (2, BUILD, ""),
        (0, "default", ""),
        (2, "default", "it went wrong"),
    ]
    assert rows[3].made_with == 50  # the seed that was accepted is the one that is hunted


def test_a_family_is_done_before_the_next_is_begun() -> None:
    plan = Plan((recipe("one", 4), recipe("two", 5), recipe("one", 6)), ("default",))
    rows = [(row.family, row.arm) for row in study(plan, Ledger(None, Row), do=fake)]
    assert rows == [
        (family, arm) for family, n in (("one", 2), ("two", 1)) for arm in (BUILD, "default") for _ in range(n)
    ]


def test_nothing_is_done_twice(tmp_path: Path) -> None:
    plan, path = Plan((FINE, UNBUILT, FAILS), ("default",), (0, 1)), tmp_path / "rows.jsonl"
    asked: list[Job] = []

    def do(job: Job) -> Row:
        asked.append(job)
        return fake(job)

    events = study(plan, Ledger(path, Row), do=do)
    first = [next(events) for _ in range(4)]
    events.close()  # type: ignore[attr-defined]
    rows = list(study(plan, Ledger(path, Row), do=do))
    assert len(asked) == len(rows) == 7
    assert first == rows[:4]
    assert list(study(plan, Ledger(path, Row), do=do)) == rows
    assert len(asked) == 7


def test_a_row_is_of_its_recipe_arm_seed_and_version() -> None:
    job = Job(recipe=FINE, arm="default", version="1", seed=0, made_with=0)
    others = [
        Job(recipe=FAILS, arm="default", version="1", seed=0, made_with=0),
        Job(recipe=FINE, arm="else", version="1", seed=0, made_with=0),
        Job(recipe=FINE, arm="default", version="2", seed=0, made_with=0),
        Job(recipe=FINE, arm="default", version="1", seed=1, made_with=0),
    ]
    assert len({job.key, *(other.key for other in others)}) == 5
    assert Job(recipe=recipe("another family"), arm="default", version="1", seed=0, made_with=9).key == job.key


def test_a_ledger_row_is_counted_where_its_recipe_is_now(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    list(study(Plan((FINE,), ("default",)), Ledger(path, Row), do=fake))
    rows = study(Plan((recipe("renamed"),), ("default",)), Ledger(path, Row), do=fake)
    assert {row.family for row in rows} == {"renamed"}


def test_a_process_that_dies_is_a_row_and_the_others_go_on() -> None:
    recipes = (FINE, DIES, FAILS, recipe(number=4), recipe(number=5))
    rows = list(study(Plan(recipes, ("default",)), Ledger(None, Row), workers=2, do=fake))
    assert sorted(map(ended, rows[:5])) == [(number, BUILD, "") for number in (0, 2, 3, 4, 5)]
    assert sorted(map(ended, rows[5:])) == [
        (0, "default", ""),
        (2, "default", "it went wrong"),
        (3, "default", "the process ended with status 7"),
        (4, "default", ""),
        (5, "default", ""),
    ]


def test_who_looks_at_what() -> None:
    sampled, hashed = recipe(number=1, sampled=True), recipe("hash", 2)
    plan = planned((FINE, sampled, hashed), arms=("default", "neuron sweep", "input search"))
    looks = [(job.recipe.seed, job.arm) for job in plan.looks({r.key: r.seed for r in plan.recipes})]
    every = [(number, "default") for number in range(3)]
    assert looks == [*every, (1, "neuron sweep"), (2, "input search")]
    assert plan.most() == 3 + 5
    assert len(planned((FINE, sampled, hashed), arms=("neuron sweep",)).builds()) == 1  # nobody looks at the others


def test_shipped_organisms_are_not_built() -> None:
    plan = Plan((recipe(shipped="agate"),), ("default",))
    assert plan.builds() == []
    assert len(plan.looks({})) == 1


def test_families_and_limits_choose_recipes() -> None:
    recipes = tuple(recipe(family, number) for family in ("one", "two") for number in range(3))
    assert {r.family for r in planned(recipes, families=("two",)).recipes} == {"two"}
    assert [r.seed for r in planned(recipes, limit=2).recipes] == [0, 1, 0, 1]


def test_a_study_of_nobody_ends() -> None:
    assert list(study(Plan((), ("default",)), Ledger(None, Row), workers=2, do=fake)) == []


def test_mistakes_are_refused() -> None:
    with pytest.raises(UnknownName, match=r"no arm 'defualt'.*Closest: default"):
        planned((FINE,), arms=("defualt",))
    with pytest.raises(UnknownName, match=r"no family 'graft sinlge'.*Closest: graft single"):
        planned((FINE,), families=("graft sinlge",))
    for seeds, limit in ((0, None), (1, 0)):
        with pytest.raises(BadSettings, match="at least one seed"):
            planned((FINE,), seeds=seeds, limit=limit)
    with unchecked(), pytest.raises(BadSettings, match="at least one worker, got 0"):
        list(study(Plan((FINE,), ("default",)), Ledger(None, Row), workers=0))
