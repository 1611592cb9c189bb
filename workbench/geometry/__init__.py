"""Sets of rows: sizes, nearest points and furthest points, of single sets and of what several hold in common."""

from workbench.geometry.balls import Ellipsoid, WeightedL1, WeightedLInf
from workbench.geometry.intersection import Intersection
from workbench.geometry.rows import INSIDE, Flat, Member, Rows, SetOfRows, Sized, Sizes, on_device, rescale
from workbench.geometry.supports import AtMost, Only, Support
from workbench.geometry.whole import AllRows, EachRow, Piece

__all__ = [
    "INSIDE",
    "AllRows",
    "AtMost",
    "EachRow",
    "Ellipsoid",
    "Flat",
    "Intersection",
    "Member",
    "Only",
    "Piece",
    "Rows",
    "SetOfRows",
    "Sized",
    "Sizes",
    "Support",
    "WeightedL1",
    "WeightedLInf",
    "on_device",
    "rescale",
]
