"""The circuit around a switch: which inputs throw it, and through which heads, layers and tokens."""

from workbench.trace.follow import follow, trace
from workbench.trace.result import Levels, Recovered, Trace
from workbench.trace.search import TokenSearch

__all__ = ["Levels", "Recovered", "TokenSearch", "Trace", "follow", "trace"]
