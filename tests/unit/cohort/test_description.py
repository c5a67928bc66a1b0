from __future__ import annotations

import pytest
import yaml

from pathomix.cohort.description import canonical, fill, input_paths, parse_description, read_description
from pathomix.core.errors import PathomixError


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("survival.endpoints.OS.time.units", "days", r"endpoints.OS.time.units.*did you mean `unit`"),
        ("clases", "x", r"`clases` is an unknown key \(did you mean `class_label`\?\)|`clases` is an unknown key"),
        ("molecular.expression.scale", "log2", r"`molecular.expression.scale`"),
        ("molecular.expression.path", None, r"`molecular.expression` give either `table`"),
        ("molecular.mutation.suffix", "_mut", r"neither `suffix` nor `remaining`"),
        ("survival.endpoints.OS.time.unit", "months", r"needs `days_per_month`"),
        ("survival.endpoints.OS.time.column", "t", r"give either `column`, or both"),
        ("survival.endpoints.OS.event.censored_values", ["Dead"], r"both `event_values` and `censored_values`"),
        ("survival.endpoints.OS.event.event_values", [True], r"event_values"),
        ("survival.default_endpoint", "DSS", r"one of \['OS'\]"),
        ("patients", "cases", r"'cases' is not one of `tables`"),
        ("splits.mc.folds", [0], r"`splits.mc` give `values`"),
        ("tables.clinical.exclude", [{"column": "a", "reason": "b"}], r"exactly one of `matching`"),
        ("tables.clinical.part_column", "project", r"`part_column` needs `parts`"),
        ("tables.clinical.sample_types", ["01", "11"], r"normal tissue, which never stands in"),
        ("molecular.expression.sample_types", ["11"], r"normal tissue, which never stands in"),
        ("molecular.expression.parts", ["A"], r"`parts` and `\{part\}` in `path` go together"),
        ("class_label.file", "x.yaml", r"`class_label` give either `column` or `file`"),
        ("class_label", {"file": "x.yaml"}, r"a `file` needs `columns`"),
        ("class_label", {"column": "a", "colums": {}}, r"class_label.colums.*did you mean `column"),
        ("survival.default_endpoint", "recommended", r"key `recommended` go together"),
        ("slides.lock", "x", r"a `lock` names its own columns"),
        ("slides", {"table": "slides"}, r"give `table` and `id`, or `lock`"),
        ("pathways.gmt", ["a.gmt"], r"give either `path` and `format`, or `gmt`"),
        ("pathways.select", {}, r"`select` belongs to `gmt`"),
    ],
)
def test_what_is_not_understood_is_refused_by_its_key(study, edit, path, value, message):
    edit(path, value)
    with pytest.raises(PathomixError, match=message):
        read_description(study.write())


def test_not_yaml(tmp_path):
    (tmp_path / "a.yaml").write_text("tables: [")
    with pytest.raises(PathomixError, match=r"a.yaml: cannot be read as YAML"):
        read_description(tmp_path / "a.yaml")
    (tmp_path / "a.yaml").write_text("- 1")
    with pytest.raises(PathomixError, match=r"not a mapping"):
        read_description(tmp_path / "a.yaml")


def test_one_file_per_fold_needs_a_placeholder(study):
    study.description["splits"]["mc"] = {"path": "f.csv", "folds": [0], "parts": {"train": "train"}}
    with pytest.raises(PathomixError, match=r"`\{fold\}` in `path`"):
        parse_description(study.description, "d")


@pytest.mark.parametrize(("value", "code"), [(1, "1"), (1.0, "1"), ("1.0", "1"), (" a ", "a"), ("0.5", "0.5"),
                                             ("inf", "inf"), ("nan", "nan")])  # fmt: skip
def test_codes_compare_as_numbers_where_they_are(value, code):
    assert canonical(value) == code


def test_unknown_placeholder():
    with pytest.raises(PathomixError, match=r"'cohort'.*\['name'\]"):
        fill("{cohort}/a.csv", "path", name="x")


def test_input_paths_are_all_files_of_the_import(study, tmp_path):
    paths = input_paths(read_description(study.write()), "toy", study.folder / "raw")
    assert all(path.is_file() for path in paths.values()) and len(paths) == 6


def test_input_paths_of_the_repository(root, tmp_path):
    description = read_description(root / "config/cohorts/tcga_coadread.yaml")
    paths = input_paths(description, "any", "data", repository=root, locks=tmp_path)
    assert paths["resources/classes/coadread.yaml"].is_file() and paths["resources/endpoints.yaml"].is_file()
    assert paths["locks/tcga_coadread.slides.tsv"] == tmp_path / "tcga_coadread.slides.tsv"
    assert paths["locks/tcga_coadread.slides.yaml"] == tmp_path / "tcga_coadread.slides.yaml"
    assert str(paths["raw/xena/survival/READ_survival.txt"]) == "data/raw/xena/survival/READ_survival.txt"
    own = {"resources/classes/coadread.yaml", "resources/endpoints.yaml", *(k for k in paths if k[:6] == "locks/")}
    # four tables and two tables of clinic and survival per project, aliases, two files of gene sets
    assert len(set(paths) - own) == 5 * 2 + 3


def test_shipped_descriptions_are_valid(root):
    shipped = sorted((root / "config" / "cohorts").glob("*.yaml"))
    assert len(shipped) >= 10
    for path in shipped:
        assert read_description(path).tables, path
        assert yaml.safe_load(path.read_text()), path
