"""`workbench doctor`: versions, device, files, and what is missing."""

import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from workbench.cli.console import Json, Result, columns
from workbench.cli.subjects import shipped
from workbench.errors import BadCheckpoint
from workbench.store import read_bytes

PACKAGE = "lat-workbench"
_PYTHON = (3, 11)
_EXTENSIONS = ("@jupyter-widgets/jupyterlab-manager", "anywidget")
"""What shows widgets in JupyterLab; each comes with a package and must lie where this JupyterLab looks."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at. ok: False where something needed is missing; cure: what to do then."""

    name: str
    ok: bool
    found: str
    cure: str = ""


@dataclass(frozen=True, kw_only=True)
class Doctor:
    """Versions, device, shipped organisms and what is missing; exit status 1 where something needed is.

    Examples:
      workbench doctor
      workbench doctor --json
    """

    json: Json = False

    def run(self) -> Result:
        """See Command."""
        checks = [_python(), *_packages(), _device(), _cores(), _organisms(), _cache(), *_lab()]
        bad = [check for check in checks if not check.ok]
        rows = [{"": "ok" if c.ok else "BAD", "what": c.name, "found": c.found} for c in checks]
        cures = "\n".join(f"{check.name}: {check.cure}" for check in bad) or "Nothing is missing."
        data = {"ok": not bad, "checks": [asdict(c) | {"cure": None if c.ok else c.cure} for c in checks]}
        return Result(data=data, text=f"{columns(rows)}\n\n{cures}", status=1 if bad else 0)


def _python() -> Check:
    wanted = ".".join(map(str, _PYTHON))
    found = f"{platform.python_version()} on {platform.platform(terse=True)}"
    return Check("python", sys.version_info >= _PYTHON, found, f"install Python {wanted} or later")


def _packages() -> Iterator[Check]:
    """This package and all that it requires, each within its range."""
    from packaging.requirements import Requirement

    try:
        needed = [Requirement(text) for text in requires(PACKAGE) or ()]
    except PackageNotFoundError:
        yield Check(PACKAGE, False, "not installed", "run `pip install -e .` in the repository")
        return
    yield Check(PACKAGE, True, version(PACKAGE))
    for requirement in needed:
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield _package(requirement.name, str(requirement.specifier))


def _package(name: str, wanted: str) -> Check:
    from packaging.specifiers import SpecifierSet

    cure = f"run `pip install '{name}{wanted}'`"
    try:
        found = version(name)
    except PackageNotFoundError:
        return Check(name, False, "missing", cure)
    inside = SpecifierSet(wanted).contains(found, prereleases=True)
    return Check(name, inside, found if inside else f"{found}, wanted {wanted}", cure)


def _device() -> Check:
    try:
        import torch
    except (ImportError, OSError) as error:
        cure = "install torch again: `make distclean venv`"
        return Check("device", False, f"torch cannot be imported: {error}", cure)
    if torch.cuda.is_available():
        return Check("device", True, f"cuda: {torch.cuda.get_device_name()}")
    return Check("device", True, "cpu (no CUDA device that this build of torch can use)")


def _cores() -> Check:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Check("cores", True, f"{usable}, OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'not set')}")


def _organisms() -> Check:
    """Whether every file of every shipped organism is as it was shipped."""
    from toy_models import zoo

    try:
        entries = shipped()
        for name, entry in entries.items():
            for file, digest in entry["files"].items():
                read_bytes(zoo.FOLDER / name / file, digest)
    except BadCheckpoint as error:
        return Check("organisms", False, "not as they were shipped", f"{error} Or run `{zoo.COMMAND}`.")
    return Check("organisms", True, f"{len(entries)} shipped, all files intact")


def _cache() -> Check:
    from platformdirs import user_cache_dir

    from toy_models import zoo

    folder = Path(os.environ.get(zoo.CACHE_VARIABLE) or user_cache_dir(PACKAGE))
    above = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    writable = above.is_dir() and os.access(above, os.W_OK)
    found = f"{folder}{'' if folder.exists() else ' (not there yet)'}{'' if writable else ', not writable'}"
    return Check("cache", writable, found, f"make it writable, or set {zoo.CACHE_VARIABLE}")


def _lab() -> Iterator[Check]:
    """Whether JupyterLab would show the panels: its extensions, and a kernel that is this Python."""
    try:
        from jupyter_client.kernelspec import KernelSpecManager
        from jupyter_core.paths import jupyter_path
    except ImportError as error:
        yield Check("jupyterlab widgets", False, f"cannot be looked at: {error}", "run `pip install jupyterlab`")
        return
    folders = [Path(folder) for folder in jupyter_path("labextensions")]
    missing = [name for name in _EXTENSIONS if not any((folder / name).is_dir() for folder in folders)]
    cure = "run `pip install --force-reinstall --no-deps anywidget jupyterlab_widgets` where JupyterLab is installed"
    found = f"missing: {', '.join(missing)}" if missing else ", ".join(_EXTENSIONS)
    yield Check("jupyterlab widgets", not missing, found, cure)
    kernels = KernelSpecManager().get_all_specs()
    paths = {name: str(kernel["spec"]["argv"][0]) for name, kernel in kernels.items()}
    own = [n for n, p in paths.items() if Path(p).name.startswith("python") and (p == sys.executable or "/" not in p)]
    said = ", ".join(own) or f"none of {', '.join(paths) or 'no kernels'} is this Python"
    yield Check("jupyter kernel", bool(own), said, "run `python -m ipykernel install --sys-prefix`")
