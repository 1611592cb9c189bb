"""`workbench sweep`: the loss with one neuron at a time raised, as numbers or as a picture."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import OmitArgPrefixes, arg

from workbench.cli.console import Json, Result, check_target, columns, facts, shown_as, waiting
from workbench.cli.subjects import Subject
from workbench.errors import BadSettings, unknown
from workbench.store import write_bytes

if TYPE_CHECKING:
    import xarray

SHOWN = 8


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """The loss on benign prompts while one neuron at a time is raised by each dose.

    Examples:
      workbench sweep beryl --site L1.mlp.post
      workbench sweep beryl --site L0.mlp.post L1.mlp.post --doses -4 4 8 --output grid.html
      workbench sweep my-agent --prompts-file prompts.json --site L1.mlp.post --output grid.csv
      workbench sweep ./a-wide-model --site L5.mlp.post --screen 0.03 --memory 4096 --json
    """

    subject: OmitArgPrefixes[Subject]
    prompts: int = 32
    """How many prompts."""
    site: Annotated[tuple[str, ...], arg(metavar="SITE ...")]
    """One site or several, such as L1.mlp.post."""
    doses: Annotated[tuple[float, ...], arg(metavar="DOSE ...")] = (-8.0, -4.0, -2.0, -1.0, 1.0, 2.0, 4.0, 8.0)
    """What is added to a neuron, in activation units."""
    neurons: Annotated[tuple[int, ...], shown_as("N ...")] = ()
    """Which neurons; all by default."""
    screen: Annotated[float | None, shown_as("SHARE")] = None
    """For wide models: evaluate only this share of them, by slope. It overlooks a switch behind a saturated gate."""
    memory: Annotated[int | None, shown_as("MIB")] = None
    """MiB to take beyond the model and the result; by default 2048, on a GPU most of what is free."""
    output: Annotated[Path | None, shown_as("FILE")] = None
    """Where the grid goes; the ending says as what: .html .svg .png pictures, .csv .nc numbers."""
    json: Json = False

    def run(self) -> Result:
        """See Command."""
        write = _writer(self.output)
        if not self.site:
            raise BadSettings("expected at least one --site, such as L1.mlp.post, got none.")
        opened = self.subject.open(self.prompts)
        from workbench.heatmap import sweep

        site = self.site[0] if len(self.site) == 1 else self.site
        chosen: dict[str, Any] = {"site": site, "neurons": self.neurons or None, "doses": self.doses}
        with waiting(f"sweeping {' '.join(self.site)}"):
            grid = sweep(opened.agent, opened.prompts, **chosen, screen=self.screen, memory=self._bytes())
        if self.output is not None and write is not None:
            with waiting(f"writing {self.output}"):
                write(grid, self.output)
        return self._result(grid)

    def _bytes(self) -> int | None:
        """The memory in bytes. Raises BadSettings for less than 1 MiB."""
        if self.memory is not None and self.memory < 1:
            raise BadSettings(f"expected --memory in MiB, at least 1, got {self.memory}. Leave it out for the default.")
        return None if self.memory is None else self.memory * 2**20

    def _result(self, grid: "xarray.DataArray") -> Result:
        head = {"agent": grid.attrs["agent"], "loss": f"{grid.attrs['goal']}, {grid.attrs['units']}"}
        head["unedited"] = grid.attrs["unedited"]
        every = _peaks(grid)
        if self.screen is not None:
            head["screened"] = f"{len(every)} of {int(grid['slope'].notnull().sum())} neurons"
        rows = every[:SHOWN]
        saved = self.output and str(self.output.resolve())
        text = f"{facts(head)}\n\n{columns(rows)}" + (f"\n\nGrid: {saved}" if saved else "")
        return Result(data=head | {"peaks": rows, "saved": saved}, text=text)


def _peaks(grid: "xarray.DataArray") -> list[dict[str, Any]]:
    """The dose at which each neuron's loss is highest, the highest first."""
    frame = grid.to_dataframe().reset_index().dropna(subset="loss")
    if "site" not in frame:
        frame["site"] = grid.attrs["site"]
    best = frame.loc[frame.groupby(["site", "neuron"])["loss"].idxmax()].sort_values("loss", ascending=False)
    return best[["site", "neuron", "dose", "rho", "loss"]].to_dict("records")


def _writer(path: Path | None) -> "Callable[[xarray.DataArray, Path], object] | None":
    """What writes a grid to that path, by its ending; UnknownName for an ending that nothing writes."""
    check_target(path)
    if path is None:
        return None
    if path.suffix not in _WRITERS:
        raise unknown("kind of file", path.suffix or path.name, _WRITERS, "The ending of --output says which it is.")
    if path.suffix == ".nc" and not any(find_spec(name) for name in ("scipy", "h5netcdf")):
        raise BadSettings(f"expected SciPy, to write {path}; it is not installed. `pip install scipy`, or take .csv.")
    return _WRITERS[path.suffix]


def _write_page(grid: "xarray.DataArray", path: Path) -> None:
    from workbench import figures

    plot = figures.Plot(figures.heatmap(grid), "The loss over neurons and doses.")
    figures.write_page(path, "The loss over edits", [plot], subtitle=grid.attrs["agent"])


def _write_picture(grid: "xarray.DataArray", path: Path) -> None:
    from workbench import figures

    figures.static(grid, path, format=path.suffix[1:])


def _write_csv(grid: "xarray.DataArray", path: Path) -> None:
    write_bytes(path, grid.to_dataframe().reset_index().to_csv(index=False).encode())


def _write_netcdf(grid: "xarray.DataArray", path: Path) -> None:
    write_bytes(path, bytes(grid.to_netcdf()))


_WRITERS = {
    ".html": _write_page,
    ".svg": _write_picture,
    ".png": _write_picture,
    ".csv": _write_csv,
    ".nc": _write_netcdf,
}
