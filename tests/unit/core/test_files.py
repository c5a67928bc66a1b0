"""Atomic writes, digests and shards."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pathomix.core.files import atomic_path, content_key, file_digest, shard_of, sweep, write_json, write_text


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "file.txt"
    write_text(target, "old")
    with pytest.raises(RuntimeError), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert [path.name for path in target.parent.iterdir()] == ["file.txt"]


def test_the_temporary_name_keeps_the_suffix(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "table.tsv.gz") as temporary:
        assert temporary.suffix == ".gz"
        assert temporary.parent == tmp_path
    assert (tmp_path / "table.tsv.gz").stat().st_mode & 0o777 == 0o644


def test_the_sweep_takes_what_killed_writers_left_and_nothing_else(tmp_path: Path) -> None:
    kept = [tmp_path / name for name in (
        ".x.verified.json", "x.abcdefgh.writing.json", ".x.abcdefgh.json", ".slide.0123.partial", "x.svs.part",
        "deep/.x.abcdefgh.writing.more.json", "deep/writing.json",
    )]  # fmt: skip
    for path in kept:
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    names = ("table.parquet", "deep/expression.tsv.gz", "deep/er/Makefile", "a.b.json")
    writers = [atomic_path(tmp_path / name) for name in names]
    half = [writer.__enter__() for writer in writers]
    assert sweep(tmp_path) == sorted(half)
    assert not any(path.exists() for path in half)
    assert all(path.exists() for path in kept)
    assert sweep(tmp_path) == sweep(tmp_path / "absent") == []


def test_json_is_independent_of_key_order_and_refuses_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": 2})
    write_json(tmp_path / "b.json", {"a": 2, "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "c.json", {"a": float("nan")})


@given(st.binary(max_size=3000))
def test_digest_equals_hashlib(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("digest") / "file"
    path.write_bytes(content)
    assert file_digest(path) == hashlib.sha256(content).hexdigest()
    assert file_digest(path, "md5") == hashlib.md5(content).hexdigest()


def test_content_key_depends_on_names_and_values_only() -> None:
    assert content_key(a=1, b=[2]) == content_key(b=[2], a=1)
    assert len({content_key(a=1), content_key(b=1), content_key(a=2)}) == 3


def test_shards_are_stable_and_even() -> None:
    ids = [f"TCGA-02-{number:04d}" for number in range(4000)]
    shards = [shard_of(name, 8) for name in ids]
    assert shards == [shard_of(name, 8) for name in ids]
    assert all(400 < shards.count(shard) < 600 for shard in range(8))
    assert shard_of("TCGA-02-0001", 8) == int(hashlib.sha256(b"TCGA-02-0001").hexdigest()[:8], 16) % 8
