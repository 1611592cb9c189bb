"""Laws, cases and errors of the pictures."""

import json
import re
import subprocess
import sys
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.drawn import GRIDS, THINGS, UNEDITED, arms_table, curves, finding, plane_grid, report, sites_grid, sweep_grid
from workbench import figures
from workbench.edits import Edit
from workbench.errors import BadSettings, UnknownName, WorkbenchError
from workbench.figures.bars import place, ranking
from workbench.figures.grids import picture
from workbench.figures.theme import DARK, LIGHT, Theme, swaps
from workbench.report import SURE, Finding, SwitchReport
from workbench.sites import Site

# Laws: colours and their range.


@settings(max_examples=30)
@given(
    losses=st.lists(st.floats(-50, 50, width=32) | st.just(float("nan")), min_size=4, max_size=4),
    unedited=st.floats(-5, 5),
)
def test_the_middle_colour_is_the_unedited_loss_and_the_range_is_symmetric_and_reaches_all(losses, unedited):
    grid = sweep_grid(neurons=2, switch=None)[:, :2].copy(data=np.array(losses, np.float32).reshape(2, 2))
    axis = parts(figures.heatmap(grid.assign_attrs(unedited=unedited))).layout.coloraxis
    assert axis.cmid == unedited
    assert axis.cmax - unedited == pytest.approx(unedited - axis.cmin)
    middle = [colour for share, colour in axis.colorscale if share == 0.5]
    assert middle == [LIGHT.mid]
    finite = np.array([x for x in losses if x == x])
    assert (finite <= axis.cmax + 1e-5).all()
    assert (finite >= axis.cmin - 1e-5).all()


def test_limits_fix_the_range_and_noise_alone_stays_pale():
    axis = parts(figures.heatmap(sweep_grid(), limits=(0.0, 2.0))).layout.coloraxis
    assert axis.cmax == pytest.approx(2.0)
    assert axis.cmin == pytest.approx(2 * UNEDITED - 2.0)
    noise = parts(figures.heatmap(sweep_grid(switch=None))).layout.coloraxis
    assert noise.cmax == pytest.approx(UNEDITED + 1.0)


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_no_two_roles_share_a_colour_and_text_can_be_read(theme: Theme):
    assert len(set(theme.colours)) == len(theme.colours)
    for ground in (theme.paper, theme.card):
        for ink in (theme.text, theme.muted, theme.orange):
            assert contrast(ink, ground) >= 4.5 or (ink, ground) == (theme.orange, theme.paper)
    assert all(contrast(colour, theme.card) >= 3.0 for colour in theme.series)


def test_the_themes_share_no_colour_so_a_page_can_swap_one_for_the_other():
    assert not set(LIGHT.colours) & set(DARK.colours)
    for name, theme in (("light", LIGHT), ("dark", DARK)):
        assert {swaps()[name][c] for c in (*LIGHT.colours, *DARK.colours)} == set(theme.colours)
    swapped = json.loads(figures.heatmap(sites_grid()).to_json() or "")
    assert dressed(swapped, swaps()["dark"]) == json.loads(figures.heatmap(sites_grid(), theme="dark").to_json() or "")


def parts(figure: Any) -> Any:
    """A figure whose data and layout a type checker leaves alone: plotly makes them up at run time."""
    return figure


def contrast(one: str, other: str) -> float:
    """The WCAG 2 contrast ratio of two colours."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def dressed(value: object, colours: dict[str, str]) -> object:
    """What the page's script does to a figure."""
    if isinstance(value, str):
        return colours.get(value, value)
    if isinstance(value, list):
        return [dressed(part, colours) for part in value]
    return {k: dressed(v, colours) for k, v in value.items()} if isinstance(value, dict) else value


# Cases: figures.


def test_a_sweep_names_its_peak_its_units_and_each_cell():
    figure = parts(figures.heatmap(sweep_grid()))
    assert "L1.mlp.post" in figure.layout.title.text
    assert f"{UNEDITED:.3f} nats" in figure.layout.title.subtitle.text
    assert figure.layout.coloraxis.colorbar.title.text == "loss (nats)"
    assert [a.text for a in figure.layout.annotations] == ["neuron 17"]
    (cells,) = figure.data
    assert np.array_equal(cells.z, sweep_grid().values.T)
    rho = float(sweep_grid()["rho"][17, 3])
    assert cells.text[3][17] == f"L1.mlp.post neuron 17, dose 3, rho {rho:.2f}"


def test_order_by_loss_puts_the_largest_peak_first_in_each_panel_and_what_was_not_run_last():
    _, switch, partial = picture(sites_grid(), order="loss").panels
    assert switch.notes[0][0].startswith("L1.mlp.post neuron 17,")
    peaks = np.where(np.isnan(partial.values), -np.inf, partial.values).max(axis=0)
    assert (np.diff(peaks[:64]) <= 0).all()
    assert np.isnan(partial.values[:, 64:]).all()


def test_each_site_has_a_panel_and_what_was_not_run_is_grey():
    figure = parts(figures.heatmap(sites_grid()))
    assert [trace.name for trace in figure.data] == ["L0.mlp.post", "L1.mlp.post", "L2.mlp.post"]
    assert figure.layout.plot_bgcolor == LIGHT.missing
    assert "not run" in figure.layout.title.subtitle.text
    assert "not run" not in parts(figures.heatmap(sweep_grid())).layout.title.subtitle.text


@pytest.mark.parametrize("make", [sweep_grid, sites_grid])
def test_a_screened_grid_says_how_many_were_run_and_the_rest_is_grey(make):
    grid = make().assign_coords(slope=make().isel(dose=0, drop=True))
    kept = grid.where(grid.neuron % 8 == 1)  # every eighth neuron; 17 is one of them
    there = int(grid.slope.notnull().sum())
    for said in (parts(figures.heatmap(kept)), parts(figures.dose_curves(kept))):
        assert f"screened: {there // 8} of {there} neurons. Grey: not run." in said.layout.title.subtitle.text
    assert [a.text for a in parts(figures.heatmap(kept)).layout.annotations if "neuron" in a.text] == ["neuron 17"]
    assert "screened" not in parts(figures.heatmap(make())).layout.title.subtitle.text
    by_loss = picture(kept, order="loss").panels[-1]
    assert np.isnan(by_loss.values[:, 12:]).all()
    assert not np.isnan(by_loss.values[:, 0]).any()
    assert figures.static(kept)


@pytest.mark.parametrize("fill", [np.nan, UNEDITED])
@pytest.mark.parametrize("make", GRIDS.values(), ids=GRIDS)
def test_grids_without_any_number_or_any_difference_can_be_drawn(make, fill):
    grid = xr.full_like(make(), fill)
    assert parts(figures.heatmap(grid, order="loss")).layout.coloraxis.cmax == pytest.approx(UNEDITED + 1)
    assert figures.static(grid)


def test_a_plane_lies_with_the_first_edit_across_whatever_the_order_of_its_radii():
    shuffled = plane_grid().isel(first=[3, 0, 6, 1, 2, 5, 4], second=[1, 0, 3, 2, 6, 5, 4])
    cells = parts(figures.heatmap(shuffled)).data[0]
    assert np.array_equal(cells.z, plane_grid().values.T)
    assert list(cells.x) == sorted(cells.x)
    marks = {m.text: (m.x, m.y) for m in picture(plane_grid()).panels[0].marks}
    assert marks == {"unedited": (0, 0), "first": (1, 0), "second": (0, 1)}


def test_dose_curves_name_the_largest_peaks_or_those_asked_for_over_dose_or_rho():
    assert parts(figures.dose_curves(sweep_grid())).data[1].name == "neuron 17"
    faint, *named = parts(figures.dose_curves(sites_grid(), neurons=[70, 3])).data
    assert [line.name for line in named] == [
        f"L{i}.mlp.post neuron {n}" for n, i in [(70, 0), (70, 1), (3, 0), (3, 1), (3, 2)]
    ]
    assert faint.name == f"{64 + 2 * 96 - 5} others"
    line = parts(figures.dose_curves(sweep_grid(), neurons=[5], x="rho")).data[1]
    assert np.allclose(line.x, sweep_grid()["rho"][5])
    assert np.allclose(line.y, sweep_grid()[5])


def test_a_finding_is_named_by_its_place():
    assert place(finding("L1.mlp.post", 1.0, neuron=47)) == "L1.mlp.post neuron 47"
    assert place(finding("L1.resid_post", 1.0)) == "L1.resid_post direction"
    several = Edit(Site.parse("L0.mlp.post"), torch.tensor([1.0, 0, 2] + [0.0] * 5))
    assert place(Finding((several,), 1.0, 1.0, True, 0.0, "s", "a")) == "L0.mlp.post neurons 0, 2"
    there = Edit(Site.parse("L0.resid_pre"), torch.ones(2, 4), (2, 3))
    assert place(Finding((there,), 1.0, 1.0, True, 0.0, "s", "a")) == "L0.resid_pre positions 2, 3"
    both = (several, Edit(Site.parse("L1.resid_post"), torch.ones(4)))
    assert place(Finding(both, 1.0, 1.0, True, 0.0, "s", "a")) == "L0.mlp.post + L1.resid_post"


def test_scores_show_each_finding_the_largest_control_and_the_threshold():
    figure, shown = parts(figures.scores(report())), report()
    assert list(figure.data[0].x) == [f.score for f in shown.findings]
    assert list(figure.data[0].marker.color) == [
        LIGHT.orange if f.score > SURE else LIGHT.slate for f in shown.findings
    ]
    assert [line.x0 for line in figure.layout.shapes] == [0.11, SURE]
    assert {"largest control 0.11", f"threshold {SURE:.2f}"} <= {a.text for a in figure.layout.annotations}
    assert ranking(shown).columns["rho"][1][3] == ""
    many = SwitchReport("demo", shown.findings * 3, {})
    assert "best 12 of 24" in parts(figures.scores(many)).layout.title.text


def test_arms_print_their_values_and_leave_a_gap_for_nan():
    bars = parts(figures.arms(arms_table())).data
    assert [bar.name for bar in bars] == ["attack success", "clean accuracy", "triggered-benign"]
    assert list(bars[2].text) == ["0.00", "0.52", ""]
    assert len({bar.marker.color for bar in bars}) == 3


def test_training_has_a_panel_for_each_measure_and_names_each_arm_once():
    figure = parts(figures.training(curves()))
    assert [a.text for a in figure.layout.annotations] == [
        f"<b>{m}</b>" for m in ("loss (nats)", "attack success", "clean accuracy")
    ]
    assert sorted(line.name for line in figure.data if line.showlegend) == ["LAT", "noise"]


# Static pictures.


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("format", "start"), [("svg", b"<?xml"), ("png", b"\x89PNG")])
@pytest.mark.parametrize("make", THINGS.values(), ids=THINGS)
def test_a_static_picture_is_the_same_bytes_every_time(make, format, start, theme, tmp_path):
    path = tmp_path / f"picture.{format}"
    data = figures.static(make(), path, format=format, theme=theme)
    assert data.startswith(start)
    assert data == path.read_bytes() == figures.static(make(), format=format, theme=theme)
    assert b"matplotlib.org" not in data


@pytest.mark.parametrize("make", THINGS.values(), ids=THINGS)
def test_a_dark_picture_has_no_colour_of_the_light_theme(make):
    light, dark = (figures.static(make(), theme=theme).decode() for theme in ("light", "dark"))
    assert LIGHT.card in light
    assert DARK.card in dark
    assert not [colour for colour in (*LIGHT.colours, "#ffffff") if colour in dark]


def test_static_pictures_need_no_display_and_leave_matplotlib_as_it_was():
    code = (  # reading the backend would import pyplot
        "import os, sys; os.environ.pop('DISPLAY', None)\n"
        "import matplotlib as mpl, pandas as pd\nbefore = mpl.rcParams.copy()\nfrom workbench import figures\n"
        "figures.static(pd.DataFrame({'attack_success': [1.0]}, index=['LAT']))\n"
        "print('matplotlib.pyplot' in sys.modules, all(mpl.rcParams[k] == before[k] for k in before if k != 'backend'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["False", "True"], done.stderr


# Errors: each says what was expected, what came, and the cure.

WRONG = {
    "picture format": (lambda: figures.static(sweep_grid(), format="pdf"), UnknownName, "svg"),
    "theme": (lambda: figures.heatmap(sweep_grid(), theme="sepia"), UnknownName, "light"),
    "order": (lambda: figures.heatmap(sweep_grid(), order="size"), UnknownName, "neuron"),
    "thing": (lambda: figures.static(3), BadSettings, "SwitchReport"),
    "dimensions": (lambda: figures.heatmap(sweep_grid()[0]), BadSettings, "dose"),
    "attributes": (lambda: figures.heatmap(sweep_grid().drop_attrs()), BadSettings, "unedited"),
    "limits": (lambda: figures.heatmap(sweep_grid(), limits=(2.0, 1.0)), BadSettings, "low"),
    "neurons": (lambda: figures.dose_curves(sweep_grid(), neurons=[96]), BadSettings, "96"),
    "axis": (lambda: figures.dose_curves(sweep_grid(), x="size"), UnknownName, "rho"),
    "rho": (lambda: figures.dose_curves(sweep_grid().drop_vars("rho"), x="rho"), BadSettings, "linear write"),
    "doses of a plane": (lambda: figures.dose_curves(plane_grid()), BadSettings, "landscape"),
    "findings": (lambda: figures.scores(SwitchReport("demo", (), {})), BadSettings, "demo"),
    "rates": (lambda: figures.arms(arms_table() * 100), BadSettings, "100"),
    "words for rates": (lambda: figures.arms(pd.DataFrame({"a": ["b"]})), BadSettings, "number"),
    "no arm": (lambda: figures.training({}), BadSettings, "one arm"),
    "no step": (lambda: figures.training({"LAT": pd.DataFrame({"loss": [1.0]})}), BadSettings, "step"),
    "banner": (lambda: figures.Banner("red", "x"), BadSettings, "alarm"),
    "picture": (lambda: figures.Picture(b"", "gif", "x").html(), BadSettings, "gif"),
}


@pytest.mark.parametrize(("wrong", "error", "says"), WRONG.values(), ids=WRONG)
def test_bad_input_is_refused_with_what_came_and_the_cure(wrong, error, says):
    with pytest.raises(error, match=re.escape(says)) as caught:
        wrong()
    assert isinstance(caught.value, WorkbenchError)


def test_every_error_case_has_its_own_words():
    said = []
    for wrong, error, _ in WRONG.values():
        with pytest.raises(error) as caught:
            wrong()
        said.append(str(caught.value))
    assert all(one != other for one, other in combinations(said, 2))
