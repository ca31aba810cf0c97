"""What `lightning doctor` finds, and how it says it is mended."""

import importlib.metadata
from pathlib import Path

import pytest
from pretend_plugin import Command, install

from graves_core.cli import doctor, foreign


def test_a_healthy_installation_is_well(lightning: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign, "owner_of_file", lambda: (Path("lightning"), foreign.OURS))
    answer = lightning("doctor")
    for subject in ("python", "torch", "lightning", "jsonargparse", "devices", "data", "script"):
        assert f"ok     {subject}" in answer.out
    assert "graves-pretend 1.2" in answer.out
    assert answer.out.endswith("all is well\n")
    assert answer.code == 0


def test_a_broken_plugin_is_named_and_the_exit_code_is_1(
    lightning: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = "[graves.plugins]\nsunk = graves_sunk\n"
    install(
        tmp_path / "site", "graves-sunk", entry, {"graves_sunk/__init__.py": "raise OSError('no such ship')"}
    )
    monkeypatch.syspath_prepend(tmp_path / "site")
    answer = lightning("doctor")
    assert answer.code == 1
    assert "broken plugin        graves-sunk 1.2: OSError: no such ship" in answer.out
    assert "mend: pip install --force-reinstall graves-sunk" in answer.out


@pytest.mark.parametrize("version", doctor.MALICIOUS)
def test_malicious_versions_of_lightning_are_broken(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version)
    finding = doctor.version("lightning")
    assert finding.verdict == "broken"
    assert finding.mend == 'pip install --force-reinstall "lightning>=2.6.6"'


def test_a_missing_library_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.version("no-such-library").mend == "pip install no-such-library"


@pytest.mark.parametrize(
    ("source", "verdict"),
    [("", "ok"), ("raise RuntimeError('operator torchvision::nms does not exist')", "broken")],
)
def test_torchvision_is_tried_in_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, verdict: str
) -> None:
    (tmp_path / "torchvision.py").write_text(source)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    finding = doctor.torchvision()
    assert finding is not None
    assert finding.verdict == verdict
    assert (verdict == "ok") or (
        "nms does not exist" in finding.text and "uninstall torchvision" in finding.mend
    )


def test_no_torchvision_is_nothing_to_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    assert doctor.torchvision() is None


def test_a_script_of_nobody_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign, "owner_of_file", lambda: (Path("/bin/lightning"), None))
    finding = doctor.script()
    assert (finding.verdict, finding.mend) == ("broken", foreign.MEND)


def test_a_missing_script_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign, "owner_of_file", lambda: (None, None))
    assert doctor.script().verdict == "broken"


def test_the_data_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAVES_DATA", str(tmp_path))
    assert doctor.data_folder().text == str(tmp_path)
