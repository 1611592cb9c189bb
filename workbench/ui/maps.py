"""The kinds of heatmap: what each asks of workbench, in which parts, what its cells are, and which edit a cell is."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import isclose
from typing import Any, ClassVar, Protocol, runtime_checkable

import xarray as xr

from workbench.edits import Edit
from workbench.errors import BadSettings
from workbench.goals import Goal
from workbench.sites import Site
from workbench.ui.canvas import Sheet
from workbench.ui.history import Edits
from workbench.ui.session import Session
from workbench.ui.source import Call

_AT_ONCE = 192
"""Edits in one part of an exact map: some tenths of a second on a toy."""


@runtime_checkable
class Map(Protocol):
    """One kind of heatmap, with its settings."""

    def call(self) -> Call:
        """What gives the whole grid."""
        ...

    def parts(self, width: int) -> Iterator[Call]:
        """The same in parts, one after the other along the grid's neurons; `width`: how many neurons there are."""
        ...

    def sheet(self, grid: xr.DataArray) -> Sheet:
        """The grid as cells."""
        ...

    def edits(self, grid: xr.DataArray, row: int, column: int) -> Edits:
        """The Edits of a cell of the sheet."""
        ...

    def cells(self, grid: xr.DataArray, edits: Edits) -> list[tuple[int, int]]:
        """The cells (row, column) whose Edits these are."""
        ...

    def place(self, row: int) -> Site | None:
        """The site of a row; None for a plane."""
        ...


def _given(goal: Goal | None) -> dict[str, Any]:
    return {} if goal is None else {"goal": goal}


def _in_parts(call: Call, width: int, edits: int) -> Iterator[Call]:
    """A sweep, so many neurons at a time that a part has few edits; `edits`: for each neuron."""
    step = max(1, _AT_ONCE // edits)
    for start in range(0, width, step):
        yield Call("sweep", {**call.settings, "neurons": range(start, min(start + step, width))})


@dataclass(frozen=True, slots=True, kw_only=True)
class NeuronDose:
    """Every neuron of a site at every dose."""

    name: ClassVar[str] = "neuron x dose"
    site: Site
    width: int
    doses: tuple[float, ...]
    goal: Goal | None = None

    def call(self) -> Call:
        """See Map."""
        return Call("sweep", {"site": self.site, "doses": self.doses, **_given(self.goal)})

    def parts(self, width: int) -> Iterator[Call]:
        """See Map."""
        return _in_parts(self.call(), width, len(self.doses))

    def sheet(self, grid: xr.DataArray) -> Sheet:
        """See Map."""
        return Sheet(
            values=grid.transpose("dose", "neuron").values[::-1],
            centre=float(grid.attrs["unedited"]),
            row_name="dose",
            column_name=f"{self.site.short} neuron",
            rows=tuple(f"{dose:g}" for dose in self.doses[::-1]),
            columns=tuple(str(n) for n in grid["neuron"].values),
        )

    def edits(self, grid: xr.DataArray, row: int, column: int) -> Edits:
        """See Map."""
        return (Edit.neuron(self.site, neurons_of(grid)[column], self.doses[::-1][row], self.width),)

    def cells(self, grid: xr.DataArray, edits: Edits) -> list[tuple[int, int]]:
        """See Map."""
        site, neuron, dose = single(edits)
        if site != self.site or neuron not in neurons_of(grid):
            return []
        rows = [row for row, known in enumerate(self.doses[::-1]) if isclose(known, dose, abs_tol=1e-6)]
        return [(row, neurons_of(grid).index(neuron)) for row in rows]

    def place(self, row: int) -> Site | None:
        """See Map."""
        return self.site


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerNeuron:
    """Every neuron of the same hook point in every layer, at one dose. widths: how many each site has."""

    name: ClassVar[str] = "layer x neuron"
    sites: tuple[Site, ...]
    widths: tuple[int, ...]
    dose: float
    goal: Goal | None = None

    def call(self) -> Call:
        """See Map."""
        return Call("sweep", {"site": self.sites, "doses": (self.dose,), **_given(self.goal)})

    def parts(self, width: int) -> Iterator[Call]:
        """See Map."""
        return _in_parts(self.call(), width, len(self.sites))

    def sheet(self, grid: xr.DataArray) -> Sheet:
        """See Map."""
        return Sheet(
            values=grid.isel(dose=0).transpose("site", "neuron").values[::-1],
            centre=float(grid.attrs["unedited"]),
            row_name="site",
            column_name="neuron",
            rows=tuple(site.short for site in self.sites[::-1]),
            columns=tuple(str(n) for n in grid["neuron"].values),
        )

    def edits(self, grid: xr.DataArray, row: int, column: int) -> Edits:
        """See Map."""
        site, width = self.sites[::-1][row], self.widths[::-1][row]
        return (Edit.neuron(site, neurons_of(grid)[column], self.dose, width),)

    def cells(self, grid: xr.DataArray, edits: Edits) -> list[tuple[int, int]]:
        """See Map."""
        site, neuron, dose = single(edits)
        if site not in self.sites or neuron not in neurons_of(grid) or not isclose(dose, self.dose, abs_tol=1e-6):
            return []
        return [(self.sites[::-1].index(site), neurons_of(grid).index(neuron))]

    def place(self, row: int) -> Site | None:
        """See Map."""
        return self.sites[::-1][row]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """The plane through two Edits: every multiple of the first with every multiple of the second."""

    name: ClassVar[str] = "plane of two edits"
    first: Edit
    second: Edit
    radii: tuple[float, ...]
    goal: Goal | None = None

    def call(self) -> Call:
        """See Map."""
        settings = {"first": self.first, "second": self.second, "radii": self.radii}
        return Call("landscape", {**settings, **_given(self.goal)})

    def parts(self, width: int) -> Iterator[Call]:
        """See Map: a plane is made at once."""
        yield self.call()

    def sheet(self, grid: xr.DataArray) -> Sheet:
        """See Map."""
        names = tuple(f"{radius:g}" for radius in self.radii)
        return Sheet(
            values=grid.transpose("second", "first").values[::-1],
            centre=float(grid.attrs["unedited"]),
            row_name="x second edit",
            column_name="x first edit",
            rows=names[::-1],
            columns=names,
            square=True,
        )

    def edits(self, grid: xr.DataArray, row: int, column: int) -> Edits:
        """See Map."""
        pairs = ((self.first, self.radii[column]), (self.second, self.radii[::-1][row]))
        return tuple(edit.scaled(times) for edit, times in pairs if times)

    def cells(self, grid: xr.DataArray, edits: Edits) -> list[tuple[int, int]]:
        """See Map: where the current edit lies in a plane is not looked for."""
        return []

    def place(self, row: int) -> Site | None:
        """See Map."""
        return None


KINDS = (NeuronDose.name, LayerNeuron.name, Plane.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the controls of the panel say. dose: of a map of layers; doses: of a map of one site."""

    kind: str
    doses: tuple[float, ...]
    dose: float
    radii: tuple[float, ...]
    goal: Goal | None = None

    def of(self, session: Session) -> Map:
        """The map that is wanted, at the selected site. Raises BadSettings for a plane without two edits."""
        if self.kind == Plane.name:
            first, second = two_edits(session)
            return Plane(first=first, second=second, radii=self.radii, goal=self.goal)
        site, width = site_of(session), session.agent.width
        if self.kind == NeuronDose.name:
            return NeuronDose(site=site, width=width(site), doses=self.doses, goal=self.goal)
        sites = tuple(s for s in session.agent.sites() if s.kind == site.kind and s.layer is not None) or (site,)
        return LayerNeuron(sites=sites, widths=tuple(map(width, sites)), dose=self.dose, goal=self.goal)


def neurons_of(grid: xr.DataArray) -> list[int]:
    """The neurons along a grid; none along a plane."""
    return [int(n) for n in grid["neuron"].values] if "neuron" in grid.dims else []


def single(edits: Edits) -> tuple[Site | None, int, float]:
    """Site, neuron and dose of what raises a single neuron at every position; (None, -1, 0) for anything else."""
    if len(edits) != 1 or edits[0].delta.ndim != 1 or edits[0].positions is not None:
        return None, -1, 0.0
    touched = edits[0].delta.nonzero().flatten().tolist()
    return (edits[0].site, touched[0], float(edits[0].delta[touched[0]])) if len(touched) == 1 else (None, -1, 0.0)


def site_of(session: Session) -> Site:
    """The first selected site, or else where single neurons are: after the middle layer's activation function."""
    if session.shared.selection.sites:
        return session.shared.selection.sites[0]
    sites = session.agent.sites()
    posts = [site for site in sites if site.kind == "mlp.hook_post"]
    return posts[(len(posts) - 1) // 2] if posts else sites[-1]


def two_edits(session: Session) -> tuple[Edit, Edit]:
    """The current edit and the pinned one; where one is missing, the best findings take its place."""
    known = [*session.edits, *session.shared.pinned, *(edit for f in session.shared.findings for edit in f.edits)]
    different = [edit for i, edit in enumerate(known) if edit not in known[:i] and bool(edit.delta.any())]
    if len(different) < 2:
        raise BadSettings(
            f"expected two different edits to draw their plane, got {len(different)}. "
            "Run the Surgeon, or click a cell of another map and pin its edit."
        )
    return different[0], different[1]
