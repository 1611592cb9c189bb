"""Edits taken apart and changed: their largest coordinates, their positions, another dose, and how alike two are."""

from dataclasses import dataclass

import torch

from workbench.edits import Edit
from workbench.errors import BadSettings
from workbench.sites import Site
from workbench.ui.history import Edits
from workbench.ui.places import Selection


@dataclass(frozen=True, slots=True)
class Coordinate:
    """One number of an Edit's delta. row: of a delta [position, width]; None where it is the same at all positions."""

    row: int | None
    neuron: int
    value: float


def largest(edit: Edit, most: int) -> tuple[Coordinate, ...]:
    """The coordinates of largest size, the largest first; of zeros none, but the first one where there is nothing else.

    Of a zero Edit the first coordinate is given, so that there is always one to move.
    """
    flat = edit.delta.float().flatten()
    order = flat.abs().argsort(descending=True, stable=True)[:most].tolist()
    kept = [i for i in order if flat[i] != 0] or [0]
    several = edit.delta.ndim == 2
    return tuple(Coordinate(i // edit.width if several else None, i % edit.width, float(flat[i])) for i in kept)


def with_value(edit: Edit, at: Coordinate, value: float) -> Edit:
    """The Edit with that coordinate at another value."""
    delta = edit.delta.clone()
    if at.row is None:
        delta[at.neuron] = value
    else:
        delta[at.row, at.neuron] = value
    return Edit(edit.site, delta, edit.positions)


def moved(edit: Edit, positions: tuple[int, ...] | None, length: int) -> Edit:
    """The same Edit at other positions (None: all). Of one with a row for each position, the rows that are there."""
    if edit.delta.ndim == 1:
        return Edit(edit.site, edit.delta, positions)
    rows = edit.at(length)
    return Edit(edit.site, rows if positions is None else rows[list(positions)], positions)


def scaled(edits: Edits, dose: float) -> Edits:
    """All of them at another dose."""
    return tuple(edit.scaled(dose) for edit in edits)


def selected(selection: Selection, width: int, dose: float) -> Edit:
    """An Edit of the selected neurons, each by `dose`. width: of the first site. Raises BadSettings for none."""
    if not selection.sites or not selection.neurons:
        raise BadSettings("expected selected neurons to make an edit of, got none. Choose some in the Picker.")
    delta = torch.zeros(width)
    delta[list(selection.neurons)] = dose
    return Edit(selection.sites[0], delta, selection.positions)


def cosine(first: Edits, second: Edits, length: int) -> float:
    """The cosine of what two sets of Edits add, over all sites and positions; 0 where one adds nothing."""
    one, other = _added(first, length), _added(second, length)
    inner = sum(float((one[site] * other[site]).sum()) for site in one.keys() & other.keys())
    sizes = [sum(float((rows**2).sum()) for rows in added.values()) ** 0.5 for added in (one, other)]
    return inner / (sizes[0] * sizes[1]) if all(sizes) else 0.0


def _added(edits: Edits, length: int) -> dict[Site, torch.Tensor]:
    """What is added at each site, [position, width]."""
    found: dict[Site, torch.Tensor] = {}
    for edit in edits:
        rows = edit.at(length).double().cpu()
        found[edit.site] = found[edit.site] + rows if edit.site in found else rows
    return found
