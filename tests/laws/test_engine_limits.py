"""Laws of the engine's limits: memory stays in its bound, and what the fast tiers do not know goes through hooks."""

import os
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import nn

from tests.laws.test_engine import close, one_by_one
from tests.toys import ANSWERS, LENGTH, boot, noise, quiet, some_prompts, toy, unchecked
from workbench import Agent, HiddenBehaviour, LogitDifference, Prompts, UntargetedLoss, landscape, losses, sweep
from workbench.engine import View
from workbench.engine.memory import Chunks, Meter
from workbench.engine.reruns import FromHalfBlock
from workbench.engine.sequential import Sequential
from workbench.errors import BadEdit, BadSettings

pytestmark = quiet
MIB = 2**20


def test_a_meter_sees_what_lives_at_once_and_what_was_ever_made() -> None:
    with torch.no_grad(), Meter() as meter:
        x = torch.zeros(MIB)
        y = x + 1
        del x
        z = y.view(2, -1) * 2
        del y
        z.add_(1)
    assert meter.peak == 2 * 4 * MIB
    assert meter.total == 3 * 4 * MIB


PEAK = r"""
import re, torch
from pathlib import Path
from tests.toys import boot
from workbench import Prompts, sweep
from workbench.engine import View
from workbench.engine.memory import Chunks

torch.set_num_threads(1)
agent = boot(n_layers=3, d_model=64, d_mlp=256, n_heads=4, d_head=16, n_ctx=64, d_vocab={vocab}, gain=1.0)
tokens = torch.randint({vocab}, (48, 64), generator=torch.Generator().manual_seed(0))
prompts = Prompts(tokens, (60, 63), tokens[:, :2])
bound = {bound} * 2**20
import workbench.heatmap as heatmap
heatmap.View = lambda *args, **settings: View(*args, **settings, engine="{engine}")
sweep(agent, prompts[:2], site="L0.mlp.post", neurons=[0], doses=[1.0], memory=bound, positions={positions})

def status(name):
    return int(re.search(name + r":\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024

Path("/proc/self/clear_refs").write_text("5")
before = status("VmRSS")
sweep(agent, prompts, site="L0.mlp.post", neurons=range(10), doses=[1.0, 2.0], memory=bound, positions={positions})
print(status("VmHWM") - before)
"""


def peak(**settings: Any) -> int:
    """How much resident memory grew at most during a sweep, in a process of its own.

    Tensors that it frees go back to the system at once: how much a C library keeps for later, and in how many pieces,
    differs from run to run by tens of MiB, and is not ours to bound.
    """
    command = [sys.executable, "-W", "ignore", "-c", PEAK.format(**settings)]
    plain = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=plain)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
@pytest.mark.parametrize(
    ("engine", "positions"), [("sequential", (60, 63)), ("sequential", None), ("stripped", None), ("hooks", (60, 63))]
)
def test_a_sweep_stays_within_the_memory_it_was_given(engine: str, positions: tuple[int, ...] | None) -> None:
    assert peak(engine=engine, bound=48, vocab=4000, positions=positions) <= 48 * MIB


def test_memory_too_small_for_one_edit_on_one_prompt_is_an_error_that_says_how_much_is_needed() -> None:
    with pytest.raises(BadSettings, match=r"expected at least [\d,]+ bytes of memory.*got 1,000"):
        View(toy(), "L0.mlp.post", some_prompts(), memory=1000)
    for memory in (0, -1, 1.5):
        with unchecked(), pytest.raises(BadSettings, match="whole number of bytes"):
            sweep(toy(), some_prompts(), site="L0.mlp.post", doses=[1.0], memory=memory)  # pyright: ignore


@pytest.mark.parametrize("memory", [400_000, 1_000_000, None])
def test_memory_changes_no_number(memory: int | None) -> None:
    settings: dict[str, Any] = {"site": "L0.mlp.post", "doses": [1.0, -2.0]}
    small = sweep(toy(), some_prompts(), memory=memory, **settings)
    torch.testing.assert_close(
        torch.tensor(small.values), torch.tensor(sweep(toy(), some_prompts(), **settings).values), rtol=1e-5, atol=1e-6
    )


def test_when_memory_runs_out_chunks_are_halved_and_the_numbers_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    view, tried, original = View(toy(), "L0.mlp.post", some_prompts()), [], FromHalfBlock.__call__
    deltas, goal = noise(7, view.width), HiddenBehaviour()
    expected = view.losses(deltas, goal), view.scores(deltas, goal), view.gradients(deltas, goal)[1]

    def run(self: Any, deltas: Any, rows: slice, read: Any) -> Any:
        tried.append(len(deltas[0]) * len(self.base[rows]))
        if tried[-1] > 12:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return original(self, deltas, rows, read)

    monkeypatch.setattr(FromHalfBlock, "__call__", run)
    found = view.losses(deltas, goal), view.scores(deltas, goal), view.gradients(deltas, goal)[1]
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    assert max(tried) > 12
    assert tried[-1] <= 12


def test_when_not_even_one_row_fits_the_error_is_what_the_machine_said(monkeypatch: pytest.MonkeyPatch) -> None:
    view = View(toy(), "L0.mlp.post", some_prompts())

    def run(self: Any, deltas: Any, rows: slice, read: Any) -> Any:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(FromHalfBlock, "__call__", run)
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        view.losses(noise(3, view.width), UntargetedLoss())


def test_chunks_on_a_cpu_also_fit_its_cache() -> None:
    chunks = Chunks(torch.device("cpu"), 2**30)
    assert chunks.rows(10, 16) < chunks.rows(10, 1) < chunks.rows(10, 1, graph=True)
    assert chunks.rows(2**28, 16) == 2  # 60 % of the memory is counted on
    assert chunks.rows(2**27, 16, held=2**28) == 2


# --- what the fast tiers do not know --------------------------------------------------------------------


def foreign_hook(agent: Agent) -> None:
    agent.bridge.hook_dict["blocks.2.mlp.hook_post"].add_hook(lambda tensor, hook: tensor * 0.5)


def foreign_torch_hook(agent: Agent) -> None:
    agent.bridge.blocks[2].mlp.register_forward_hook(lambda module, given, out: out * 0.5)


def softer_attention(agent: Agent) -> None:
    for block in agent.bridge.blocks:
        block.original_component.attn.causal = False
        block.attn.original_component.causal = False


def replaced_part(agent: Agent) -> None:
    """A block of another kind in the middle, which no tier can know beforehand."""

    class Doubling(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * x

    agent.bridge.blocks[2].mlp.original_component.act = Doubling()


@pytest.mark.parametrize("change", [foreign_hook, foreign_torch_hook, softer_attention, replaced_part])
@pytest.mark.parametrize("site", ["L0.mlp.post", "L1.resid_post", "L1.attn.q"])
@pytest.mark.parametrize("at", [None, (LENGTH - 1,)], ids=("everywhere", "last"))
def test_whatever_was_done_to_the_bridge_the_numbers_are_its_own(change: Any, site: str, at: Any) -> None:
    agent, prompts = boot(gain=1.5), some_prompts()
    agent.sites()
    plain = one_by_one(agent, site, prompts, noise(2, agent.width(site)), at)
    change(agent)
    view, deltas = View(agent, site, prompts, positions=at), noise(2, agent.width(site))
    expected = one_by_one(agent, site, prompts, deltas, at)
    assert not torch.allclose(expected, plain), "the change has an effect"
    close(view.logits(deltas), expected)


def test_a_bridge_whose_weights_were_processed_is_run_as_it_is() -> None:
    agent, prompts = boot(gain=1.5), some_prompts()
    agent.sites()
    agent.bridge.enable_compatibility_mode(disable_warnings=True)
    view, deltas = View(agent, "L0.resid_post", prompts), noise(3, 16)
    close(view.logits(deltas), one_by_one(agent, "L0.resid_post", prompts, deltas))


def test_an_engine_is_used_or_refused_by_name() -> None:
    with pytest.raises(BadSettings, match=r"among \['sequential', 'stripped', 'hooks'\].*got 'warp'"):
        View(toy(), "L0.mlp.post", some_prompts(), engine="warp")
    with pytest.raises(BadSettings, match="got 'sequential'"):
        View(toy(), "ln_final.hook_normalized", some_prompts(), engine="sequential")


def test_a_tier_that_is_wrong_anywhere_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    attend = Sequential._attend
    monkeypatch.setattr(Sequential, "_attend", lambda self, *args: attend(self, *args) * 1.01)
    assert View(toy(), "L0.mlp.post", some_prompts()).engine == "stripped"


# --- results say how they were made ---------------------------------------------------------------------


def test_every_grid_names_its_engine() -> None:
    prompts, places = some_prompts(), ("L0.mlp.post", "L1.attn.q")
    edits = [edit for place in places for edit in View(toy(), place, prompts).edits(noise(1, toy().width(place)))]
    for engine, site in (("sequential", "L0.mlp.post"), ("stripped", "ln_final.hook_normalized")):
        assert sweep(toy(), prompts, site=site, neurons=[0], doses=[1.0]).attrs["engine"] == engine
    assert landscape(toy(), prompts, first=edits[0], second=edits[1], radii=[0.0, 1.0]).attrs["engine"] == "sequential"
    assert losses(toy(), prompts, edits).attrs["engine"] == "sequential"


# --- positions, and goals that read few logits ----------------------------------------------------------


@pytest.mark.parametrize("at", [(LENGTH,), (-1,), (), (2, 2), (1.5,)])
def test_positions_that_are_not_there_are_refused(at: Any) -> None:
    with unchecked(), pytest.raises(BadEdit):
        View(toy(), "L0.mlp.post", some_prompts(), positions=at)


def test_edits_after_every_answer_change_nothing() -> None:
    prompts = some_prompts()
    view = View(toy(), "L1.attn.z", Prompts(prompts.tokens, (2, 0), prompts.answers), positions=(5, 3))
    found = view.logits(noise(4, view.width))
    assert torch.equal(found, view.clean_logits.expand_as(found))


@pytest.mark.parametrize("engine", ["sequential", "stripped", "hooks"])
@pytest.mark.parametrize("at", [None, (max(ANSWERS) - 1, max(ANSWERS)), (max(ANSWERS),)])
def test_a_goal_that_reads_few_logits_gets_what_all_of_them_would_give(engine: str, at: Any) -> None:
    view = View(toy(), "L0.mlp.post", some_prompts(), positions=at, engine=engine)
    goal, deltas = LogitDifference.token(3), noise(5, view.width)
    expected = goal.loss(view.logits(deltas), view.clean_logits, view.answers)
    torch.testing.assert_close(view.losses(deltas, goal), expected, rtol=1e-5, atol=1e-5)
    slopes = [view.gradients(deltas, g)[1] for g in (goal, _All(goal))]
    torch.testing.assert_close(*slopes, rtol=1e-5, atol=1e-6)


class _All:
    """The same goal, which does not say that few logits are enough."""

    def __init__(self, goal: LogitDifference) -> None:
        self.loss, self.met = goal.loss, goal.met
