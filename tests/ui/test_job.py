"""Jobs: all events kept, news at the promised rate, stopped within half a second, errors captured, turns taken."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.toys import boot
from workbench.ui.job import Job, Stopped, Turns, turns_of


def quietly(job: Job) -> None:
    pass


def counting(count: int, seconds: float = 0.0) -> Callable[[], Iterator[int]]:
    def steps() -> Iterator[int]:
        for number in range(count):
            time.sleep(seconds)
            yield number

    return steps


def endless() -> Iterator[int]:
    """One step that never yields, made of short operations, as a search is."""
    total = torch.zeros(8)
    while True:
        total = total + 1
    yield 0  # pyright: ignore[reportUnreachable]


@given(st.lists(st.integers(), max_size=20))
def test_every_event_is_kept_in_order_however_it_is_run(events):
    assert Job(lambda: iter(events), told=quietly).run().events == events
    job = Job(lambda: iter(events), told=quietly).start()
    assert job.join(5)
    assert (job.events, job.status) == (events, "done")


def test_news_come_at_least_twice_and_at_most_five_times_a_second_and_once_at_the_end() -> None:
    told: list[tuple[float, int]] = []
    job = Job(counting(300, 0.005), told=lambda j: told.append((time.monotonic(), len(j.events)))).start()
    assert job.join(20)
    gaps = [later - before for (before, _), (later, _) in itertools.pairwise(told[:-1])]
    assert told[-1][1] == 300
    assert min(gaps) >= 0.2
    assert sorted(gaps)[len(gaps) // 2] <= 0.5


def test_news_come_also_while_a_step_takes_long() -> None:
    told: list[float] = []
    Job(counting(1, 1.0), told=lambda _: told.append(time.monotonic())).run()
    assert len(told) >= 3


@pytest.mark.parametrize("steps", [counting(10_000, 0.01), endless])
def test_stop_takes_effect_within_half_a_second_and_keeps_what_was_found(steps) -> None:
    job = Job(steps, told=quietly).start()
    time.sleep(0.2)
    began = time.monotonic()
    assert job.stop(5.0)
    assert time.monotonic() - began < 0.5
    assert job.status == "stopped"
    assert job.events == list(range(len(job.events)))


def test_stopping_leaves_no_thread_and_can_be_done_twice_or_before_anything() -> None:
    before = threading.active_count()
    job = Job(counting(10_000, 0.01), told=quietly)
    assert not job.active
    job.start()
    assert job.active
    assert job.stop()
    assert job.stop()
    assert threading.active_count() == before


def test_an_error_is_captured_with_what_came_before_it() -> None:
    def steps() -> Iterator[int]:
        yield 1
        raise ValueError("no second")

    job = Job(steps, told=quietly).start()
    assert job.join(5)
    assert (job.status, job.events, str(job.error)) == ("failed", [1], "no second")
    with pytest.raises(ValueError, match="no second"):
        Job(steps, told=quietly).run()


def test_a_paused_job_waits_and_goes_on() -> None:
    job = Job(counting(60, 0.01), told=quietly).start()
    job.pause()
    time.sleep(0.1)
    held = len(job.events)
    time.sleep(0.1)
    assert len(job.events) == held < 60
    job.resume()
    assert job.join(10)
    assert job.events == list(range(60))


def test_a_paused_job_can_be_stopped() -> None:
    job = Job(counting(60, 0.01), told=quietly).start()
    job.pause()
    assert job.stop()


def test_news_may_stop_the_job_themselves() -> None:
    job = Job(counting(10_000, 0.01), told=lambda j: (j.stop(), None)[1]).start()
    time.sleep(0.4)
    assert job.join(2)
    assert job.status == "stopped"


def test_only_one_runs_at_a_time_and_another_gets_in_between_its_steps() -> None:
    turns, inside, most = Turns(), [0], [0]

    def steps() -> Iterator[int]:
        for number in range(20):
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            time.sleep(0.005)
            inside[0] -= 1
            yield number

    long = Job(counting(10_000, 0.01), told=quietly, turns=turns).start()
    several = [Job(steps, told=quietly, turns=turns).start() for _ in range(3)]
    assert all(job.join(20) for job in several)
    assert most == [1]
    assert long.active
    assert long.stop()


def test_who_waits_for_a_turn_can_be_stopped() -> None:
    turns, held = Turns(), threading.Event()
    with turns.taken(held):
        job = Job(counting(3), told=quietly, turns=turns).start()
        assert job.stop(1.0)
        assert job.status == "stopped"
    stop = threading.Event()
    with turns.taken(stop):
        pass
    stop.set()
    with turns.taken(held), pytest.raises(Stopped), turns.taken(stop):
        pass


def test_an_agent_has_one_set_of_turns() -> None:
    first, second = boot(), boot()
    assert turns_of(first) is turns_of(first)
    assert turns_of(first) is not turns_of(second)


def test_a_job_in_the_background_has_the_torch_threads_it_was_given_and_nobody_else_has() -> None:
    before, seen = torch.get_num_threads(), []

    def steps() -> Iterator[int]:
        seen.append(torch.get_num_threads())
        yield 0

    torch.set_num_threads(2)
    try:
        assert Job(steps, told=quietly, threads=1).start().join(5)
        assert Job(steps, told=quietly).start().join(5)
        Job(steps, told=quietly, threads=1).run()
        assert seen == [1, 2, 2]
        assert torch.get_num_threads() == 2
        later = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        later.start()
        later.join()
        assert seen[-1] == 2
    finally:
        torch.set_num_threads(before)
