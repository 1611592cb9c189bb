"""Laws of the repository itself: what may lie in it, how its files begin, and what an import may cost."""

import ast
import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CHECKPOINTS = ROOT / "toy_models" / "checkpoints"

# An absolute path of the machine somebody worked at: such a folder at the root, and a name in it.
MACHINE_PATH = re.compile(r"(?<![\w.~})-])/(?:tmp|work|root|home|Users)/[A-Za-z]")
# Where packages come from is a matter of the machine's pip settings; pages must work offline.
REGISTRY = re.compile(
    r"(?:pypi|pythonhosted|download\.pytorch|npmjs|unpkg|jsdelivr|anaconda)\.(?:org|com|io|net)", re.I
)


@cache
def tracked() -> tuple[Path, ...]:
    """Every file under version control that is there; skips the test outside a clone."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z"]
    try:
        listing = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this is no clone, or git is not installed")
    return tuple(path for name in listing.split("\0") if name and (path := ROOT / name).is_file())


def texts() -> dict[str, str]:
    """The tracked files that are UTF-8 text, by their path from the root."""
    found = {}
    for path in tracked():
        try:
            found[str(path.relative_to(ROOT))] = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
    return found


def lines_with(pattern: re.Pattern[str]) -> list[str]:
    """Each tracked line in which the pattern occurs, as `file:line: text`."""
    return [
        f"{name}:{number}: {line.strip()[:120]}"
        for name, text in texts().items()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]


def python(code: str, folder: Path = ROOT) -> str:
    """What a fresh interpreter prints for some code, run in a folder, with warnings as errors."""
    command = [sys.executable, "-W", "error", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {code}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def modules() -> list[Path]:
    """Every first-party module, tests included."""
    return [path for folder in ("workbench", "toy_models", "tests") for path in sorted((ROOT / folder).rglob("*.py"))]


def test_no_tracked_file_names_a_path_of_one_machine():
    assert lines_with(MACHINE_PATH) == []


def test_no_tracked_file_names_a_package_registry():
    assert lines_with(REGISTRY) == []


@pytest.mark.parametrize("folder", ["tmp", "work", "root", "home", "Users"])
@pytest.mark.parametrize("text", ["open('/{}/x')", "see /{}/ada/x", "file:///{}/x"])
def test_a_machine_path_is_recognised(folder: str, text: str):
    assert MACHINE_PATH.search(text.format(folder))


@pytest.mark.parametrize(
    "text", ["tests/work/x", "{root}/home/x", "../tmp/x", "https://host.example/x", "/workbench/x"]
)
def test_other_paths_are_not_taken_for_one(text: str):
    assert not MACHINE_PATH.search(text)


def test_notebooks_have_no_outputs():
    for path in sorted((ROOT / "notebooks").rglob("*.ipynb")):
        if ".ipynb_checkpoints" in path.parts:
            continue
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        full = [i for i, cell in enumerate(cells) if cell.get("outputs") or cell.get("execution_count")]
        assert full == [], f"{path.name}: cells {full} hold outputs. Clear all outputs, save, commit again."


def test_checkpoints_stay_below_six_megabytes():
    assert sum(path.stat().st_size for path in CHECKPOINTS.rglob("*") if path.is_file()) < 6_000_000


def test_every_module_begins_by_saying_its_idea():
    silent = []
    for path in modules():
        body = ast.parse(path.read_text(encoding="utf-8")).body
        if not (body and body[0].lineno == 1 and isinstance(body[0], ast.Expr) and _is_text(body[0].value)):
            silent.append(str(path.relative_to(ROOT)))
    assert silent == []


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and bool(node.value.strip())


def test_importing_the_package_loads_nothing_heavy():
    heavy = "('torch', 'transformer_lens', 'pandas', 'numpy', 'xarray', 'matplotlib', 'plotly')"
    assert python(f"import workbench; print([m for m in {heavy} if m in sys.modules])") == "[]"


def test_importing_the_package_takes_less_than_a_tenth_of_a_second():
    code = "import time; start = time.process_time(); import workbench; print(time.process_time() - start)"
    assert min(float(python(code)) for _ in range(3)) < 0.1


def test_importing_the_agent_leaves_wandb_alone_and_calls_nobody(tmp_path: Path):
    code = (
        "calls = []; sys.addaudithook(lambda event, _: event in ('socket.connect', 'socket.getaddrinfo') "
        "and calls.append(event)); import workbench.agent; "
        "print('wandb' in sys.modules, calls, 'wandb' in str(list(__import__('os').scandir('.'))))"
    )
    assert python(code, tmp_path) == "False [] False"
    assert list(tmp_path.iterdir()) == []
