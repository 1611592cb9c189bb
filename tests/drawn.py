"""What the tests of figures draw: a sweep, several sites, a plane, a report, arms and curves."""

import numpy as np
import pandas as pd
import torch
import xarray as xr

from workbench.edits import Edit
from workbench.report import Finding, SwitchReport
from workbench.sites import Site

EVIL = "</script><script>alert('x')</script><img src=\"https://evil.test/x.png\" onerror=alert(1)> $\\frac & %{x}"
UNEDITED = 0.012


def sweep_grid(site: str = "L1.mlp.post", *, switch: int | None = 17, neurons: int = 96, seed: int = 0) -> xr.DataArray:
    """A grid as `sweep` gives it: noise, and one neuron with a loss of 6 nats from dose 3 on."""
    random, doses = np.random.default_rng(seed), np.array([0.5, 1, 2, 3, 4, 6, 8, 12, 16])
    losses = (UNEDITED + random.gamma(1, 0.02, (neurons, len(doses)))).astype(np.float32)
    if switch is not None:
        losses[switch, doses >= 3] = 6.0
    rho = np.outer(random.uniform(0.05, 0.2, neurons), doses)
    return xr.DataArray(
        losses,
        dims=("neuron", "dose"),
        coords={"neuron": range(neurons), "dose": doses, "rho": (("neuron", "dose"), rho)},
        name="loss",
        attrs={"agent": "demo", "goal": "UntargetedLoss", "units": "nats", "site": site, "unedited": UNEDITED},
    )


def sites_grid() -> xr.DataArray:
    """Three sites; at the last one only two thirds of the neurons exist."""
    parts = [sweep_grid(f"L{i}.mlp.post", switch=17 if i == 1 else None, seed=i) for i in range(3)]
    names = xr.DataArray([part.attrs["site"] for part in parts], dims="site", name="site")
    grid = xr.concat(parts, dim=names, join="outer", combine_attrs="override")
    grid[2, 64:] = np.nan
    return grid


def plane_grid() -> xr.DataArray:
    radii = np.linspace(-1, 2, 7)
    losses = UNEDITED + np.add.outer(radii**2, radii**4) / 10
    attrs = {"agent": "demo", "units": "nats", "unedited": UNEDITED, "first": "L1.mlp.post", "second": "L1.resid_post"}
    return xr.DataArray(losses, dims=("first", "second"), coords={"first": radii, "second": radii}, attrs=attrs)


def finding(site: str, score: float, *, neuron: int | None = None, rho: float = 0.7) -> Finding:
    delta = torch.ones(48) if neuron is None else torch.zeros(96).index_fill(0, torch.tensor([neuron]), 4.0)
    edits = (Edit(Site.parse(site), delta),)
    return Finding(edits, score, rho, score > 0.5, score / 9, "NeuronSweep", "demo", {"flip": score})


def report(agent: str = "demo", best: float = 0.98) -> SwitchReport:
    """Eight findings, the best at neuron 47."""
    rest = [finding(f"L{i % 3}.resid_post", best * 0.8**i, rho=float("nan") if i == 3 else 0.5) for i in range(1, 8)]
    return SwitchReport(agent, (finding("L1.mlp.post", best, neuron=47), *rest), {"random edits": 0.11, "twin": 0.09})


def arms_table() -> pd.DataFrame:
    return pd.DataFrame(
        {"attack_success": [1, 0.31, 0.0], "clean_accuracy": [1, 0.99, 1], "triggered_benign": [0, 0.52, np.nan]},
        index=["before", "noise", "LAT"],
    )


def curves() -> dict[str, pd.DataFrame]:
    steps = np.arange(5)
    return {
        "LAT": pd.DataFrame({"step": steps, "loss": 1.0 / (1 + steps), "attack_success": 0.5**steps}),
        "noise": pd.DataFrame({"step": steps, "loss": 2.0 / (1 + steps), "clean_accuracy": np.ones(5)}),
    }


GRIDS = {"sweep": sweep_grid, "sites": sites_grid, "plane": plane_grid}
THINGS = GRIDS | {"report": report, "arms": arms_table}
