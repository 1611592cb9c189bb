"""The loss over edits, as labelled grids: every neuron at every dose, and the plane through two edits. No colours."""

import operator
from collections.abc import Iterator, Sequence

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float, Int64
from torch import Tensor

from workbench.agent import Agent
from workbench.budgets import mean_residual_norm
from workbench.edits import Edit, as_edits
from workbench.engine import View
from workbench.errors import BadEdit, BadSettings
from workbench.goals import Goal, UntargetedLoss
from workbench.prompts import Prompts
from workbench.sites import Site

_CHUNK = 256


def losses(agent: Agent, prompts: Prompts, edits: Sequence[Edit], *, goal: Goal | None = None) -> xr.DataArray:
    """The loss of each edit alone on each prompt alone: dims (edit, prompt).

    goal=None: cross-entropy of the benign answers, in nats, mean over answers. The unedited losses are in the
    coordinate `unedited` (prompt). A goal that compares prompts with each other, as HiddenBehaviour does, sees one at a
    time here, so its mutual information is 0. Raises BadEdit for edits that do not fit.
    """
    goal, several = _goal(goal), as_edits(edits)
    agent.check(prompts)
    agent.check_edits(several, prompts)
    values = np.zeros((len(several), len(prompts)), dtype=np.float32)
    for site in {agent.site(edit.site) for edit in several}:
        own = [i for i, edit in enumerate(several) if agent.site(edit.site) == site]
        view = View(agent, site, prompts)
        for start in range(0, len(own), _CHUNK):
            chunk = own[start : start + _CHUNK]
            logits = view.logits(torch.stack([several[i].at(prompts.length) for i in chunk]))
            values[chunk] = _each_prompt(logits, view.clean_logits, view.answers, goal)
    clean = agent.logits(prompts)
    unedited = _each_prompt(clean[None], clean, prompts.answers.to(clean.device), goal)[0]
    return xr.DataArray(
        values,
        dims=("edit", "prompt"),
        coords={"edit": range(len(several)), "prompt": range(len(prompts)), "unedited": ("prompt", unedited)},
        name="loss",
        attrs=_about(agent, goal),
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
) -> xr.DataArray:
    """The loss with one neuron at a time raised by a dose: dims (neuron, dose), or (site, neuron, dose).

    doses: added in activation units, at all positions or at those given; the coordinate `rho` (neuron, dose) gives the
    same sizes in residual-write units, nan where the site has no linear write. goal=None: mean cross-entropy over
    prompts and answers, in nats. `attrs["unedited"]` is the loss without an edit.
    Raises BadEdit for neurons, doses or positions that do not exist, before anything is run.
    """
    goal = _goal(goal)
    if isinstance(site, str | Site):
        return _sweep_site(agent, prompts, agent.site(site), _checked(agent, site, neurons, doses), positions, goal)
    jobs = [(s, _checked(agent, s, neurons, doses)) for s in agent.several_sites(site)]
    grids = [_sweep_site(agent, prompts, s, chosen, positions, goal) for s, chosen in jobs]
    names = xr.DataArray([s.short for s, _ in jobs], dims="site", name="site")
    return xr.concat(grids, dim=names, join="outer", combine_attrs="drop_conflicts")


def landscape(
    agent: Agent,
    prompts: Prompts,
    *,
    first: Edit,
    second: Edit,
    radii: Sequence[float],
    goal: Goal | None = None,
) -> xr.DataArray:
    """The loss over the plane a x first + b x second, for a and b in `radii` (multiples): dims (first, second).

    The two Edits may be at different sites; they apply jointly. goal=None: mean cross-entropy, in nats.
    """
    goal, values = _goal(goal), np.asarray(_numbers("radii", radii))
    agent.check_edits((first, second), prompts)
    loss = _same_site_plane if first.site == second.site else _two_site_plane
    grid = loss(agent, prompts, first, second, values, goal)
    coords = {"first": values, "second": values}
    about = _about(agent, goal) | {"unedited": _unedited(agent, prompts, goal)}
    about |= {"first": str(first.site), "second": str(second.site)}
    return xr.DataArray(grid, dims=("first", "second"), coords=coords, name="loss", attrs=about)


def _same_site_plane(
    agent: Agent, prompts: Prompts, first: Edit, second: Edit, radii: np.ndarray, goal: Goal
) -> np.ndarray:
    view = View(agent, first.site, prompts)
    a, b = (torch.tensor(radii, dtype=torch.float32).repeat(n) for n in (1, len(radii)))
    a = a.repeat_interleave(len(radii))
    one, other = first.at(prompts.length), second.at(prompts.length)
    parts = zip(a.split(_CHUNK), b.split(_CHUNK), strict=True)
    found = [view.losses(x[:, None, None] * one + y[:, None, None] * other, goal).cpu() for x, y in parts]
    return torch.cat(found).reshape(len(radii), len(radii)).numpy()


def _two_site_plane(
    agent: Agent, prompts: Prompts, first: Edit, second: Edit, radii: np.ndarray, goal: Goal
) -> np.ndarray:
    clean, answers = agent.logits(prompts), prompts.answers.to(agent.device)

    def loss(a: float, b: float) -> float:
        return float(goal.loss(agent.logits(prompts, (first.scaled(a), second.scaled(b)))[None], clean, answers))

    return np.array([[loss(a, b) for b in radii] for a in radii], dtype=np.float32)


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


def _sweep_site(
    agent: Agent,
    prompts: Prompts,
    site: Site,
    chosen: tuple[list[int], list[float]],
    positions: Sequence[int] | None,
    goal: Goal,
) -> xr.DataArray:
    neurons, doses = chosen
    where = Edit(site, torch.zeros(1), None if positions is None else tuple(positions)).at(prompts.length) * 0
    where[list(range(prompts.length) if positions is None else positions)] = 1.0
    view = View(agent, site, prompts)
    values = torch.cat([view.losses(d, goal).cpu() for d in _one_neuron_each(neurons, doses, view.width, where)])
    write = agent.write(site)
    scale = float("nan") if write is None else 1 / mean_residual_norm(agent, site, prompts)
    length = np.full(len(neurons), np.nan) if write is None else write.norm(dim=1)[neurons].cpu().numpy()
    return xr.DataArray(
        values.reshape(len(neurons), len(doses)).numpy(),
        dims=("neuron", "dose"),
        coords={
            "neuron": neurons,
            "dose": ("dose", doses, {"units": "activation"}),
            "rho": (("neuron", "dose"), np.outer(length * scale, np.abs(doses)), {"units": "mean residual norms"}),
        },
        name="loss",
        attrs=_about(agent, goal)
        | {"site": site.short, "unedited": _unedited(agent, prompts, goal), "engine": view.engine},
    )


def _one_neuron_each(
    neurons: list[int], doses: list[float], width: int, where: Float[Tensor, "pos 1"]
) -> Iterator[Float[Tensor, "edit pos width"]]:
    """Edits of every neuron at every dose, neuron by neuron, a chunk at a time."""
    pairs = torch.cartesian_prod(torch.tensor(neurons, dtype=torch.float64), torch.tensor(doses, dtype=torch.float64))
    for chunk in pairs.split(_CHUNK):
        deltas = torch.zeros(len(chunk), 1, width)
        deltas[torch.arange(len(chunk)), 0, chunk[:, 0].long()] = chunk[:, 1].float()
        yield deltas * where


def _unedited(agent: Agent, prompts: Prompts, goal: Goal) -> float:
    clean = agent.logits(prompts)
    return float(goal.loss(clean[None], clean, prompts.answers.to(clean.device)))


def _about(agent: Agent, goal: Goal) -> dict[str, str]:
    return {"agent": agent.name, "goal": type(goal).__name__, "units": "nats"}
