from __future__ import annotations

import pytest
import yaml

from pathomix.core.errors import PathomixError
from pathomix.text.wording import read_wording


def test_values_of_a_field_have_different_words(wording) -> None:
    for words in wording.values.values():
        assert len(set(words.values())) == len(words)


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        (lambda c: c["values"]["t"].pop("T2"), "`values.t` needs exactly"),
        (lambda c: c["values"]["n"].update(N4="four"), "`values.n` needs exactly"),
        (lambda c: c["labels"].pop("m"), "`labels` needs exactly"),
        (lambda c: c["survival"].update(first="patient {who}"), "`survival.first` needs exactly the placeholders"),
        (lambda c: c["values"].update(grade={}), "`values` needs exactly"),
        (lambda c: c.update(colour="red"), "colour"),
        (lambda c: c["endpoints"]["OS"].pop("free"), "endpoints.OS.free"),
        (lambda c: c.pop("version"), "version"),
    ],
)
def test_an_incomplete_wording_is_refused(wording_path, tmp_path, change, fact) -> None:
    content = yaml.safe_load(wording_path.read_text())
    change(content)
    (tmp_path / "w.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(PathomixError, match=fact):
        read_wording(tmp_path / "w.yaml")


def test_what_is_no_yaml(tmp_path) -> None:
    (tmp_path / "w.yaml").write_text("a: [")
    for path in (tmp_path / "w.yaml", tmp_path / "absent.yaml"):
        with pytest.raises(PathomixError, match="cannot be read as YAML"):
            read_wording(path)
