"""The package: its public names, whichever modules were imported before."""

import subprocess
import sys

import pytest

import workbench


def run(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


def test_importing_it_loads_neither_torch_nor_transformer_lens() -> None:
    code = "import sys, workbench; print([m for m in ('torch', 'transformer_lens', 'numpy') if m in sys.modules])"
    assert run(code) == "[]"


ORDERS = (
    "import workbench.hunt, workbench.retrain",
    "import workbench.retrain.loop; from workbench.hunt import scan",
    "import workbench as w; w.hunt; w.retrain; import workbench.hunt, workbench.retrain.recipes",
    "from workbench import retrain; import workbench.hunt",
    "import workbench.trace, workbench.hunt; from workbench import trace",
)
AFRESH = """
import sys
for order in {orders!r}:
    for name in [name for name in sys.modules if name.startswith("workbench")]:
        del sys.modules[name]
    exec(order)
    import workbench as wb
    from workbench import hunt, retrain
    from workbench.hunt import MINIMUM_PROMPTS
    print(*(type(x).__name__ for x in (wb.hunt, wb.retrain, hunt, retrain, sys.modules["workbench.hunt"])))
"""


def test_hunt_and_retrain_are_functions_whatever_was_imported_first() -> None:
    assert run(AFRESH.format(orders=ORDERS)).splitlines() == ["function function function function module"] * len(
        ORDERS
    )


@pytest.mark.parametrize("name", workbench.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    thing = getattr(workbench, name)
    assert callable(thing)
    assert thing.__doc__
    assert name in dir(workbench)


def test_a_name_that_is_not_there_is_refused_as_by_any_module() -> None:
    with pytest.raises(AttributeError, match="no attribute 'hnut'"):
        getattr(workbench, "hn" + "ut")
