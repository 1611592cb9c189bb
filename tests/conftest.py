"""What every test runs under: shapes and types checked at run time, one thread, reproducible examples."""

import os
import zlib
from collections.abc import Iterator
from contextlib import nullcontext

import pytest
import torch
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

# Before anything of ours is imported, so that every annotated function and dataclass is checked.
install_import_hook(["workbench", "toy_models"], "beartype.beartype")

from tests.toys import unchecked  # noqa: E402

CHECKED = 4
"""One test in so many checks shapes: checking nearly doubles a small test's time, and
many tests pass the same functions."""

torch.set_num_threads(1)  # pytest-xdist uses the cores; threads below it would only get in each other's way

# A shared machine may be slow at any moment: time says nothing about whether an example passes.
settings.register_profile("workbench", deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("workbench-ci", settings.get_profile("workbench"), derandomize=True)
settings.load_profile("workbench-ci" if os.environ.get("CI") else "workbench")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--shapes all` checks every annotation in every test, as `--shapes some` does in one of four."""
    parser.addoption("--shapes", choices=("some", "all"), default="some", help="which tests check shapes and types")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Which tests check shapes follows from their names, so that a failure comes again."""
    checked = item.config.getoption("--shapes") == "all" or zlib.crc32(item.nodeid.encode()) % CHECKED == 0
    with nullcontext() if checked else unchecked():
        return (yield)
