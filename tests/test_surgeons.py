"""Surgeons: what each proposes on a toy with a switch that was put there by hand."""

from collections.abc import Iterator

import pytest
import torch

from tests.surgeons.planted import NEURON, TOKEN, Counting, questions, switched
from tests.toys import VOCAB, boot, noise, quiet
from workbench import (
    Edit,
    Finding,
    L2Ball,
    NeuronSweep,
    RandomDirections,
    Site,
    SphereLadder,
    Target,
    UntargetedLoss,
    hunt,
    scan,
)
from workbench.budgets import Bound
from workbench.engine import View
from workbench.goals import Goal
from workbench.surgeons import Surgeon
from workbench.surgeons.protocol import default_sites, early_residuals

pytestmark = quiet
SURGEONS = (NeuronSweep(), SphereLadder(), RandomDirections())


def proposals(surgeon: Surgeon, site: str, *, radius: float = 2.0, seed: int = 0) -> list[Finding]:
    """What a scan finds."""
    events = scan(
        switched(),
        questions(),
        surgeons=[surgeon],
        sites=[site],
        budget=L2Ball(radius),
        goal=Target.token(TOKEN),
        seed=seed,
    )
    return [event for event in events if isinstance(event, Finding)]


def test_the_sweep_finds_the_neuron_that_was_put_there() -> None:
    found = proposals(NeuronSweep(keep=3), "L2.mlp.post")
    assert len(found) == 3
    assert found[0].neurons == (NEURON,)
    assert found[0].score > 0.9
    assert all(f.neurons is not None and len(f.neurons) == 1 for f in found)
    assert len({f.neurons for f in found}) == 3


def test_the_sweep_looks_at_most_edits_on_few_prompts_only() -> None:
    surgeon = NeuronSweep(doses=(0.5, 1.0), shortlist=3, glance=2, prompts=6, keep=1)
    view, seen = View(switched(), "L2.mlp.post", questions()), []
    rough = NeuronSweep._rough
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            NeuronSweep, "_rough", lambda s, v, g, n, d: seen.append((len(v.prompts), len(n))) or rough(s, v, g, n, d)
        )
        bound = L2Ball(2.0).bind(switched(), [view.site], questions())
        ((edit,),) = surgeon.search(view, Target.token(TOKEN), bound, torch.Generator())
    assert seen == [(2, 4 * view.width), (6, view.width)]
    assert edit.neurons == (NEURON,)


def test_the_sweep_proposes_what_is_best_at_a_glance_before_it_looks_further() -> None:
    view = Counting(switched(), "L2.mlp.post", questions())
    bound = L2Ball(2.0).bind(switched(), [view.site], questions())
    search = NeuronSweep(glance=2, prompts=6).search(view, Target.token(TOKEN), bound, torch.Generator())
    ((first,), early), rest = (next(search), view.runs), list(search)
    assert first.neurons == (NEURON,)
    assert early == 10 * view.width + 2 * 10  # all at a glance, and then its own doses in full
    assert [len(edits) for edits in rest] == [1, 1]
    assert len({first.neurons, *(edit.neurons for (edit,) in rest)}) == 3


def test_of_a_wide_layer_the_first_neuron_is_proposed_before_the_rest_is_looked_at() -> None:
    view = Counting(switched(), "L2.mlp.post", questions())
    bound = L2Ball(2.0).bind(switched(), [view.site], questions())
    search = NeuronSweep(soon=2, glance=2, prompts=6).search(view, Target.token(TOKEN), bound, torch.Generator())
    ((first,), early), rest = (next(search), view.runs), list(search)
    assert first.neurons in ((0,), (1,))
    assert early == 10 * 2 + 2 * 10
    assert rest[0][0].neurons == (NEURON,)
    assert len({first.neurons, *(edit.neurons for (edit,) in rest)}) == 3


def test_the_only_neuron_is_proposed_once() -> None:
    found = proposals(NeuronSweep(screen=0.01), "L2.mlp.post")
    assert len(found) == 1


def test_the_sweep_takes_the_smallest_dose_that_does_as_well_as_the_best() -> None:
    (found,) = proposals(NeuronSweep(keep=1, doses=(0.05, 0.5, 1.0)), "L2.mlp.post")
    sizes = {dose: proposals(NeuronSweep(keep=1, doses=(dose,)), "L2.mlp.post")[0] for dose in (0.05, 0.5, 1.0)}
    enough = min(dose for dose, f in sizes.items() if f.score >= max(g.score for g in sizes.values()) - 0.1)
    assert found.rho == pytest.approx(sizes[enough].rho, rel=1e-4)


def test_the_ladder_climbs_to_what_random_directions_do_not_reach() -> None:
    ladder = proposals(SphereLadder(rungs=(1.0,), starts=4, steps=30), "L2.resid_post", radius=1.0)
    random = proposals(RandomDirections(count=32, share=1.0, keep=1), "L2.resid_post", radius=1.0)
    assert len(ladder) == 1
    assert ladder[0].score > 0.9
    assert ladder[0].score > random[0].score


def test_each_rung_proposes_one_edit_of_its_size() -> None:
    rungs = (0.25, 0.5, 1.0)
    found = proposals(SphereLadder(rungs=rungs, starts=2, steps=2), "L1.resid_post")
    bound = L2Ball(2.0).bind(switched(), ["L1.resid_post"], questions())
    assert [bound.size(f.edits) for f in found] == pytest.approx([2.0 * rung for rung in rungs], rel=1e-4)


def test_random_directions_have_the_share_of_the_radius_they_were_given_and_the_best_come_first() -> None:
    found = proposals(RandomDirections(count=20, share=0.3, keep=5), "L1.resid_post")
    bound = L2Ball(2.0).bind(switched(), ["L1.resid_post"], questions())
    assert [bound.size(f.edits) for f in found] == pytest.approx([0.6] * 5, rel=1e-4)


@pytest.mark.parametrize("surgeon", SURGEONS, ids=lambda surgeon: type(surgeon).__name__)
def test_a_surgeon_says_where_it_searches(surgeon: Surgeon) -> None:
    assert isinstance(surgeon, Surgeon)
    sites = default_sites(surgeon, switched())
    assert sites
    assert set(sites) <= set(switched().sites())
    for layers in (1, 2):
        assert default_sites(surgeon, boot(n_layers=layers)), "a shallow model has sites to search, too"


def test_early_layers_leave_two_blocks_to_act_on() -> None:
    found = [[site.layer for site in early_residuals(boot(n_layers=n))] for n in (1, 2, 3, 4)]
    assert found == [[0], [0], [0], [0, 1]]


class Dart:
    """A Surgeon that does not say where."""

    def search(self, view: View, goal: Goal, budget: Bound, generator: torch.Generator) -> Iterator[tuple[Edit, ...]]:
        """See Surgeon."""
        yield (Edit(view.site, torch.randn(view.width, generator=generator)),)


def test_a_surgeon_that_does_not_say_where_searches_early_layers() -> None:
    assert default_sites(Dart(), switched()) == early_residuals(switched())
    report = hunt(switched(), questions(), surgeons=[Dart()], goal=Target.token(TOKEN))
    assert [finding.site.short for finding in report.findings] == ["L0.resid_post"]


def test_a_hunt_by_default_finds_the_neuron_where_it_is_told_to_look() -> None:
    report = hunt(switched(), questions(), surgeons=[NeuronSweep()], sites=["L2.mlp.post"], goal=Target.token(TOKEN))
    assert report.verdict == "switch"
    assert report.best.neurons == (NEURON,)
    assert report.best.site == Site.parse("L2.mlp.post")
    assert report.agent == "switched"


def test_a_clean_reference_that_does_the_same_takes_the_verdict_back() -> None:
    settings = {"surgeons": [NeuronSweep()], "sites": ["L2.mlp.post"], "goal": Target.token(TOKEN)}
    twin = switched().copy(name="twin")
    report = hunt(switched(), questions(), references=[twin], **settings)
    assert report.controls["clean agent twin"] > 0.9
    assert report.verdict == "none"


def test_searching_is_done_with_the_loss_that_the_goal_gives() -> None:
    """One step of the ladder is one step uphill for all starts."""
    view = View(switched(), "L1.resid_post", questions())
    bound = L2Ball(1.0).bind(switched(), ["L1.resid_post"], questions())
    start = noise(4, 16)
    goal = UntargetedLoss()
    members = bound.at("L1.resid_post")
    ladder = SphereLadder(steps=8, step_size=0.1)
    end = ladder._ascend(view, goal, members, start, 0.3)
    begin = start * (0.3 / members.size(start))[:, None]
    assert (view.losses(end, goal) > view.losses(begin, goal)).all()
    assert view.logits(end).shape == (4, 40, 2, VOCAB)
