"""Environment files: exact pins that agree with the lock, and exactly what the rules' code imports."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest
import yaml

from pathomix.foundation.registry import ARCHITECTURES
from pathomix.methods.registry import METHODS
from pathomix.representations.registry import REPRESENTATIONS
from pathomix.slides.encoders import registry as tile_encoders
from pathomix.smoothing.registry import EXPRESSION_ENCODERS
from pathomix.text.registry import ENCODERS
from pathomix.workflow.digest import reachable

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENTS = sorted((ROOT / "envs").glob("*.yaml"))
# Import name to the conda-forge package, where they differ.
CONDA = {
    "cv2": "opencv",
    "openslide": "openslide-python",
    "ortools": "ortools-python",
    "PIL": "pillow",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "torch": "pytorch",
    "yaml": "pyyaml",
}
# conda-forge package to the wheel whose version the lock holds.
WHEEL = {"pytorch": "torch", "opencv": "opencv-python", "ortools-python": "ortools"}
# Needed at run time though never imported by name: tifffile's JPEG codec, lifelines' and pandas' optional parts.
RUNTIME = {"simulate": {"imagecodecs"}}
# Scripts that load code by name, and the registries they load it from.
LOADED = {
    "fit_method": (METHODS, ARCHITECTURES),
    "train_representation": (REPRESENTATIONS, ARCHITECTURES),
    "embed_cohort": (REPRESENTATIONS, ARCHITECTURES),
    "explain_representation": (REPRESENTATIONS, ARCHITECTURES),
    "write_texts": (ENCODERS,),
    "embed_tiles": (tile_encoders.ENCODERS, tile_encoders.FAMILIES, tile_encoders.NETWORKS),
    **dict.fromkeys(
        ("fit_expression_encoder", "mix_atlas", "train_smoother", "embed_expression"), (EXPRESSION_ENCODERS,)
    ),
}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def lock(name: str) -> dict[str, str]:
    lines = (ROOT / "locks" / name).read_text().splitlines()
    return {normal(a): b for a, _, b in (line.partition("==") for line in lines) if b}


def pins(path: Path) -> dict[str, str]:
    content = yaml.safe_load(path.read_text())
    assert set(content) == {"channels", "dependencies"}
    assert content["channels"] == ["conda-forge", "nodefaults"]
    split = [re.fullmatch(r"(\S+) =(\S+)", line) for line in content["dependencies"]]
    assert all(split), f"{path.name}: one space before = and a version in every pin"
    return {match.group(1): match.group(2) for match in split if match}


def scripts_of(environment: str) -> set[str]:
    """Scripts of the rules that name the environment."""
    found: set[str] = set()
    for path in (ROOT / "rules").glob("*.smk"):
        for rule in re.split(r"\nrule ", path.read_text())[1:]:
            if f'"../envs/{environment}.yaml"' in rule:
                found |= set(re.findall(r"workflow_scripts/(\w+)\.py", rule))
    return found


def third_party(paths: list[Path]) -> set[str]:
    names: set[str] = set()
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add((node.module or "").partition(".")[0])
    return {CONDA.get(n, n) for n in names - set(sys.stdlib_module_names) - {"pathomix"}}


def imported(scripts: set[str]) -> set[str]:
    """Packages that the code of these scripts imports, what they load by name from a registry included."""
    source = ROOT / "src"
    entries = [ROOT / "workflow_scripts" / f"{script}.py" for script in scripts]
    for script, registries in LOADED.items():
        if script in scripts:
            targets = [target.partition(":")[0] for registry in registries for target in registry.values()]
            entries += [source.joinpath(*target.split(".")).with_suffix(".py") for target in targets]
    return third_party(reachable(entries, source))


@pytest.mark.parametrize("path", ENVIRONMENTS, ids=lambda path: path.stem)
def test_pins_agree_with_the_lock(path: Path) -> None:
    versions = lock("rules.txt")
    found = pins(path)
    assert found.pop("python") == "3.11"
    wheel = {name: versions[normal(WHEEL.get(name, name))] for name in found}
    # The wheel of OpenCV carries a fourth number that its conda package has not.
    assert found == {n: v if n != "opencv" else v.rpartition(".")[0] for n, v in wheel.items()}


@pytest.mark.parametrize("path", ENVIRONMENTS, ids=lambda path: path.stem)
def test_holds_what_the_rules_import(path: Path) -> None:
    scripts = scripts_of(path.stem)
    assert scripts, f"no rule uses {path.name}"
    assert set(pins(path)) - {"python"} == imported(scripts) | RUNTIME.get(path.stem, set())


def test_locks_agree_where_they_overlap() -> None:
    rules, runner = lock("rules.txt") | lock("dev.txt"), lock("runner.txt")
    differing = {name for name in rules.keys() & runner.keys() if rules[name] != runner[name]}
    assert differing == {"numpy", "pyyaml"}, "only what the Slurm plug-in and tiatoolbox cannot agree on may differ"
    assert not lock("rules.txt").keys() & lock("dev.txt").keys()
