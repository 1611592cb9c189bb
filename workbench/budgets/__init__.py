"""Budgets: the sets that Edits must stay in, and the nearest and the furthest points of them.

A Budget is bound to an Agent, sites and prompts, which resolves its unit. Sizes in rho are of what an edit writes into
the residual stream, relative to the mean residual norm there; sizes in activation units are of the edit itself.
Budgets compose: `L2Ball(2.0) & Sparse(neurons=3) & NotLastLayers(1)` allows what all of them allow.
"""

from workbench.budgets.balls import L1Ball, L2Ball, LInfBall
from workbench.budgets.bound import Bound
from workbench.budgets.caps import WeightCap
from workbench.budgets.composed import Both, Composable
from workbench.budgets.joint import JointL1Ball, JointL2Ball
from workbench.budgets.layers import NotLastLayers, layer_of
from workbench.budgets.protocol import Budget, Limit, Part, Sites
from workbench.budgets.sparse import Sparse
from workbench.budgets.units import Unit, mean_residual_norm, rho_of

__all__ = [
    "Both",
    "Bound",
    "Budget",
    "Composable",
    "JointL1Ball",
    "JointL2Ball",
    "L1Ball",
    "L2Ball",
    "LInfBall",
    "Limit",
    "NotLastLayers",
    "Part",
    "Sites",
    "Sparse",
    "Unit",
    "WeightCap",
    "layer_of",
    "mean_residual_norm",
    "rho_of",
]
