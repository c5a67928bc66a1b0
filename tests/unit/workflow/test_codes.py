"""Digests are those of `script_digest`, computed once per question."""

from __future__ import annotations

from pathlib import Path

import pytest

from pathomix.workflow import codes
from pathomix.workflow.codes import Codes
from pathomix.workflow.digest import script_digest


def test_one_question_one_answer(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def counted(*arguments: object) -> str:
        asked.append(arguments)
        return script_digest(*arguments)

    monkeypatch.setattr(codes, "script_digest", counted)
    prompts = root / "resources" / "prompts.yaml"
    questions = [
        ("make_tables", (), ()),
        ("write_texts", (), ()),
        ("write_texts", {"pathomix.text.hashing"}, ()),
        ("write_texts", {"pathomix.text.hashing", "pathomix.text.bert"}, ()),
        ("write_texts", {"pathomix.text.hashing"}, (prompts,)),
    ]
    known = Codes(root)
    for _ in range(3):
        found = [known.digest(*question) for question in questions]
        assert found == [script_digest(root, *question) for question in questions]
    assert len(asked) == len(questions)
    # The order in which modules are named says nothing.
    known.digest("write_texts", ["pathomix.text.bert", "pathomix.text.hashing"])
    assert len(asked) == len(questions)


def test_another_plan_sees_what_was_edited(tmp_path: Path) -> None:
    script = tmp_path / "workflow_scripts" / "some.py"
    script.parent.mkdir()
    (tmp_path / "src" / "pathomix").mkdir(parents=True)
    script.write_text("x = 1\n")
    first = Codes(tmp_path)
    before = first.digest("some")
    script.write_text("x = 23\n")
    assert first.digest("some") == before
    assert Codes(tmp_path).digest("some") != before
