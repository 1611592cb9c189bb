"""The speed benchmark: its floor, fits and bars are right and every way is exact. Nothing here asserts a time."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from tests.toys import quiet
from workbench import cli
from workbench.bench.speed import (
    SHAPES,
    Measurement,
    Row,
    Shape,
    architectures,
    checks,
    clock,
    hunts,
    machine,
    others,
    plan,
    scaling,
    shortfalls,
    subjects,
    sweeps,
    tables,
)
from workbench.bench.speed.asked import BARS, EXACT, Bar
from workbench.bench.speed.clock import Timing, interleaved
from workbench.bench.speed.floor import Products, flops
from workbench.errors import BadSettings, UnknownName

pytestmark = quiet
# What other libraries say while they load is not ours.
others_talk = pytest.mark.filterwarnings("ignore")
CPU = torch.device("cpu")
MINI = Shape(
    name="mini", layers=3, d_model=16, heads=2, d_mlp=24, length=6, prompts=4, vocab=12, whole=2, suffix=3, late=5
)

# --- the floor --------------------------------------------------------------------------------------------

SIZES = st.fixed_dictionaries(
    {name: st.integers(1, 9) for name in ("d_model", "d_mlp", "length", "prompts")}
    | {"layers": st.integers(1, 5), "vocab": st.integers(2, 9)}
)


@pytest.mark.parametrize("layer", range(MINI.layers))
def test_the_floor_counts_what_torch_counts_where_nothing_can_be_left_out(layer: int) -> None:
    """With one position, every block after the site runs whole."""
    shape = replace(MINI, length=1, prompts=5)
    model = others.plain(subjects.boot(shape))
    residual = torch.zeros(shape.prompts, 1, shape.d_model)
    with FlopCounterMode(display=False) as counted:
        for block in model.layers[layer + 1 :]:
            (residual,) = block(residual)
        model.head(model.ln_out(residual))
    write = 2 * shape.d_mlp * shape.d_model
    assert flops(shape, layer, positions=1, logits=shape.vocab) == counted.get_total_flops() + write


@given(SIZES, st.data())
def test_the_floor_falls_with_every_layer_and_position_that_need_not_run(
    sizes: dict[str, Any], data: st.DataObject
) -> None:
    shape = replace(MINI, **sizes)
    positions = data.draw(st.integers(1, shape.length))
    answers = data.draw(st.integers(1, shape.length))
    each = [flops(shape, i, positions=positions, logits=2, answers=answers) for i in range(shape.layers)]
    assert each == sorted(each, reverse=True)
    assert each[0] <= flops(shape, 0, positions=shape.length, logits=2, answers=answers)
    assert each[0] <= flops(shape, 0, positions=positions, logits=shape.vocab, answers=answers)
    assert each[-1] > 0


def test_the_rate_is_flops_over_the_time_that_counts() -> None:
    products = Products(MINI, CPU, rows=10)
    assert products.flops % (4 * 10 * 16 * 24) == 0
    assert products.rate(Timing(2.0, 5.0), CPU) == products.flops / 2
    assert products.rate(Timing(2.0, 5.0), torch.device("cuda")) == products.flops / 5


# --- the clock --------------------------------------------------------------------------------------------


@given(st.lists(st.floats(0.001, 9), min_size=1, max_size=7))
def test_jobs_take_turns_and_the_median_is_told(times: list[float]) -> None:
    order, left = [], iter(times + times)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock, "timed", lambda job, device: Timing(job(), 1.0))
        jobs: dict[str, Callable[[], Any]] = {
            "a": lambda: order.append("a") or next(left),
            "b": lambda: order.append("b") or 1.0,
        }
        found = interleaved(jobs, len(times), CPU)
    assert order == ["a", "b"] * len(times)
    assert found["a"].cpu == pytest.approx(sorted(times)[len(times) // 2], abs=max(times) - min(times))
    assert found["b"] == Timing(1.0, 1.0)
    assert sorted(times)[(len(times) - 1) // 2] <= found["a"].cpu <= sorted(times)[len(times) // 2]


def test_time_on_a_gpu_is_wall_time_and_elsewhere_cpu_time() -> None:
    assert Timing(1.0, 2.0).seconds(CPU) == 1.0
    assert Timing(1.0, 2.0).seconds(torch.device("cuda")) == 2.0
    assert Timing.mean([Timing(1.0, 2.0), Timing(3.0, 6.0)]) / 2 == Timing(1.0, 2.0)


# --- what is measured -------------------------------------------------------------------------------------


@others_talk
def test_every_way_of_sweeping_is_exact_and_timed() -> None:
    rows = sweeps.sweeps(MINI, 1, "cpu")
    total = {row.method: row for row in rows if row.layer is None}
    assert {sweeps.NAIVE, sweeps.EVERYWHERE, sweeps.LAST, sweeps.DIFFERENCE, "torch forward pre-hook"} <= set(total)
    timed = [row for row in total.values() if row.count > 1]
    assert len(timed) >= 9
    for row in timed:
        assert row.error <= EXACT
        assert all(math.isfinite(v) and v > 0 for v in (row.cpu, row.wall, row.ratio, row.over_floor))
        assert [r.layer for r in rows if r.method == row.method] == [None, 0, 1, 2]
    assert total[sweeps.NAIVE].ratio == 1
    assert (total[sweeps.NAIVE].count, total[sweeps.EVERYWHERE].count, total[sweeps.LAST].count) == (2, 3, 5)


@others_talk
def test_libraries_that_are_not_installed_have_a_row_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(others, "find_spec", lambda name: None)
    rows = {row.method: row for row in sweeps.sweeps(replace(MINI, layers=1), 1, "cpu") if row.layer is None}
    for name in ("nnsight", "pyvene"):
        assert rows[name].note == "not installed: pip install 'lat-workbench[bench]'"
        assert math.isnan(rows[name].cpu)


@others_talk
def test_a_way_that_is_wrong_is_told_from_one_that_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeps.ways, "stacked", lambda work: lambda deltas: sweeps.ways.naive(work)(deltas * 1.01))
    rows = sweeps.sweeps(replace(MINI, layers=1), 1, "cpu")
    (check,) = [check for check in checks(rows) if not check.reached]
    assert "edits stacked in the batch: error" in str(check)


def test_edits_are_of_one_neuron_each_and_the_same_for_every_count() -> None:
    on = subjects.subject(MINI)
    assert (on.deltas(7) != 0).sum(1).tolist() == [1] * 7
    assert torch.equal(on.deltas(7)[:3], on.deltas(3)) or len(on.deltas(3)) == 3
    clean = on.agent.logits(on.prompts)
    for delta in on.deltas(4):
        edited = sweeps.ways.naive(sweeps.methods(on)[0].work(on, 0))(delta[None])
        unedited = sweeps.methods(on)[0].work(on, 0).goal.loss(clean[None], clean, on.prompts.answers)
        assert (edited - unedited).abs() > 1e-3


def test_the_shapes_are_those_that_are_published() -> None:
    sizes = {s.name: (s.layers, s.d_model, s.heads, s.d_mlp, s.length, s.prompts, s.vocab) for s in SHAPES.values()}
    assert sizes == {
        "tiny": (4, 64, 4, 256, 16, 32, 64),
        "small": (4, 128, 4, 512, 32, 64, 128),
        "gpt2-small": (12, 768, 12, 3072, 64, 8, 50257),
    }


@others_talk
@pytest.mark.parametrize("name", ["GPT-2", "Gemma-2"])
def test_the_stripped_tier_is_exact_on_hugging_face_architectures(name: str) -> None:
    naive, stripped = architectures.architecture(name, 1, "cpu", MINI)
    assert (naive.method, stripped.method) == (sweeps.NAIVE, architectures.STRIPPED)
    assert naive.ratio == 1
    assert stripped.error <= EXACT
    assert math.isfinite(stripped.ratio)


def test_hunts_and_retraining_are_measured_beside_plain_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hunts, "_STEPS", 2)
    monkeypatch.setattr(hunts, "INNER", (1, 2))
    for rows, plain, others_ in (
        (hunts.hunts(MINI, 1, "cpu"), hunts.PLAIN_PASS, {hunts.RESTART}),
        (hunts.retraining(MINI, 1, "cpu"), hunts.PLAIN_STEP, {hunts.lat(1), hunts.lat(2)}),
    ):
        assert (rows[0].method, rows[0].ratio) == (plain, 1)
        assert {(row.method, row.layer) for row in rows[1:]} == {(m, layer) for m in others_ for layer in (0, 2)}
        assert all(math.isfinite(row.ratio) and row.ratio > 0 for row in rows)


def test_scaling_times_each_value_and_fits_the_slope() -> None:
    rows = scaling.scaling("prompts", 1, "cpu", (8, 16), MINI)
    assert [(row.method, row.count) for row in rows[:-1]] == [
        (scaling.ENGINE, 8), (sweeps.NAIVE, 8), (scaling.ENGINE, 16), (sweeps.NAIVE, 16),
    ]  # fmt: skip
    assert rows[-1].note == "from 8 to 16"
    expected = math.log2(rows[2].cpu / rows[0].cpu)
    assert rows[-1].ratio == pytest.approx(expected)


@given(st.floats(-2, 2), st.floats(0.01, 10), st.integers(2, 6))
def test_a_power_law_has_its_exponent_as_slope(exponent: float, scale: float, points: int) -> None:
    rows = [_row(count=2**i, cpu=scale * 2 ** (i * exponent)) for i in range(points)]
    assert scaling._slope(rows, 0, "cpu") == pytest.approx(exponent, abs=1e-6)
    assert math.isnan(scaling._slope(rows, 2 ** (points - 1), "cpu"))


def test_a_whole_heatmap_has_every_neuron_and_dose() -> None:
    (row,) = scaling.whole_sweep(1, "cpu", MINI)
    assert row.note == f"{3 * 24 * 8} edits: 3 sites, 24 neurons, 8 doses"


# --- what is asked ----------------------------------------------------------------------------------------


def _row(**changes: Any) -> Row:
    usual: dict[str, Any] = {"part": "sweeps", "subject": "tiny", "method": sweeps.EVERYWHERE}
    return Row(**usual | changes)


def test_nothing_falls_short_where_nothing_was_measured() -> None:
    assert shortfalls(checks([])) == []
    assert shortfalls(checks([_row(), _row(layer=0, ratio=1.0)])) == []


@pytest.mark.parametrize("bar", BARS, ids=lambda bar: f"{bar.part} {bar.subject} {bar.method} {bar.layer} {bar.figure}")
def test_each_bar_is_reached_at_its_edge_and_missed_beyond(bar: Bar) -> None:
    for edge, beyond in ((bar.least, -1e-6), (bar.most, 1e-6)):
        if math.isinf(edge):
            continue
        for value, reached in ((edge, True), (edge + beyond, False)):
            same = {"part": bar.part, "subject": bar.subject, "method": bar.method, "layer": bar.layer}
            (check,) = checks([_row(**same, **{bar.figure: value})])
            assert check.reached is reached
            assert bool(shortfalls([check])) is not reached


def test_exactness_is_asked_of_every_way_and_speed_of_the_cpu_only() -> None:
    rows = [_row(method="any", error=2 * EXACT), _row(ratio=1.0), _row(method="any", layer=0, error=1.0)]
    assert [check.bar.figure for check in checks(rows)] == ["ratio", "error"]
    assert [check.bar.figure for check in checks(rows, speed=False)] == ["error"]
    assert shortfalls(checks(rows))[1] == "sweeps, tiny, any: error 2e-05, asked at most 1e-05"


def test_the_tables_show_what_is_asked_and_what_nobody_measured() -> None:
    rows = [_row(ratio=8.5, cpu=0.001234, wall=0.2), _row(ratio=9.0, layer=0), _row(method="nnsight", note="absent")]
    (lines,) = tables(rows, checks(rows), "cpu").values()
    assert [line["way"] for line in lines] == [sweeps.EVERYWHERE, "nnsight"]
    assert lines[0]["asked"] == "at least 9: MISSED"
    assert (lines[0]["CPU"], lines[0]["wall"], lines[0]["GPU"]) == ("1.23", "200", "not measured")
    assert (lines[1]["CPU"], lines[1]["note"]) == (None, "absent")
    (lines,) = tables(rows, [], "cuda").values()
    assert (lines[0]["CPU"], lines[0]["wall"], lines[0]["GPU"]) == ("not measured", "not measured", "200")


def test_the_machine_is_named() -> None:
    found = machine(CPU)
    assert found["gpu"] == "not measured"
    assert found["threads"] == torch.get_num_threads()
    assert found["cpu"]
    assert found["versions"]["torch"] == torch.__version__


# --- the command ------------------------------------------------------------------------------------------


def test_the_plan_names_every_part_of_every_shape() -> None:
    names = [m.name for m in plan()]
    assert names[:3] == ["sweeps, tiny", "sweeps, small", "sweeps, gpt2-small"]
    assert {"Llama", "hunts, small", "retraining, tiny", "a whole heatmap", "time over edits"} <= set(names)
    assert "hunts, gpt2-small" not in names
    assert [m.name for m in plan(["small"], ["sweeps", "hunts"])] == ["sweeps, small", "hunts, small"]


MISTAKES: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"shapes": ["tny"]}, UnknownName, "no shape 'tny' among 3. Closest: tiny"),
    ({"parts": ["sweep"]}, UnknownName, "no part 'sweep' among 6. Closest: sweeps"),
    ({"repeats": 0}, BadSettings, "expected at least one repeat, got 0."),
]


@pytest.mark.parametrize(("settings_", "error", "told"), MISTAKES)
def test_a_mistake_is_told_before_anything_is_measured(
    settings_: dict[str, Any], error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        plan(**settings_)


FIGURES = [
    _row(ratio=10.0, cpu=0.1, wall=0.1, over_floor=3.0, error=1e-7),
    _row(method=sweeps.NAIVE, ratio=1.0, cpu=1.0, wall=1.0, error=0.0),
    _row(method="nnsight", note="not installed"),
    *(Row(part="architectures", subject="Llama", method=m, ratio=r) for m, r in (("naive", 1.0), ("stripped", 4.0))),
    *(Row(part="hunts", subject="tiny", method=hunts.RESTART, layer=i, ratio=0.2 / (1 + 9 * i)) for i in (0, 2)),
    Row(part="retraining", subject="tiny", method=hunts.PLAIN_STEP, ratio=1.0),
    *(Row(part="scaling", subject="edits", method="engine", count=n, cpu=n / 9, wall=n / 8) for n in (2, 4)),
]


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Row]:
    """The figures that any measurement gives."""
    rows = list(FIGURES)
    every = [Measurement("first", lambda: rows[:3]), Measurement("second", lambda: rows[3:])]
    monkeypatch.setattr("workbench.bench.speed.plan", lambda *_, **__: every)
    return rows


def test_the_command_prints_tables_and_what_falls_short(
    measured: list[Row], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["bench", "speed"]) == 0
    out = capsys.readouterr().out
    assert "at least 9: reached" in out
    assert out.endswith("All that is asked was reached.\n")
    measured[0] = _row(ratio=8.0)
    assert cli.main(["bench", "speed"]) == 1
    assert capsys.readouterr().out.endswith("falls short: sweeps, tiny, engine: ratio 8, asked at least 9\n")


def test_the_command_writes_json_and_a_page_that_works_offline(
    measured: list[Row], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, plots = tmp_path / "speed.json", tmp_path / "speed.html"
    assert cli.main(["bench", "speed", "--json", "--output", str(data), "--plots", str(plots)]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said == json.loads(data.read_text())
    assert [row["ratio"] for row in said["rows"][:3]] == [10.0, 1.0, None]
    page = plots.read_text()
    assert page.count("class='plot'") == 5
    assert "restart-step" in page
    assert "not measured" in page


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--device tpu", "expected the device cpu or cuda, got 'tpu'."),
        ("--shapes tny", "no shape 'tny' among 3. Closest: tiny"),
        ("--output {}", "expected a file to write"),
    ],
)
def test_the_command_tells_a_mistake_in_words(
    words: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["bench", "speed", *words.format(tmp_path).split()]) == 2
    assert told in capsys.readouterr().err
