from __future__ import annotations

from pathomix.core.units import read_record, write_record


def test_a_unit_is_kept_as_long_as_key_and_files_agree(tmp_path):
    (tmp_path / "a.txt").write_text("a")
    assert read_record(tmp_path, "key") is None
    record = write_record(tmp_path, "key", ["a.txt"], {"note": 1})
    assert read_record(tmp_path, "key") == record
    assert record["note"] == 1
    assert read_record(tmp_path, "other") is None
    (tmp_path / "a.txt").write_text("b")
    assert read_record(tmp_path, "key") is None
    (tmp_path / "a.txt").unlink()
    assert read_record(tmp_path, "key") is None


def test_a_damaged_record_is_no_record(tmp_path):
    for content in ("", "[]", "{}", '{"key": "key"}', '{"key": "key", "files": []}'):
        (tmp_path / "run.json").write_text(content)
        assert read_record(tmp_path, "key") is None
