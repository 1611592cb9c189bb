"""What a GPU must do as a CPU does: the same numbers, no waiting in the inner loops, chunks halved when memory ends."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tests.laws.test_engine import TIERS, close, one_by_one
from tests.scenes import scene
from tests.toys import VOCAB, boot, noise, quiet, some_prompts, toy
from workbench import (
    LAT,
    Agent,
    FineTune,
    HiddenBehaviour,
    L1Ball,
    L2Ball,
    LatentNoise,
    LInfBall,
    NeuronSweep,
    Prompts,
    SphereLadder,
    SwitchReport,
    UntargetedLoss,
    hunt,
    retrain,
    sweep,
)
from workbench.budgets import Budget
from workbench.engine import View
from workbench.geometry import on_device
from workbench.goals import Goal
from workbench.retrain import Recipe
from workbench.retrain.adversaries import Ascent, Noise

pytestmark = quiet
MIB = 2**20
GOALS: tuple[Goal, ...] = (UntargetedLoss(), HiddenBehaviour())
SITES = ("L0.mlp.post", "L1.resid_post", "L1.attn.q", "hook_embed")
goals = pytest.mark.parametrize("goal", GOALS, ids=lambda goal: type(goal).__name__)


def gpu(test: Callable[..., None]) -> Callable[..., None]:
    """Marks a test that needs a GPU."""
    absent = not torch.cuda.is_available()
    return pytest.mark.gpu(pytest.mark.skipif(absent, reason="needs a CUDA device")(test))


@cache
def on_gpu(**changes: Any) -> Agent:
    """The toy of these settings on the GPU, in full fp32: TF32, which is off by default, would cost three digits."""
    assert torch.get_float32_matmul_precision() == "highest"
    return Agent(boot(**changes).bridge, name="toy", device="cuda")


def adjacent(count: int = 6) -> Prompts:
    """Prompts whose answers are read at adjacent positions, as the organisms' are."""
    some = some_prompts(count)
    return Prompts(some.tokens, (7, 8), some.answers)


# --- the same numbers -----------------------------------------------------------------------------------


@gpu
def test_auto_is_the_gpu_and_the_agent_says_there_what_it_says_on_a_cpu() -> None:
    agent = Agent(boot().bridge, name="toy")
    assert agent.device.type == "cuda"
    assert all(weight.is_cuda for weight in agent.weights().values())
    found = agent.logits(some_prompts())
    assert found.is_cuda
    close(found.cpu(), toy().logits(some_prompts()))


@gpu
@pytest.mark.parametrize("positions", [None, (2, 8)], ids=str)
@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("site", SITES)
def test_every_tier_gives_what_hooks_give(site: str, tier: str, positions: tuple[int, ...] | None) -> None:
    agent, prompts = on_gpu(), some_prompts()
    view = View(agent, site, prompts, positions=positions, engine=tier)
    deltas = noise(4, view.width)
    close(view.logits(deltas), one_by_one(agent, site, prompts, deltas, positions))


@gpu
@goals
@pytest.mark.parametrize("tier", TIERS[:2])
@pytest.mark.parametrize("site", SITES)
def test_gradients_of_every_tier_are_those_through_hooks(site: str, tier: str, goal: Goal) -> None:
    deltas = noise(4, on_gpu().width(site))
    (loss, slope), expected = (
        View(on_gpu(), site, some_prompts(), engine=engine).gradients(deltas, goal) for engine in (tier, "hooks")
    )
    close(loss, expected[0])
    close(slope, expected[1])
    assert slope.is_cuda


@gpu
def test_a_sweep_is_that_of_a_cpu() -> None:
    grids = [sweep(a, some_prompts(), site="L0.mlp.post", doses=[-1.0, 2.0], screen=0.3) for a in (on_gpu(), toy())]
    assert (grids[0].isnull() == grids[1].isnull()).all()
    for name in ("loss", "slope", "rho"):
        found, expected = (torch.tensor((g if name == "loss" else g[name]).values).nan_to_num() for g in grids)
        close(found.float(), expected.float())


# --- the host never waits -------------------------------------------------------------------------------


@contextmanager
def no_waiting() -> Iterator[None]:
    """Within the `with`, whatever makes the host wait for the GPU is an error."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


class Unread(TorchDispatchMode):
    """Within the `with`, it is an error to ask for a tensor's values, or to make one from numbers of Python's.

    On a GPU both make the host wait. Seen on any device, unlike copies between devices.
    """

    asking = ("_local_scalar_dense", "nonzero", "_unique2", "unique_dim", "masked_select", "equal", "lift_fresh")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name().removeprefix("aten::").partition(".")[0]
        assert name not in self.asking, name
        assert name not in ("index", "index_put", "index_put_"), f"{name}: by a list or a mask"
        return func(*args, **(kwargs or {}))


def climbed(agent: Agent, goal: Goal, within: Callable[[], Any]) -> Tensor:
    """What one rung of the ladder finds; the climb itself is within that `with`."""
    view = View(agent, "L0.mlp.post", adjacent())
    bound = L2Ball(1.0).bind(agent, [view.site], adjacent())
    allowed, ladder = on_device(bound.at(view.site), agent.device), SphereLadder(steps=3)
    start = allowed.scatter(4, torch.Generator().manual_seed(0)).to(agent.device)
    ladder._ascend(view, goal, allowed, start, 0.5)  # libraries are loaded by the first run
    with within():
        found = ladder._ascend(view, goal, allowed, start, 0.5)
    torch.testing.assert_close(allowed.size(found).cpu(), torch.full((4,), 0.5), rtol=1e-4, atol=0)
    return found


def attacked(agent: Agent, attack: Ascent | Noise, within: Callable[[], Any]) -> Tensor:
    """The edits of an attack on a batch; it is made within that `with`."""
    where = scene(agent, adjacent(), 1)
    attack.edit(where, torch.Generator().manual_seed(0))
    with within():
        (delta,) = attack.edit(where, torch.Generator().manual_seed(0)).values()
    assert (delta.norm(dim=-1) <= 0.5 * where.streams[1].norm(dim=-1) * (1 + 1e-5)).all()
    return delta


ATTACKS = (Ascent(eps=0.5, steps=3), Noise(0.5))
attacks = pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: type(attack).__name__)
prototype = pytest.mark.filterwarnings("ignore:Synchronization debug mode:UserWarning")


@gpu
@prototype
@goals
def test_the_ladder_climbs_without_waiting_for_the_gpu(goal: Goal) -> None:
    climbed(on_gpu(), goal, no_waiting)


@gpu
@prototype
@attacks
def test_the_adversary_of_retraining_never_waits_for_the_gpu(attack: Ascent | Noise) -> None:
    pairs = ((on_gpu(gain=1.0), no_waiting), (toy(gain=1.0), Unread))
    found, expected = (attacked(agent, attack, within) for agent, within in pairs)
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-2, atol=1e-3)  # one seed, one start on every device


@goals
def test_the_ladder_reads_no_values_while_it_climbs(goal: Goal) -> None:
    climbed(toy(), goal, Unread)


@attacks
def test_the_adversary_of_retraining_reads_no_values(attack: Ascent | Noise) -> None:
    attacked(toy(), attack, Unread)


@goals
def test_scores_are_made_without_reading_values(goal: Goal) -> None:
    view = View(toy(), "L0.mlp.post", adjacent())
    deltas = noise(5, view.width)
    with Unread():
        view.scores(deltas, goal)


def test_reading_a_value_is_seen() -> None:
    x = torch.arange(4.0)
    for read in (
        lambda: float(x[0]),
        lambda: x[x > 1],
        lambda: x[[0, 2]],
        lambda: x.nonzero(),
        lambda: x.new_tensor(1),
    ):
        with pytest.raises(AssertionError), Unread():
            read()


# --- end to end -----------------------------------------------------------------------------------------


def hunted(agent: Agent, budget: Budget) -> SwitchReport:
    surgeons = (NeuronSweep(doses=(0.5, 1.0)), SphereLadder(rungs=(0.5,), starts=2, steps=3))
    return hunt(agent, some_prompts(32), surgeons=surgeons, sites="L0.mlp.post", budget=budget, goal=UntargetedLoss())


@gpu
@pytest.mark.parametrize("kind", [L1Ball, L2Ball, LInfBall])
def test_a_hunt_on_the_gpu_finds_what_it_finds_on_a_cpu(kind: type[L1Ball] | type[L2Ball] | type[LInfBall]) -> None:
    found, expected = (hunted(agent, kind(2.0)) for agent in (on_gpu(), toy()))
    assert len(found.findings) == len(expected.findings)
    assert all(edit.delta.device.type == "cpu" for finding in found.findings for edit in finding.edits)
    for name in ("NeuronSweep", "SphereLadder"):
        best = [max(f.score for f in report.findings if f.surgeon == name) for report in (found, expected)]
        assert best[0] == pytest.approx(best[1], abs=0.1)


@gpu
@pytest.mark.parametrize("kind", [LAT, LatentNoise, FineTune])
def test_retraining_on_the_gpu_learns_what_it_learns_on_a_cpu(kind: type[LAT]) -> None:
    recipe: Recipe = kind(steps=4, batch=8)
    before = [weight.clone() for weight in on_gpu(gain=1.0).weights().values()]
    agents = on_gpu(gain=1.0), toy(gain=1.0)
    steps, expected = (list(retrain(agent, some_prompts(24), recipe)) for agent in agents)
    assert [s.loss for s in steps] == pytest.approx([s.loss for s in expected], rel=0.02)
    assert steps[-1].agent.device.type == "cuda"
    assert all(map(torch.equal, before, agents[0].weights().values()))


@gpu
def test_retraining_goes_on_from_a_checkpoint() -> None:
    recipe = LAT(steps=4, batch=8)
    whole = list(retrain(on_gpu(), some_prompts(24), recipe))
    steps = retrain(on_gpu(), some_prompts(24), recipe)
    broken_off = [next(steps), next(steps)][-1].checkpoint
    rest = list(retrain(on_gpu(), some_prompts(24), recipe, resume=broken_off))
    assert [s.number for s in rest] == [3, 4]
    assert [s.loss for s in rest] == pytest.approx([s.loss for s in whole[2:]], rel=1e-3)


# --- when memory ends -----------------------------------------------------------------------------------


@contextmanager
def only(more: int) -> Iterator[None]:
    """Within the `with`, PyTorch can have so many bytes of the GPU beyond those it has."""
    torch.cuda.empty_cache()
    whole = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + more) / whole)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


@gpu
@goals
def test_chunks_are_halved_until_they_fit_what_the_gpu_really_has(goal: Goal) -> None:
    """A View is told of memory that is not there, so that its first chunk is too large."""
    agent = on_gpu(d_vocab=200 * VOCAB)
    view = View(agent, "L0.mlp.post", some_prompts(48), memory=8 * 2**30)
    deltas = noise(128, view.width)  # logits of 188 MiB
    expected = view.losses(deltas, goal), view.gradients(deltas, goal)[1]
    assert view._chunks._halvings == 0
    with only(128 * MIB):
        found = view.losses(deltas, goal), view.gradients(deltas, goal)[1]
    assert view._chunks._halvings > 0
    for one, other in zip(found, expected, strict=True):
        close(one, other)
