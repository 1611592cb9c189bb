"""What a heatmap shows, before anything is drawn: panels, labels and the colour range of a sweep or a landscape."""

from dataclasses import dataclass

import numpy as np
import xarray as xr

from workbench.errors import BadSettings, unknown

ORDERS = ("neuron", "loss")
_SWEEPS = (("neuron", "dose"), ("site", "neuron", "dose"))
_PLANE = ("first", "second")
_LEAST_HALF = 1.0
"""Nats on either side of the unedited loss that the colours span at least, so that noise looks like noise."""
_TICKS = 24


@dataclass(frozen=True, slots=True)
class Mark:
    """A word at a point of a panel, in the units of its axes."""

    x: float
    y: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Panel:
    """One rectangle of cells. values [row, column]; x and y are the cells' centres, the first row at the bottom.

    x_labels, y_labels: what the axis says at some of the centres, by position. notes [row, column]: what a cell is.
    """

    title: str
    values: np.ndarray
    x: np.ndarray
    y: np.ndarray
    x_labels: dict[float, str] | None
    y_labels: dict[float, str] | None
    notes: list[list[str]]
    marks: tuple[Mark, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Picture:
    """All that a heatmap says. Colours run from unedited - half to unedited + half; their middle is unedited."""

    title: str
    subtitle: str
    panels: tuple[Panel, ...]
    x_title: str
    y_title: str
    unedited: float
    half: float
    units: str

    @property
    def square(self) -> bool:
        """Whether both axes have the same units, as in a landscape."""
        return self.panels[0].x_labels is None

    @property
    def ticks(self) -> dict[float, str]:
        """Where the colour bar says a number, and what."""
        steps = [self.unedited + share * self.half for share in (-1, -0.5, 0, 0.5, 1)]
        return {v: f"{v:.2f}" + (" unedited" if v == self.unedited else "") for v in steps}


def picture(grid: xr.DataArray, *, order: str = "neuron", limits: tuple[float, float] | None = None) -> Picture:
    """What to draw of a grid made by `sweep` or `landscape`.

    order: "neuron", or "loss" for the neurons with the largest peak first. limits: losses that the colours must reach;
    the range is symmetric around the unedited loss either way. Raises BadSettings for other grids and limits.
    """
    unedited = _checked(grid, order)
    gap = " Grey: not run." if bool(grid.isnull().any()) else ""
    about = " · ".join([*(str(grid.attrs[key]) for key in ("agent", "goal") if key in grid.attrs), *_screened(grid)])
    units = str(grid.attrs.get("units", "nats"))
    common = {"unedited": unedited, "half": _half(grid, unedited, limits), "units": units}
    common["subtitle"] = f"Unedited {unedited:.3f} {units}{f' · {about}' if about else ''}.{gap}"
    return _plane(grid, common) if grid.dims == _PLANE else _sweep(grid, order, common)


def by_site(grid: xr.DataArray) -> list[tuple[str, xr.DataArray]]:
    """A sweep's sites by name, each with its own (neuron, dose) grid."""
    if "site" in grid.dims:
        return [(str(s), grid.isel(site=i)) for i, s in enumerate(grid["site"].values)]
    return [(str(grid.attrs.get("site", "")), grid)]


def peaks(grid: xr.DataArray) -> np.ndarray:
    """The largest loss of each neuron over doses, -inf where nothing was run."""
    values = np.asarray(grid.transpose("neuron", "dose").values, dtype=float)
    return np.where(np.isnan(values), -np.inf, values).max(axis=1)


def sizes(grid: xr.DataArray) -> np.ndarray:
    """The coordinate rho of a (neuron, dose) grid, nan where there is none: [neuron, dose]."""
    if "rho" not in grid.coords:
        return np.full((grid.sizes["neuron"], grid.sizes["dose"]), np.nan)
    return np.asarray(grid["rho"].broadcast_like(grid).transpose("neuron", "dose").values, dtype=float)


def _checked(grid: xr.DataArray, order: str) -> float:
    """The unedited loss of a grid that can be drawn."""
    if not isinstance(grid, xr.DataArray) or grid.dims not in (*_SWEEPS, _PLANE) or not grid.size:
        got = grid.dims if isinstance(grid, xr.DataArray) else type(grid).__name__
        raise BadSettings(f"expected a grid (neuron, dose), (site, neuron, dose) or (first, second), got {got}. "
                          "workbench.sweep and workbench.landscape make them.")  # fmt: skip
    if order not in ORDERS:
        raise unknown("order", order, ORDERS, 'Say order="neuron" or order="loss".')
    unedited = grid.attrs.get("unedited", np.nan)
    if not np.isfinite(unedited):
        raise BadSettings(
            f"expected the loss without an edit in grid.attrs['unedited'], got {unedited}. "
            "Arithmetic on a grid drops attributes: do it inside xarray.set_options(keep_attrs=True)."
        )
    return float(unedited)


def _screened(grid: xr.DataArray) -> list[str]:
    """How many neurons a screened sweep evaluated, over all its sites; nothing where there was no screening."""
    if "slope" not in grid.coords:
        return []
    run, there = grid.notnull().any("dose"), grid["slope"].notnull()
    return [f"screened: {int(run.sum())} of {int(there.sum())} neurons"]


def _half(grid: xr.DataArray, unedited: float, limits: tuple[float, float] | None) -> float:
    if limits is None:
        finite = grid.values[np.isfinite(grid.values)]
        return max(_LEAST_HALF, float(np.abs(finite - unedited).max(initial=0.0)))
    if len(limits) != 2 or not np.isfinite(limits).all() or limits[0] >= limits[1]:
        raise BadSettings(f"expected limits (low, high) in the grid's units, low below high, got {limits}.")
    return float(np.abs(np.asarray(limits) - unedited).max())


def _sweep(grid: xr.DataArray, order: str, common: dict) -> Picture:
    sites = by_site(grid)
    place = sites[0][0] if len(sites) == 1 else f"{len(sites)} sites"
    worth_a_word = common["unedited"] + common["half"] / 2
    return Picture(
        title=f"Loss with one neuron raised{f' at {place}' if place else ''}",
        panels=tuple(_doses(name, part, order, worth_a_word) for name, part in sites),
        x_title="neuron, largest peak first" if order == "loss" else "neuron",
        y_title="dose (activation)",
        **common,
    )


def _doses(name: str, grid: xr.DataArray, order: str, worth_a_word: float) -> Panel:
    """The panel of one site: a column for each neuron, a row for each dose."""
    best = peaks(grid)
    ranks = np.argsort(-best, kind="stable") if order == "loss" else np.arange(len(best))
    part, rho = grid.isel(neuron=ranks), sizes(grid)[ranks]
    neurons, doses = [str(n) for n in part["neuron"].values], [f"{d:g}" for d in part["dose"].values]
    step = -(-len(neurons) // _TICKS)
    top = int(np.argmax(best[ranks]))
    said = (Mark(float(top), len(doses) - 0.5, f"neuron {neurons[top]}"),) if best.max() > worth_a_word else ()
    here = f"{name} " if name else ""
    return Panel(
        title=name,
        values=np.asarray(part.transpose("dose", "neuron").values, dtype=float),
        x=np.arange(len(neurons), dtype=float),
        y=np.arange(len(doses), dtype=float),
        x_labels={float(i): neurons[i] for i in range(0, len(neurons), step)},
        y_labels={float(i): d for i, d in enumerate(doses)},
        notes=[[f"{here}neuron {n}, dose {d}, rho {_number(rho[j, i])}" for j, n in enumerate(neurons)]
               for i, d in enumerate(doses)],
        marks=said,
    )  # fmt: skip


def _plane(grid: xr.DataArray, common: dict) -> Picture:
    plane = grid.drop_duplicates(_PLANE).sortby(list(_PLANE))
    x, y = (np.asarray(plane[name].values, dtype=float) for name in _PLANE)
    named = {(0.0, 0.0): "unedited", (1.0, 0.0): "first", (0.0, 1.0): "second"}
    panel = Panel(
        title="",
        values=np.asarray(plane.transpose("second", "first").values, dtype=float),
        x=x,
        y=y,
        x_labels=None,
        y_labels=None,
        notes=[[f"{a:g} x first + {b:g} x second" for a in x] for b in y],
        marks=tuple(Mark(*at, text) for at, text in named.items()
                    if x[0] <= at[0] <= x[-1] and y[0] <= at[1] <= y[-1]),
    )  # fmt: skip
    first, second = (f" at {grid.attrs[name]}" if name in grid.attrs else "" for name in _PLANE)
    return Picture(
        title="Loss over the plane of two edits",
        panels=(panel,),
        x_title=f"multiple of the first edit{first}",
        y_title=f"multiple of the second edit{second}",
        **common,
    )


def _number(value: float) -> str:
    return "undefined" if np.isnan(value) else f"{value:.2f}"
