"""What was measured on: a figure without it says nothing."""

import platform
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

_CPUINFO = Path("/proc/cpuinfo")
_PACKAGES = ("torch", "transformer-lens", "transformers", "nnsight", "pyvene")


def machine(device: torch.device) -> dict[str, Any]:
    """Device, models of CPU and GPU, threads, versions and the date."""
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else "not measured"
    return {
        "device": device.type,
        "cpu": _cpu(),
        "gpu": gpu,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in _PACKAGES},
        "date": date.today().isoformat(),
    }


def _cpu() -> str:
    """The CPU's model, as the system names it."""
    if _CPUINFO.exists():
        for line in _CPUINFO.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
