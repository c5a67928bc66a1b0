"""The stand-in for conda refuses what it cannot build and answers only the calls that Snakemake makes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from tests.stand_in.conda import WHEELS, CondaError, closure, create, requested
from tests.workflow.test_environments import WHEEL

PROGRAM = Path(__file__).resolve().parents[1] / "stand_in" / "bin" / "conda"
HEAD = "channels: [conda-forge, nodefaults]\ndependencies: [python ={}.{}".format(*sys.version_info[:2])


def conda(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(PROGRAM), *arguments],
        env={**os.environ, "STAND_IN_SOURCE": sys.prefix},
        capture_output=True,
        text=True,
        check=False,
    )


class Wheel(metadata.Distribution):
    """A distribution of which only the requirements are known."""

    def __init__(self, *requires: str) -> None:
        self._requires = list(requires)

    @property
    def requires(self) -> list[str]:
        return self._requires

    def read_text(self, filename: str) -> str | None:
        return None

    def locate_file(self, path: str | os.PathLike[str]) -> Path:
        return Path(path)


def test_closure_follows_markers_and_extras() -> None:
    wheels = {
        "top": Wheel("Mid_dle[more] >= 1", "absent; python_version < '3'", "optional; extra == 'all'"),
        "mid-dle": Wheel("leaf", "plugin; extra == 'more'", "other; extra == 'less'", "top"),
        "leaf": Wheel(),
        "plugin": Wheel(),
    }
    assert closure(["Top"], wheels) == {"top", "mid-dle", "leaf", "plugin"}
    wheels.pop("plugin")
    with pytest.raises(CondaError, match="plugin, which another package requires"):
        closure(["top"], wheels)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("channels: [defaults]\ndependencies: [python =3.11]\n", "channels"),
        (f"{HEAD}]\nname: mine\n", "nothing else"),
        (f"{HEAD}, numpy]\n", "not an exact pin .* numpy"),
        (f"{HEAD}, numpy==2.4.3]\n", "not an exact pin"),
        (f"{HEAD}, numpy =1.0]\n", "numpy =1.0; the lock has"),
        (f"{HEAD}, no-such-package =1.0]\n", "PackagesNotFoundError: no-such-package"),
        ("channels: [conda-forge, nodefaults]\ndependencies: [python =2.7]\n", "python =2.7 is pinned"),
        ("channels: [conda-forge, nodefaults]\ndependencies: [pyyaml =6.0.2]\n", "python =none is pinned"),
    ],
)
def test_refuses_and_leaves_nothing_behind(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "stage.yaml"
    file.write_text(text)
    with pytest.raises(CondaError, match=message):
        create(file, tmp_path / "prefix")
    assert not (tmp_path / "prefix").exists()


def test_a_pin_is_a_prefix_of_whole_numbers(tmp_path: Path) -> None:
    version = metadata.version("pyyaml")
    assert requested(f"{HEAD}, pyyaml ={version}]\n")["pyyaml"] == version
    for pin, taken in ((version, True), (version.rpartition(".")[0], True), (version + "1", False)):
        file = tmp_path / f"{pin}.yaml"
        file.write_text(f"{HEAD}, pyyaml ={pin}]\n")
        if taken:
            assert create(file, tmp_path / pin) == {"pyyaml"}
        else:
            with pytest.raises(CondaError, match="the lock has"):
                create(file, tmp_path / pin)


def test_answers_what_snakemake_asks(tmp_path: Path) -> None:
    told = json.loads(conda("info", "--json").stdout)
    assert told["platform"] == "linux-64"
    assert (Path(told["conda_prefix"]) / "bin" / "activate").is_file()
    assert conda("--version").stdout == "conda 24.7.1\n"
    assert json.loads(conda("config", "--get", "channel_priority", "--json").stdout)["get"] == {
        "channel_priority": "strict"
    }
    assert conda("clean", "-y", "--tarballs").returncode == 0
    file, prefix = tmp_path / "a b;c.yaml", tmp_path / "a b;c"
    file.write_text(f"{HEAD}, pyyaml ={metadata.version('pyyaml')}]\n")
    made = ("env", "create", "--quiet", "--no-default-packages", "--file", str(file), "--prefix", str(prefix))
    assert conda(*made).returncode == 0
    script = (
        f"source {told['conda_prefix']}/bin/activate '{prefix}'; python -I -c 'import sys, yaml; print(sys.prefix)'"
    )
    shown = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert shown.stdout == f"{prefix}\n"
    again = conda(*made)
    assert (again.returncode, "prefix already exists" in again.stderr) == (1, True)


@pytest.mark.parametrize("call", [("install", "numpy"), ("create", "--name", "x"), ("list", "--explicit")])
def test_refuses_other_calls(call: tuple[str, ...]) -> None:
    assert conda(*call).returncode == 2


def test_name_tables_agree() -> None:
    assert {name: wheels[0] for name, wheels in WHEELS.items() if wheels[0] != name} == WHEEL
