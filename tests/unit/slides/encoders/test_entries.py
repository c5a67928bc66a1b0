"""Entries of the configuration: laid over what is registered, refused in time, and read without torch."""

import subprocess
import sys

import pytest

from pathomix.core.errors import PathomixError
from pathomix.slides.encoders.entries import check_entry, modules_of, names, resolve, spec_of, tiling_of

GATED = ["conch_v1_5", "gigapath", "h_optimus_0", "uni", "uni2_h", "virchow", "virchow2"]
OPEN = ["gpfm", "midnight_12k", "phikon_v2", "resnet50", "t2t_vit_14"]


def test_the_registry_is_that_of_the_issue():
    assert names() == sorted([*GATED, *OPEN, "demo", "timm"])
    assert [name for name in names() if spec_of(name).gated] == GATED


@pytest.mark.parametrize("name", [*GATED, *OPEN])
def test_a_line_names_its_own_encoder_whole(name):
    spec = spec_of(name)
    assert spec.parameters.model == name
    assert spec.title and spec.hub and spec.file and spec.licence and spec.dim
    assert resolve(name, {"model": name, "weights": "w"}).weights == "w"


@pytest.mark.parametrize("name", [*GATED, *OPEN])
def test_without_weights_a_user_is_told_where_they_are(name):
    with pytest.raises(PathomixError, match="no weights of") as error:
        check_entry("mine", {"model": name})
    spec = spec_of(name)
    for part in (spec.address, spec.licence, spec.file, "encoders.mine.weights", f"{{data}}/weights/{name}/"):
        assert part in error.value.remedy
    assert ("ask its authors" in error.value.remedy) == spec.gated
    assert ("pretrained" in error.value.remedy) == (name == "resnet50")


def test_random_weights_are_for_those_who_ask_for_them():
    assert resolve("a", {"model": "demo"}).seed == 0
    assert resolve("a", {"model": "timm", "timm": "resnet18", "tile_size": 8, "mpp": 1}).seed == 0
    assert resolve("a", {"model": "gigapath", "seed": 4}).seed == 4
    assert resolve("a", {"model": "demo", "weights": "w.pth"}).seed is None
    assert resolve("a", {"model": "resnet50", "pretrained": True}).seed is None


def test_values_are_laid_over_the_registered_ones():
    mine = resolve("a", {"model": "virchow2", "weights": "w", "model_args": {"depth": 3}, "pooling": "cls", "mpp": 1})
    theirs = spec_of("virchow2").parameters
    assert mine.model_args == {**theirs.model_args, "depth": 3} and theirs.model_args["depth"] == 32
    assert (mine.pooling, mine.mpp, mine.input_size) == ("cls", 1, 224)
    assert resolve("a", {"model": "demo", "stages": [1]}).stages == (1,)


@pytest.mark.parametrize(
    ("name", "tiling"),
    [
        ("gigapath", (256, 0.5)),
        ("conch_v1_5", (512, 0.5)),
        ("uni2_h", (256, 0.5)),
        ("virchow2", (224, 0.5)),
        ("gpfm", (512, 0.25)),
        ("demo", (64, 2.0)),
    ],
)
def test_tilings(name, tiling):
    assert tiling_of({"model": name, "weights": "w"}) == tiling
    assert tiling_of({"model": name, "weights": "w", "tile_size": 100}) == (100, tiling[1])


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({}, "unknown tile encoder None.*encoders.mine.model"),
        ({"model": "gigapth"}, "unknown tile encoder 'gigapth'.*'gigapath'"),
        ({"model": "demo", "batch_size": 64}, "unknown parameters: batch_size"),
        ({"model": "demo", "input_size": "64"}, "input_size is '64'"),
        ({"model": "uni", "weights": "w", "model_args": [1]}, "model_args is"),
        ({"model": "uni", "weights": "w", "timm": "resnet18"}, "uni is vit_large_patch16_224 of timm, not resnet18"),
        ({"model": "t2t_vit_14", "weights": "w", "timm": "resnet18"}, "no model of timm"),
        ({"model": "uni", "pretrained": True}, "timm has no weights of uni"),
        ({"model": "timm", "tile_size": 64, "mpp": 0.5}, "names no architecture"),
        ({"model": "timm", "timm": "resnet18"}, "tile_size, mpp and input_size must be positive"),
        ({"model": "demo", "seed": 1, "weights": "w"}, "exclude each other"),
    ],
)
def test_what_no_encoder_can_be_built_from_is_refused(entry, message):
    with pytest.raises(PathomixError, match=message):
        check_entry("mine", entry)


def test_the_plan_needs_no_torch():
    code = (
        "import sys; from pathomix.slides.encoders import entries, describe; "
        "[entries.tiling_of({'model': n, 'weights': 'w'}) for n in entries.names() if n != 'timm']; describe.page(); "
        "entries.modules_of({'model': 'conch_v1_5'}); "
        "print(sorted({'torch', 'timm', 'numpy', 'pathomix.nn'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"


def test_modules_are_those_that_are_imported(root):
    """The digest of a job's code covers them; of another encoder's file it knows nothing."""
    modules = modules_of({"model": "conch_v1_5"})
    assert {module.rpartition(".")[2] for module in modules} == {"mahmood", "conch", "attentional_pooler"}
    for name in names():
        for module in modules_of({"model": name}):
            assert root.joinpath("src", *module.split(".")).with_suffix(".py").is_file()
