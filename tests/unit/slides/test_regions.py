"""Cutting regions: the right place at every scale, most tissue, no overlap, quarantine, stain."""

from __future__ import annotations

import json
from types import SimpleNamespace

import h5py
import numpy as np
import pandas as pd
import pytest
import shapely
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from shapely.geometry import Point, box

from pathomix.core.errors import PathomixError
from pathomix.core.provenance import Provenance
from pathomix.core.schemas import SLIDE_INDEX
from pathomix.core.tables import write_table
from pathomix.slides.outlines import write_outlines
from pathomix.slides.region_store import CohortRegions, read_index
from pathomix.slides.regions import RegionParameters, choose_regions, cut_regions, stain_normaliser
from pathomix.slides.scale import Scale
from pathomix.slides.segment import segment_shard

SIDE_UM = 512
SQUARE_UM = (300, 140, 32)  # left, top, edge of the drawn square


def drawing(mpp):
    """Red tells x and green y in units of 2 µm; a blue square lies at a known place."""
    x, y = np.meshgrid(*(2 * [(np.arange(round(SIDE_UM / mpp)) + 0.5) * mpp]))
    left, top, edge = SQUARE_UM
    inside = (x > left) & (x < left + edge) & (y > top) & (y < top + edge)
    return np.stack([x / 2, y / 2, np.where(inside, 255, 0)], axis=-1).astype(np.uint8)


class Bench:
    """A results folder as the tissue stage leaves it, with outlines of our choice, and the cutting of its slides."""

    def __init__(self, root, results, slide_table, write_slide):
        self.root, self.results, self.slide_table, self.write_slide = root, results, slide_table, write_slide
        self.files, self.rows = {}, []

    def slide(self, name, mpp, tissue_um, image=None, levels=1, **row):
        self.write_slide(self.root / f"{name}.tiff", drawing(mpp) if image is None else image, mpp, levels)
        folder = self.results / "slides" / name
        folder.mkdir(parents=True)
        write_outlines(folder / "tissue.geojson", [shapely.transform(part, lambda p: p / mpp) for part in tissue_um])
        (folder / "qc.json").write_text(json.dumps({"mpp_x": mpp, "mpp_y": mpp, "mpp_source": "header"}))
        return self.row(name, **row)

    def row(self, name, **row):
        self.files[name] = f"{name}.tiff"
        given = {"slide_id": name, "patient_id": f"P-{name}", "status": "done", **row}
        self.rows.append({**dict.fromkeys(SLIDE_INDEX.columns), **given})
        return self.results / "slides" / name

    def cut(self, lost=1.0, **parameters):
        slides = self.slide_table(self.files)
        frame = pd.DataFrame(self.rows, columns=list(SLIDE_INDEX.columns))
        shards = [self.results / f"tissue-{k}.parquet" for k in range(2)]
        for k, path in enumerate(shards):
            write_table(frame.iloc[k::2], SLIDE_INDEX, path, Provenance("tissue_index"))
        chosen = {"size": 128, "mpp": 1.0, "per_slide": 1, **parameters}
        self.output, self.quarantine = self.results / "regions.h5", self.results / "regions.quarantine.tsv"
        cut_regions(shards, slides, self.root, "r", chosen, lost, self.results, self.output, self.quarantine)
        return SimpleNamespace(
            store=CohortRegions(self.output), bad=pd.read_csv(self.quarantine, sep="\t").set_index("slide_id")
        )


@pytest.fixture
def bench(tmp_path, slide_table, kit):
    (tmp_path / "raw").mkdir()
    return Bench(tmp_path / "raw", tmp_path / "R", slide_table, kit.write_slide)


@pytest.mark.parametrize("target", [0.5, 1.0, 1.5])
def test_a_drawn_square_is_at_its_place_whatever_the_scale_of_the_slide(bench, target):
    size = round(128 / target / 4) * 4  # a multiple of the four steps of the grid
    edge = size * target
    corner = edge * 2 / 4 * np.array([4, 1])  # a place of the grid, and the only one full of tissue
    tissue = [box(*corner, *(corner + edge))]
    bases = [base for base in (0.25, 0.5, 1.0) if base <= target]
    for base in bases:
        bench.slide(f"s{base}", base, tissue)
        bench.slide(f"pyramid{base}", base, tissue, levels=2)
    store = bench.cut(size=size, mpp=target, min_tissue=0.99).store
    for patient in store.patient_ids:
        (image,) = store.of(patient).images.astype(float)
        x, y = np.meshgrid(*((np.arange(size) + 0.5) * target + start for start in corner))
        far = np.ones((size, size), dtype=bool)  # the square's outline blurs
        for axis, start in ((x, SQUARE_UM[0]), (y, SQUARE_UM[1])):
            for line in (start, start + SQUARE_UM[2]):
                far &= np.abs(axis - line) > 2 * target
        left, top, width = SQUARE_UM
        inside = (x > left) & (x < left + width) & (y > top) & (y < top + width)
        assert np.abs(image[..., 0] - x / 2).max() < 1.5 and np.abs(image[..., 1] - y / 2).max() < 1.5
        assert inside.sum() * target**2 > 500 and (image[inside & far, 2] == 255).all()
        assert (image[~inside & far, 2] == 0).all()
    with h5py.File(bench.output) as file:
        base = np.array([float(name.removeprefix("s").removeprefix("pyramid")) for name in file["slide_ids"].asstr()])
        np.testing.assert_allclose(file["coords"][:] * base[:, None], np.tile(corner, (len(base), 1)), atol=0.5)
    assert len(store.patient_ids) == 2 * len(bases)


def test_real_tissue_gives_the_same_regions_at_two_scales(zoo, slide_table, tmp_path, kit):
    """The same slide scanned at 0.25 and 0.5 µm, through the tissue stage."""
    stacks = []
    for name in ("fine", "coarse_one_level"):
        results, table = tmp_path / name, slide_table({"a": f"{name}.tiff"})
        segment_shard(table, zoo, 0, 1, kit.tissue, results, results / "t.parquet")
        parameters = {"size": 64, "mpp": 1.0, "per_slide": 4}
        output = results / "r.h5"
        cut_regions([results / "t.parquet"], table, zoo, "r", parameters, 0, results, output, results / "q.tsv")
        stacks.append(CohortRegions(output).of("P-a").images.astype(float))
    assert stacks[0].shape == (4, 64, 64, 3)
    assert np.abs(stacks[0] - stacks[1]).mean() < 1 and stacks[0].std() > 20


def blobs(values):
    return shapely.union_all([Point(x, y).buffer(radius) for x, y, radius in values])


circles = st.lists(st.tuples(st.integers(0, 900), st.integers(0, 700), st.integers(20, 250)), min_size=1, max_size=4)


@given(values=circles, per_slide=st.integers(1, 6), least=st.sampled_from([0.1, 0.5, 0.9]), size=st.integers(90, 200))
@settings(max_examples=60, deadline=None)
def test_chosen_regions_against_brute_force(values, per_slide, least, size):
    """Inside, apart, full enough, the fullest first, and none left out while there is room."""
    canvas = (900, 700)
    tissue = blobs(values)
    chosen = RegionParameters(size=size, mpp=1.0, per_slide=per_slide, min_tissue=least)
    corners = choose_regions(tissue, Scale(1.0, 1.0, "table"), canvas, chosen, "s").tolist()
    step = size // 4
    places = [(x, y) for x in range(0, canvas[0] - size + 1, step) for y in range(0, canvas[1] - size + 1, step)]
    share = {(x, y): tissue.intersection(box(x, y, x + size, y + size)).area / size**2 for x, y in places}
    good = {place for place in places if share[place] >= least}

    def apart(a, b):
        return abs(a[0] - b[0]) >= size or abs(a[1] - b[1]) >= size

    corners = [tuple(corner) for corner in corners]
    assert set(corners) <= good and len(corners) <= per_slide
    for k, corner in enumerate(corners):
        left = [place for place in good if all(apart(place, other) for other in corners[:k])]
        assert corner in left and round(share[corner], 2) >= max(round(share[place], 2) for place in left) - 1e-9
    if len(corners) < per_slide:
        assert not [place for place in good if all(apart(place, corner) for corner in corners)]


def test_equal_places_are_chosen_by_seed_and_slide_and_by_nothing_else():
    tissue, scale = box(0, 0, 4000, 4000), Scale(0.5, 0.5, "table")

    def corners(slide="s", factor=1, **changes):
        chosen = RegionParameters(**{"size": 100, "mpp": 1.0, "per_slide": 5, **changes})
        place = choose_regions(
            shapely.transform(tissue, lambda p: p * factor),
            Scale(scale.x / factor, scale.y / factor, "table"),
            (4000 * factor, 4000 * factor),
            chosen,
            slide,
        )
        return (place / factor).tolist()

    assert corners() == corners() == corners(factor=2)
    assert corners(slide="other") != corners() != corners(seed=1)
    assert corners(per_slide=3) == corners()[:3]
    many = np.array(corners(per_slide=40))  # not crowded in one corner of the slide
    assert (many.max(axis=0) - many.min(axis=0) > 2500).all()


def test_bad_slides_are_quarantined_and_the_others_go_on(bench):
    whole = [box(0, 0, 512, 512)]
    bench.slide("good", 0.5, whole)
    bench.slide("small", 1.0, [box(0, 0, 90, 90)], image=drawing(1.0)[:100, :100])
    bench.slide("thin", 1.0, [box(10, 0, 40, 512)])
    bench.slide("coarse", 2.0, whole, image=drawing(2.0))
    (bench.slide("no_scale", 1.0, whole) / "qc.json").write_text("{}")
    (bench.slide("edited", 1.0, whole) / "tissue.geojson").write_text("{")
    bench.slide("gone", 1.0, whole)
    (bench.root / "gone.tiff").unlink()
    bench.slide("torn", 0.5, [box(128, 128, 256, 256)])
    with tifffile.TiffFile(bench.root / "torn.tiff") as file:
        offset, count = file.pages[0].dataoffsets[5], file.pages[0].databytecounts[5]
    with (bench.root / "torn.tiff").open("r+b") as stream:  # row 1, column 1 of 4 x 4 native tiles
        stream.seek(offset)
        stream.write(b"\0" * count)
    bench.row("early", status="quarantined", reason="tissue: early.tiff: no tissue; leave it out")
    result = bench.cut(lost=0.9)
    assert result.store.patient_ids == {"P-good"}
    reasons = {
        "small": "small: no square of 128 µm inside the slide has 50% tissue",
        "thin": "thin: no square of 128 µm inside the slide has 50% tissue",
        "coarse": "coarse.tiff: its pixels are 2.00 times coarser",
        "no_scale": "run segment_tissue again",
        "edited": "not a GeoJSON",
        "gone": "no such file",
        "torn": "torn.tiff: reading 256 x 256 pixels of level 0 at (256, 256) failed",
        "early": "early.tiff: no tissue; leave it out",
    }
    assert set(result.bad.index) == set(reasons)
    for slide, reason in reasons.items():
        assert reason in result.bad.loc[slide, "reason"], slide
        assert result.bad.loc[slide, "stage"] == ("tissue" if slide == "early" else "regions")
        assert result.bad.loc[slide, "patient_id"] == f"P-{slide}"


def test_losing_too_many_patients_is_an_error_and_leaves_no_file(bench):
    bench.slide("good", 1.0, [box(0, 0, 512, 512)])
    bench.slide("thin", 1.0, [box(10, 0, 40, 512)])
    with pytest.raises(PathomixError, match=r"1 of 2 patients have no region.*: P-thin"):
        bench.cut(lost=0.4)
    assert not bench.output.exists() and not bench.quarantine.exists()
    bench.rows[1]["patient_id"] = "P-good"  # the tissue index knows the patient by another slide
    assert bench.cut(lost=0.5).store.patient_ids == {"P-good"}


def test_a_slide_with_room_for_fewer_gives_fewer_and_names_go_by_slide(bench):
    bench.slide("b", 0.5, [box(0, 0, 300, 150)])
    bench.slide("a", 0.5, [box(0, 0, 512, 512)])
    store = bench.cut(per_slide=5).store
    assert store.of("P-a").region_ids == tuple(f"a_{k}" for k in range(1, 6))
    assert 1 <= len(store.of("P-b").images) <= 2
    table, _ = read_index(bench.output)
    assert table["slide_id"].is_monotonic_increasing
    with h5py.File(bench.output) as file:
        provenance = json.loads(file.attrs["pathomix"])
    assert provenance["artifact"] == "regions" and provenance["parameters"]["per_slide"] == 5
    assert set(provenance["inputs"]) == {"slides", "tissue-0", "tissue-1"}
    first = bench.output.read_bytes()
    bench.cut(per_slide=5)
    assert bench.output.read_bytes() == first


def test_a_slide_that_no_shard_has_is_an_error(bench):
    bench.slide("a", 1.0, [box(0, 0, 512, 512)])
    bench.files["b"] = "a.tiff"
    with pytest.raises(PathomixError, match="differ: b; run segment_tissue"):
        bench.cut()


@pytest.mark.parametrize(
    ("parameters", "match"),
    [
        ({"sise": 3}, r"unknown keys in regions\.r: sise"),
        ({"stain": "pink"}, r"regions\.r\.stain is 'pink'.*macenko"),
        ({"stain_target": "x.png"}, "stain_target needs a stain"),
        ({"per_slide": 0}, "per_slide"),
        ({"min_tissue": 0}, "min_tissue"),
        ({"size": 3}, "size must be at least 4"),
        ({"mpp": 0.0}, "mpp positive"),
    ],
)
def test_wrong_parameters_are_refused(bench, parameters, match):
    bench.slide("a", 1.0, [box(0, 0, 512, 512)])
    with pytest.raises(PathomixError, match=match):
        bench.cut(**parameters)


def mixture(haematoxylin, eosin, seed=0):
    """64 pixels of two stains of given optical densities per channel, by the law of Beer and Lambert."""
    rng = np.random.default_rng(seed)
    nuclei = rng.gamma(1.5, 0.35, (64, 64)) * (rng.random((64, 64)) < 0.7)
    amounts = np.stack([nuclei, rng.gamma(2.0, 0.25, (64, 64))], axis=-1)
    stains = np.array([haematoxylin, eosin])
    light = np.exp(-amounts @ (stains / np.linalg.norm(stains, axis=1, keepdims=True)))
    return np.clip(np.rint(255 * light), 0, 255).astype(np.uint8)


@pytest.fixture
def mixtures(tmp_path):
    """The same amounts of stain in two laboratories, and the file of the first."""
    target = mixture((0.65, 0.70, 0.29), (0.07, 0.99, 0.11))
    Image.fromarray(target).save(tmp_path / "target.png")
    return target, mixture((0.55, 0.78, 0.30), (0.20, 0.90, 0.35)), str(tmp_path / "target.png")


def distance(a, b):
    return np.abs(a.astype(float) - b).mean()


@pytest.mark.slow  # importing tiatoolbox takes a minute on a busy machine
@pytest.mark.parametrize(("stain", "share"), [("macenko", 0.1), ("reinhard", 0.6)])
def test_the_same_tissue_in_another_laboratorys_stain_becomes_the_target(mixtures, stain, share):
    target, other, path = mixtures
    result = stain_normaliser(RegionParameters(stain=stain, stain_target=path))(other)
    assert result.dtype == np.uint8 and distance(result, target) < share * distance(other, target)
    default = stain_normaliser(RegionParameters(stain=stain))(other)
    assert distance(default, target) > distance(result, target)


@pytest.mark.slow
@pytest.mark.parametrize("stain", ["macenko", "vahadane", "reinhard"])
def test_normalising_leaves_its_input_and_the_global_generator_alone(mixtures, stain):
    _, other, path = mixtures
    other[0, 0] = 0  # tiatoolbox lifts black pixels where they stand
    given, state = other.copy(), np.random.get_state()[1].copy()
    other.flags.writeable = False
    stain_normaliser(RegionParameters(stain=stain, stain_target=path))(other)
    np.testing.assert_array_equal(other, given)
    assert (np.random.get_state()[1] == state).all()


@pytest.mark.slow
def test_what_dictionary_learning_draws_is_the_same_in_every_run(mixtures):
    amounts = np.random.default_rng(0).gamma(2, 0.3, (64, 64, 1))  # of one stain: the second is drawn
    image = np.rint(255 * np.exp(-amounts * np.array([0.07, 0.99, 0.11]))).astype(np.uint8)
    normalise = stain_normaliser(RegionParameters(stain="vahadane", stain_target=mixtures[2]))
    results = []
    for seed in range(4):
        np.random.seed(seed)
        results.append(normalise(image))
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


@pytest.mark.slow
@pytest.mark.parametrize("stain", ["macenko", "reinhard"])
def test_an_image_without_stain_is_an_error_not_a_black_region(stain):
    with pytest.raises(PathomixError, match=f"its stain cannot be normalised by {stain}"):
        stain_normaliser(RegionParameters(stain=stain))(np.full((64, 64, 3), 255, dtype=np.uint8))


@pytest.mark.slow
@pytest.mark.parametrize("content", [None, b"no image", "white"])
def test_a_target_that_cannot_be_used_is_named(tmp_path, content):
    path = tmp_path / "target.png"
    if content == "white":
        Image.fromarray(np.full((64, 64, 3), 255, dtype=np.uint8)).save(path)
    elif content:
        path.write_bytes(content)
    with pytest.raises(PathomixError, match=r"stain target .*target\.png: cannot be used"):
        stain_normaliser(RegionParameters(stain="macenko", stain_target=str(path)))


@pytest.mark.slow
def test_the_stain_reaches_the_regions_and_the_target_the_lineage(bench, mixtures):
    _, other, path = mixtures
    bench.slide("a", 1.0, [box(0, 0, 64, 64)], image=other)
    settings = {"stain": "macenko", "stain_target": path}
    plain, normal = (
        bench.cut(size=64, min_tissue=0.99, **changes).store.of("P-a").images[0] for changes in ({}, settings)
    )
    np.testing.assert_array_equal(plain, other)
    np.testing.assert_array_equal(normal, stain_normaliser(RegionParameters(**settings))(other))
    with h5py.File(bench.output) as file:
        assert "stain_target" in json.loads(file.attrs["pathomix"])["inputs"]
        assert file["images"].attrs["stain"] == "macenko"
