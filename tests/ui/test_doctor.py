"""`workbench doctor` looks at JupyterLab's side too."""

from pathlib import Path

import pytest

from workbench.cli import doctor


def checks() -> dict[str, doctor.Check]:
    return {check.name: check for check in doctor._lab()}


def test_all_is_well_here() -> None:
    assert {name: check.ok for name, check in checks().items()} == {"jupyterlab widgets": True, "jupyter kernel": True}


def test_extensions_that_are_not_there_are_named_with_the_cure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "anywidget").mkdir()
    monkeypatch.setattr("jupyter_core.paths.jupyter_path", lambda *parts: [str(tmp_path)])
    found = checks()["jupyterlab widgets"]
    assert not found.ok
    assert found.found == "missing: @jupyter-widgets/jupyterlab-manager"
    assert "pip install" in found.cure


def test_a_kernel_of_another_python_is_not_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    other = {"far": {"spec": {"argv": ["elsewhere/bin/python", "-m", "ipykernel"]}}}
    monkeypatch.setattr("jupyter_client.kernelspec.KernelSpecManager.get_all_specs", lambda self: other)
    found = checks()["jupyter kernel"]
    assert (found.ok, found.found) == (False, "none of far is this Python")
    assert "ipykernel install" in found.cure
