"""A run handed to other programs: its figures as a table in a file, or as events for TensorBoard and wandb."""

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import BadSettings
from workbench.store.files import write_bytes
from workbench.store.run import Run

if TYPE_CHECKING:
    import pandas

PROJECT = "lat-workbench"


def table(run: Run) -> "pandas.DataFrame":
    """The figures by step; for a run that logged none, its results: a column a field of items and values."""
    import pandas

    frame = run.frame()
    if not frame.empty:
        return frame
    return pandas.json_normalize([{"item": item, "value": value} for item, value in run.results])


def write_csv(run: Run, path: Path) -> None:
    """The table as CSV."""
    frame = table(run)
    write_bytes(path, frame.to_csv(index=frame.index.name is not None).encode())


def write_parquet(run: Run, path: Path) -> None:
    """The table as Parquet. Raises BadSettings without pyarrow, and for results that are of several kinds."""
    try:
        import pyarrow
    except ImportError:
        raise _missing("pyarrow") from None
    buffer = BytesIO()
    try:
        table(run).to_parquet(buffer, engine="pyarrow")
    except pyarrow.ArrowException as error:
        raise BadSettings(f"expected each column to be of one kind for Parquet: {error}. Export to csv.") from None
    write_bytes(path, buffer.getvalue())


def write_events(run: Run, folder: Path) -> None:
    """The figures as events for TensorBoard, in a folder of the run's own, named by its key, in `folder`.

    Raises BadSettings without tensorboard, and where that folder has something in it: the figures would be there twice.
    """
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ImportError:
        raise _missing("tensorboard") from None
    place = folder / run.key[:12]
    if place.exists() and any(place.iterdir()):
        raise BadSettings(f"expected no events in {place}: this run was exported before. Name another folder.")
    with SummaryWriter(str(place)) as writer:
        for step, row in run.frame().iterrows():
            for name, value in row.dropna().items():
                writer.add_scalar(str(name), value, step)


def send_to_wandb(run: Run, folder: Path | None) -> None:
    """The figures, settings and outcome as a run of Weights & Biases; WANDB_MODE says whether anything leaves.

    folder: where wandb keeps its files; by default it chooses. Raises BadSettings without wandb.
    """
    try:
        import wandb
    except ImportError:
        raise _missing("wandb") from None
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    named: dict[str, Any] = {"project": PROJECT, "name": run.name or None, "job_type": run.kind}
    with wandb.init(**named, config=run.settings, dir=folder and str(folder)) as live:
        for step, row in run.frame().iterrows():
            live.log(row.dropna().to_dict(), step=int(step))  # pyright: ignore[reportArgumentType]
        live.summary.update(flat(run.outcome))


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values within values under names such as `after.attack_success`."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= {f"{name}.{inner}": deeper for inner, deeper in flat(value).items()}
        else:
            found[name] = value
    return found


def _missing(package: str) -> BadSettings:
    return BadSettings(
        f"expected {package}, which is not installed: `pip install 'lat-workbench[export]'`, or export to csv."
    )
