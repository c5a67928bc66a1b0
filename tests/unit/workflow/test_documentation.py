"""What the documentation shows is true: its example parses, every key is explained, every path exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from pathomix.cohort.description import parse_description
from pathomix.methods.registry import METHODS
from pathomix.representations.registry import REPRESENTATIONS


def test_the_smallest_description_is_understood(root: Path) -> None:
    example = re.search(r"```yaml\n(.*?)```", (root / "config/README.md").read_text(), re.DOTALL)
    assert example
    parsed = parse_description(yaml.safe_load(example.group(1)), "config/README.md")
    assert parsed.survival is not None
    assert parsed.survival.default_endpoint == "OS"


def test_every_configuration_key_is_explained(root: Path) -> None:
    schema = yaml.safe_load((root / "config/schemas/config.schema.yaml").read_text())
    text = (root / "config/README.md").read_text()
    studies = schema["properties"]["studies"]["additionalProperties"]["properties"]
    forms = schema["properties"]["cohorts"]["additionalProperties"]["oneOf"]
    cohorts = [key for form in forms for key in form["properties"]]
    explained = schema["properties"]["explanations"]["additionalProperties"]["properties"]
    nested = [key for section in ("slides", "acquire") for key in schema["properties"][section]["properties"]]
    for key in [*schema["properties"], *studies, *cohorts, *explained, *nested]:
        assert re.search(rf"`(\w+\.)?{key}\b", text), f"{key} is not explained in config/README.md"


@pytest.mark.parametrize("page", ["README.md", "config/README.md", "results/README.md", "resources/README.md"])
def test_links_lead_somewhere(root: Path, page: str) -> None:
    folder = (root / page).parent
    for target in re.findall(r"\]\(([^)#:]+)\)", (root / page).read_text()):
        assert (folder / target).exists(), f"{page}: {target}"


def test_every_method_and_representation_is_used_in_a_configuration(root: Path) -> None:
    configurations = [
        yaml.safe_load((root / f"config/{name}.yaml").read_text()) for name in ("demo", "config", "published_tables")
    ]
    assert {entry["method"] for c in configurations for entry in c["methods"].values() if "method" in entry} == set(
        METHODS
    )
    used = {entry["representation"] for c in configurations for entry in c.get("representations", {}).values()}
    assert used == set(REPRESENTATIONS)
