"""What every test runs under: shapes and types checked at run time, one thread, reproducible examples."""

import os

import pytest
import torch
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

# Before anything of ours is imported, so that every annotated function and dataclass is checked.
install_import_hook(["workbench", "toy_models"], "beartype.beartype")

torch.set_num_threads(1)  # pytest-xdist uses the cores; threads below it would only get in each other's way

# A shared machine may be slow at any moment: time says nothing about whether an example passes.
settings.register_profile("workbench", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("workbench-ci", settings.get_profile("workbench"), derandomize=True)
settings.load_profile("workbench-ci" if os.environ.get("CI") else "workbench")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests come first, so that none is left over when every other is done."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
