"""Records of who was looked at: complete, apart from each other, and never lost in silence."""

from __future__ import annotations

import contextvars
import json
import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pathomix.core.fitting import (
    NO_PART,
    STEPS,
    Fit,
    FittingRecord,
    note_carried,
    note_fitted,
    parts_of_ids,
    recording,
)

PARTS = {"train": ["a", "b", "c"], "valid": ["d"], "test": ["e", "f"]}


def test_a_record_keeps_what_is_noted_inside_its_block_alone() -> None:
    note_fitted("scaler", ["before"])
    with recording() as record:
        note_fitted("scaler", ["a", "b"])
        note_fitted("scaler", iter(["b", "c"]))
        note_fitted("selection", ["d"])
    note_fitted("scaler", ["after"])
    assert record.steps == ("scaler", "selection")
    assert record.ids("scaler") == {"a", "b", "c"}
    assert record.ids("imputation") == frozenset()
    assert record.to_dict() == {"scaler": [["a", "b"], ["b", "c"]], "selection": [["d"]]}


def test_a_record_ends_with_its_block_also_by_an_error() -> None:
    with pytest.raises(KeyError), recording() as record:
        raise KeyError
    note_fitted("scaler", ["a"])
    assert record.steps == ()


def test_nested_records_add_to_the_outer_one() -> None:
    with recording() as outer:
        note_fitted("scaler", ["a"])
        with recording() as inner:
            note_fitted("scaler", ["b"])
        note_fitted("sampler", ["c"])
    assert inner.to_dict() == {"scaler": [["b"]]}
    assert outer.to_dict() == {"sampler": [["c"]], "scaler": [["a"], ["b"]]}


def test_runs_in_different_threads_are_apart() -> None:
    barrier = threading.Barrier(4)

    def run(name: str) -> dict[str, list[list[str]]]:
        with recording() as record:
            barrier.wait()
            note_fitted("scaler", [name])
            barrier.wait()
        return record.to_dict()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(run, "abcd")) == [{"scaler": [[name]]} for name in "abcd"]


def test_a_worker_thread_in_the_context_of_the_run_writes_to_its_record() -> None:
    with recording() as record:
        worker = threading.Thread(target=contextvars.copy_context().run, args=(note_fitted, "scaler", ["a"]))
        worker.start()
        worker.join()
    assert record.ids("scaler") == {"a"}


def test_a_forked_worker_is_refused_unless_it_keeps_a_record_of_its_own() -> None:
    read, write = os.pipe()
    with recording() as record:
        note_fitted("scaler", ["a"])
        child = os.fork()
        if not child:
            try:
                note_fitted("scaler", ["lost"])
                answer = "silent"
            except RuntimeError as error:
                with recording() as own:
                    note_fitted("scaler", ["b"])
                answer = json.dumps([str(error), own.to_dict()])
            os.write(write, answer.encode())
            os._exit(0)
        os.waitpid(child, 0)
    os.close(write)
    with os.fdopen(read) as stream:
        message, sent = json.loads(stream.read())
    assert "merge it" in message
    record.merge(FittingRecord.from_dict(sent))
    assert record.ids("scaler") == {"a", "b"}


def test_unknown_steps_are_refused_with_and_without_a_record() -> None:
    with pytest.raises(ValueError, match="unknown step 'scalar'"):
        note_fitted("scalar", ["a"])
    with pytest.raises(ValueError, match="unknown step"):
        FittingRecord().note("scalar", ["a"])


@given(st.dictionaries(st.sampled_from(sorted(STEPS)), st.lists(st.frozensets(st.text("abc", max_size=2)), min_size=1)))
def test_records_survive_json_and_merging(content: dict[str, list[frozenset[str]]]) -> None:
    record, twice = FittingRecord(), FittingRecord()
    for step, found in content.items():
        for ids in found:
            record.note(step, ids)
    again = FittingRecord.from_dict(json.loads(json.dumps(record.to_dict())))
    assert again.to_dict() == record.to_dict()
    assert pickle.loads(pickle.dumps(record)).to_dict() == record.to_dict()
    twice.merge(record)
    twice.merge(again)
    assert twice.to_dict() == record.to_dict()
    assert all(record.ids(step) == frozenset().union(*found) for step, found in content.items())


def test_summary_counts_distinct_patients_and_names_their_parts() -> None:
    record = FittingRecord()
    record.note("scaler", ["c", "a"])
    record.note("scaler", ["a", "d"])
    other = FittingRecord()
    other.note("scaler", ["d", "c", "a"])
    found, same = record.summary(PARTS)["scaler"], other.summary(PARTS)["scaler"]
    assert (found["patients"], found["parts"]) == (3, ["train", "valid"])
    assert found == same  # the digest is of the patients, however often and in whatever order they were seen
    other.note("scaler", ["z"])
    assert other.summary(PARTS)["scaler"]["parts"] == ["train", "valid", NO_PART]
    assert other.summary(PARTS)["scaler"]["digest"] != found["digest"]
    assert parts_of_ids([], PARTS) == ()


def test_what_an_artefact_carries_joins_the_record() -> None:
    class Texts:
        fitting = FittingRecord()

    Texts.fitting.note("text_bins", ["a"])
    with recording() as record:
        note_carried(Texts())
        note_carried(None)
    assert record.ids("text_bins") == {"a"}


def fit(step: str, ids: str, **more: object) -> Fit:
    record = FittingRecord()
    record.note(step, ids)
    return Fit("row", record, {**PARTS, "held_out": ["g"]}, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("step", "ids", "joined", "beyond"),
    [
        ("scaler", "abc", False, ""),
        ("scaler", "abcd", False, "d"),
        ("scaler", "abcd", True, ""),
        ("scaler", "abcde", True, "e"),
        ("scaler", "az", True, "z"),
        ("selection", "abcd", False, ""),
        ("selection", "de", False, "e"),
        ("risk_scale", "d", False, ""),
        ("vectors", "ad", False, ""),
        ("vectors", "ae", False, "e"),
        ("text_bins", "abg", False, ""),
        ("text_bins", "abd", False, "d"),
        ("scaler", "abg", False, "g"),
    ],
)
def test_what_a_step_may_see(step: str, ids: str, joined: bool, beyond: str) -> None:
    found = fit(step, ids, fitted_parts=("train", "valid") if joined else ("train",)).beyond()
    assert found == ({step: frozenset(beyond)} if beyond else {})


def test_facts_say_what_was_declared_and_what_was_inherited() -> None:
    plain = fit("scaler", "abc").facts()
    assert list(plain) == ["fitted_on"]
    inherited = {"text_bins": {"setting": "bins_from: all", "patients": 3, "parts": ["test"]}}
    found = fit("scaler", "abcef", declared={"scaler": "standardise_on: all", "imputation": "x"}, inherited=inherited)
    assert found.facts()["leak_declared"] == {
        "scaler": {"setting": "standardise_on: all", "patients": 2, "parts": ["test"]},
        "vectors.text_bins": inherited["text_bins"],
    }
    assert list(fit("scaler", "abce").facts()) == ["fitted_on"]  # not declared: nothing to excuse it
