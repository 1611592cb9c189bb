"""JupyterLab panels: pick, hunt, look. Everything a panel shows it can also say in code."""

from workbench.ui.heatmap import Heatmap
from workbench.ui.panel import Panel
from workbench.ui.picker import Picker
from workbench.ui.session import Session
from workbench.ui.surgeon import Surgeon
from workbench.ui.tokens import Tokens
from workbench.ui.workbench import Workbench

__all__ = ["Heatmap", "Panel", "Picker", "Session", "Surgeon", "Tokens", "Workbench"]
