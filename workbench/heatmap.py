"""The loss over edits, as labelled grids: every neuron at every dose, and the plane through two edits. No colours."""

import operator
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float, Int64
from torch import Tensor

from workbench.agent import Agent
from workbench.budgets import mean_residual_norm
from workbench.edits import Edit, as_edits
from workbench.engine import View, over_singles, slopes, spans, strongest
from workbench.errors import BadEdit, BadSettings
from workbench.goals import Goal, UntargetedLoss
from workbench.prompts import Prompts
from workbench.sites import Site

_CHUNK = 256


def losses(
    agent: Agent, prompts: Prompts, edits: Sequence[Edit], *, goal: Goal | None = None, memory: int | None = None
) -> xr.DataArray:
    """The loss of each edit alone on each prompt alone: dims (edit, prompt).

    goal=None: cross-entropy of the benign answers, in nats, mean over answers. The unedited losses are in the
    coordinate `unedited` (prompt). A goal that compares prompts with each other, as HiddenBehaviour does, sees one at a
    time here, so its mutual information is 0. memory: bytes that may be taken beyond the model and the result.
    Raises BadEdit for edits that do not fit.
    """
    goal, several = _goal(goal), as_edits(edits)
    agent.check(prompts)
    agent.check_edits(several, prompts)
    values, engines = np.zeros((len(several), len(prompts)), dtype=np.float32), set()
    for site in {agent.site(edit.site) for edit in several}:
        own = [i for i, edit in enumerate(several) if agent.site(edit.site) == site]
        view = View(agent, site, prompts, memory=memory)
        engines.add(view.engine)
        for chunk in (own[span] for span in spans(len(own), _CHUNK)):
            logits = view.logits(view.stack([[several[i]] for i in chunk]))
            values[chunk] = _each_prompt(logits, view.clean_logits, view.answers, goal)
    clean = agent.logits(prompts)
    unedited = _each_prompt(clean[None], clean, prompts.answers.to(clean.device), goal)[0]
    return xr.DataArray(
        values,
        dims=("edit", "prompt"),
        coords={"edit": range(len(several)), "prompt": range(len(prompts)), "unedited": ("prompt", unedited)},
        name="loss",
        attrs=_about(agent, goal) | {"engine": "+".join(sorted(engines))},
    )


def _each_prompt(
    logits: Float[Tensor, "edit prompt answer vocab"],
    clean: Float[Tensor, "prompt answer vocab"],
    answers: Int64[Tensor, "prompt answer"],
    goal: Goal,
) -> np.ndarray:
    """[edit, prompt]."""
    one = (slice(i, i + 1) for i in range(len(answers)))
    return torch.stack([goal.loss(logits[:, i], clean[i], answers[i]) for i in one], 1).cpu().numpy()


def _goal(goal: Goal | None) -> Goal:
    """The goal, or the default; BadSettings for what is none."""
    if goal is None:
        return UntargetedLoss()
    if isinstance(goal, type) or not isinstance(goal, Goal):
        raise BadSettings(f"expected a goal such as UntargetedLoss(), got {goal!r}.")
    return goal


def _numbers(what: str, values: object) -> list[float]:
    """One or more finite numbers, or BadEdit."""
    try:
        found = np.asarray(list(values), dtype=float)  # type: ignore[call-overload]
    except (TypeError, ValueError):
        found = np.asarray([])
    if found.ndim != 1 or not len(found) or not np.isfinite(found).all():
        raise BadEdit(f"expected one or more finite {what}, got {values!r}.")
    return found.tolist()


def sweep(
    agent: Agent,
    prompts: Prompts,
    *,
    site: Site | str | Sequence[Site | str],
    neurons: Sequence[int] | None = None,
    doses: Sequence[float],
    positions: Sequence[int] | None = None,
    goal: Goal | None = None,
    screen: float | None = None,
    memory: int | None = None,
) -> xr.DataArray:
    """The loss with one neuron at a time raised by a dose: dims (neuron, dose), or (site, neuron, dose).

    doses: added in activation units, at all positions or at those given; the coordinate `rho` (neuron, dose) gives the
    same sizes in residual-write units, nan where the site has no linear write. goal=None: mean cross-entropy over
    prompts and answers, in nats. `attrs["unedited"]` is the loss without an edit, `attrs["engine"]` how edits were run.
    screen: for wide models, the share of the neurons to evaluate, those whose first-order effect is largest; the others
    are nan, `attrs["screened"]` says how many, and the coordinate `slope` (neuron) gives what they were chosen by. A
    switch behind a saturated gate has no first-order effect, and one at huge activations little of it for each unit,
    so a screened sweep cannot show that there is none.
    memory: bytes that may be taken beyond the model and the result; None: 2 GiB, on a GPU most of what is free.
    Raises BadEdit for neurons, doses or positions that do not exist, before anything is run, and BadSettings.
    """
    sweeper = _Sweep(agent, prompts, positions, _goal(goal), _share(screen), memory)
    if isinstance(site, str | Site):
        return sweeper.grid(agent.site(site), *_checked(agent, site, neurons, doses))
    jobs = [(s, _checked(agent, s, neurons, doses)) for s in agent.several_sites(site)]
    grids = [sweeper.grid(s, *chosen) for s, chosen in jobs]
    names = xr.DataArray([s.short for s, _ in jobs], dims="site", name="site")
    return xr.concat(grids, dim=names, join="outer", combine_attrs="drop_conflicts")


def _share(screen: float | None) -> float | None:
    """The share of neurons to evaluate, or BadSettings."""
    if screen is not None and not (isinstance(screen, int | float) and 0 < screen <= 1):
        raise BadSettings(f"expected the share of neurons to evaluate in (0, 1], or None for all, got {screen!r}.")
    return screen


def landscape(
    agent: Agent,
    prompts: Prompts,
    *,
    first: Edit,
    second: Edit,
    radii: Sequence[float],
    goal: Goal | None = None,
    memory: int | None = None,
) -> xr.DataArray:
    """The loss over the plane a x first + b x second, for a and b in `radii` (multiples): dims (first, second).

    The two Edits may be at different sites; they apply jointly. goal=None: mean cross-entropy, in nats.
    """
    goal, values = _goal(goal), np.asarray(_numbers("radii", radii))
    agent.check_edits((first, second), prompts)
    sites = tuple(dict.fromkeys((agent.site(first.site), agent.site(second.site))))
    view = View(agent, sites, prompts, memory=memory)
    a, b = (grid.flatten() for grid in np.meshgrid(values, values, indexing="ij"))
    grid = np.concatenate([_plane(view, first, second, a[s], b[s], goal) for s in spans(len(a), _CHUNK)])
    about = _about(agent, goal) | {"unedited": _unedited(view, goal), "engine": view.engine}
    about |= {"first": str(first.site), "second": str(second.site)}
    coords = {"first": values, "second": values}
    return xr.DataArray(
        grid.reshape(len(values), -1), dims=("first", "second"), coords=coords, name="loss", attrs=about
    )


def _plane(view: View, first: Edit, second: Edit, a: np.ndarray, b: np.ndarray, goal: Goal) -> np.ndarray:
    """The loss at each point a x first + b x second."""
    one, other = view.stack([[first]]), view.stack([[second]])
    times = [torch.tensor(x)[:, None, None] for x in (a, b)]
    return view.losses({s: times[0] * one[s] + times[1] * other[s] for s in view.sites}, goal).cpu().numpy()


def _checked(
    agent: Agent, site: Site | str, neurons: Sequence[int] | None, doses: Sequence[float]
) -> tuple[list[int], list[float]]:
    """The neurons and doses, if they exist."""
    width = agent.width(site)
    try:
        chosen = list(range(width)) if neurons is None else [operator.index(n) for n in neurons]
    except TypeError:
        raise BadEdit(f"expected neurons as whole numbers in 0..{width - 1}, got {neurons!r}.") from None
    outside = [n for n in chosen if not 0 <= n < width]
    if outside or not chosen:
        raise BadEdit(f"expected neurons in 0..{width - 1} at {agent.site(site)}, got {outside or 'none'}.")
    return chosen, _numbers("doses", doses)


@dataclass(frozen=True, slots=True)
class _Sweep:
    """What all sites of a sweep share."""

    agent: Agent
    prompts: Prompts
    positions: Sequence[int] | None
    goal: Goal
    screen: float | None
    memory: int | None

    def grid(self, site: Site, neurons: list[int], doses: list[float]) -> xr.DataArray:
        """The losses at one site: (neuron, dose)."""
        view = View(self.agent, site, self.prompts, positions=self.positions, memory=self.memory)
        every = torch.tensor(neurons)
        slope = None if self.screen is None else slopes(view, self.goal).cpu()[every]
        kept = torch.arange(len(every)) if slope is None else strongest(slope, self.screen or 1.0)
        values = np.full((len(neurons), len(doses)), np.nan, dtype=np.float32)
        values[kept] = self._losses(view, every[kept], torch.tensor(doses, dtype=view.clean_logits.dtype))
        grid = xr.DataArray(
            values,
            dims=("neuron", "dose"),
            coords={"neuron": neurons, "dose": ("dose", doses, {"units": "activation"})},
            name="loss",
            attrs=_about(self.agent, self.goal)
            | {"site": site.short, "unedited": _unedited(view, self.goal), "engine": view.engine},
        )
        if slope is not None:
            grid = grid.assign_coords(slope=("neuron", slope.numpy(), {"units": "loss per activation"}))
            grid.attrs["screened"] = f"{len(kept)} of {len(neurons)} neurons evaluated, by first-order effect"
        sizes = np.outer(self._lengths(site)[neurons], np.abs(doses))
        return grid.assign_coords(rho=(("neuron", "dose"), sizes, {"units": "mean residual norms"}))

    def _losses(self, view: View, neurons: Tensor, doses: Tensor) -> np.ndarray:
        """Every neuron at every dose: [neuron, dose]."""
        pairs = neurons.repeat_interleave(len(doses)), doses.repeat(len(neurons))
        found = over_singles(*pairs, view.width, lambda deltas: view.losses(deltas, self.goal).cpu())
        return found.reshape(-1, len(doses)).numpy()

    def _lengths(self, site: Site) -> np.ndarray:
        """What a unit of each activation writes, in rho; nan where the site has no linear write."""
        write = self.agent.write(site)
        if write is None:
            return np.full(self.agent.width(site), np.nan)
        return (write.norm(dim=1) / mean_residual_norm(self.agent, site, self.prompts)).cpu().numpy()


def _unedited(view: View, goal: Goal) -> float:
    return float(goal.loss(view.clean_logits[None], view.clean_logits, view.answers))


def _about(agent: Agent, goal: Goal) -> dict[str, str]:
    return {"agent": agent.name, "goal": type(goal).__name__, "units": "nats"}
