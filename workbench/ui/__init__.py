"""JupyterLab panels: pick, hunt, look, edit, retrain, trace. Everything a panel shows it can also say in code."""

from workbench.ui.circuit import Circuit
from workbench.ui.edit_bench import EditBench
from workbench.ui.heatmap import Heatmap
from workbench.ui.panel import Panel
from workbench.ui.picker import Picker
from workbench.ui.retrain import Retrain
from workbench.ui.session import Session
from workbench.ui.surgeon import Surgeon
from workbench.ui.tokens import Tokens
from workbench.ui.workbench import Workbench
from workbench.ui.zoo import Zoo

__all__ = [
    "Circuit",
    "EditBench",
    "Heatmap",
    "Panel",
    "Picker",
    "Retrain",
    "Session",
    "Surgeon",
    "Tokens",
    "Workbench",
    "Zoo",
]
