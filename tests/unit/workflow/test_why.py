"""Reasons in words: what changed, by name, in the job itself or further up."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pathomix import why as command
from pathomix.core.errors import PathomixError
from pathomix.workflow.digest import Entries, Records, code_digest
from pathomix.workflow.dry_run import Job
from pathomix.workflow.made import METADATA
from pathomix.workflow.why import causes_of, own_reasons, sentence

PARAMS = "Params have changed since last execution: Union of exclusive params before and now across all output: "
SOFTWARE = "Software environment definition has changed since last execution"
OLD = """python fit.py --threads 1 --parameters '{"a":{"b":[1,2],"c":true}}' --seeds 0 --token x --index r/cv"""
JOB = Job("fit", ("r/a", "r/b"), ("r/cv",), command=OLD.replace("--seeds 0", "--seeds 0,1"), wildcards="method=snn")
RULES = """rule other:
    conda:
        "../envs/other.yaml"
    shell: "x"


rule fit:
    input: "a"

    conda:
        "../envs/fit.yaml"
    shell:
        "python fit.py"


rule last:
    conda:
        "../envs/last.yaml"
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with one script, one module, rules, and the record of one file."""
    for name, text in {
        "workflow_scripts/fit.py": "from pathomix.loss import loss\n",
        "src/pathomix/__init__.py": "",
        "src/pathomix/loss.py": "SCALE = 1\n\n\ndef loss(x):\n    return x\n\n\ndef other(x):\n    return x\n",
        "src/pathomix/more.py": "",
        "rules/fit.smk": RULES,
        "envs/fit.yaml": "dependencies:\n  - python =3.11\n  - numpy =2\n",
        "r/a": "a",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    record = {
        "input": ["r/a", "r/old"],
        "shellcmd": OLD,
        "conda_env": base64.b64encode(b"dependencies:\n  - python =3.11\n  - numpy =1\n").decode(),
        "input_checksums": {"r/a": f"sha256:{hashlib.sha256(b'before').hexdigest()}"},
    }
    path = tmp_path / METADATA / base64.urlsafe_b64encode(b"r/cv").decode()
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(record))
    return tmp_path


def told(root: Path, reason: str, job: Job = JOB) -> list[str]:
    return list(own_reasons(replace(job, reason=reason), root, "r"))


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("Missing output files: r/cv, r/x", ["r/cv, r/x is not there"]),
        ("Incomplete output files: r/cv", ["its last run did not finish r/cv"]),
        ("Forced execution", ["it is forced"]),
        ("Updated input files: r/a, r/b",
         ["the content of input r/a changed", "input r/b is newer than what was made of it"]),
        ("Input files updated by another job: r/b", []),
        ("Set of input files has changed since last execution",
         ["r/b is new among its inputs; r/old is no longer among its inputs"]),
        ("Code has changed since last execution", ["the command of rule fit changed in rules/fit.smk"]),
        (SOFTWARE, ["envs/fit.yaml: numpy =1 is gone, numpy =2 is new"]),
        (f"{PARAMS}before: '0' now: '0,1' ", ["seeds: 0 → 0,1"]),
        (f"{PARAMS}before: 'x' now: <nothing exclusive> ", ["token: x → nothing"]),
        (f"{PARAMS}before: 'gone' now: 'unseen' ", ["parameter: gone → unseen"]),
        (f"{PARAMS}before: '--features r/a' now: '' ", ["features: r/a → nothing"]),
        (f"{PARAMS}before: '' now: <nothing exclusive> ", ["a parameter changed"]),
        (f"Missing output files: r/cv; Updated input files: r/b; {SOFTWARE}",
         ["r/cv is not there", "input r/b is newer than what was made of it",
          "envs/fit.yaml: numpy =1 is gone, numpy =2 is new"]),
    ],
)  # fmt: skip
def test_each_reason_in_words(checkout: Path, reason: str, words: list[str]) -> None:
    assert told(checkout, reason) == words


def test_parameters_are_told_by_key_path(checkout: Path) -> None:
    old, new = '{"a":{"b":[1,2],"c":true}}', '{"a":{"b":[1,3],"c":1},"d":null}'
    job = replace(JOB, command=JOB.command.replace(old, new))
    assert told(checkout, f"{PARAMS}before: {old!r},'0' now: {new!r},'0,1' ", job) == [
        "parameters.a.b[1]: 2 → 3", "parameters.a.c: true → 1", "parameters.d: nothing → null", "seeds: 0 → 0,1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        ("src/pathomix/loss.py", "def loss(x):\n    return x", "def loss(x):\n    return 2 * x",
         "src/pathomix/loss.py, function loss changed"),
        ("src/pathomix/loss.py", "SCALE = 1", "SCALE = 2", "src/pathomix/loss.py, value SCALE changed"),
        ("src/pathomix/loss.py", "SCALE = 1", "", "src/pathomix/loss.py, value SCALE is gone"),
        ("src/pathomix/loss.py", "SCALE = 1", "SCALE = 1\nTWO = 2", "src/pathomix/loss.py, value TWO is new"),
        ("src/pathomix/loss.py", "SCALE = 1\n\n\ndef loss(x):\n    return x\n",
         "def loss(x):\n    return x\n\n\nSCALE = 1\n", "src/pathomix/loss.py, the order of its parts changed"),
        ("workflow_scripts/fit.py", "from", "import pathomix.more\nfrom",
         "workflow_scripts/fit.py, imports changed, src/pathomix/more.py is read as well"),
        ("workflow_scripts/fit.py", "from pathomix.loss import loss", "",
         "workflow_scripts/fit.py, imports is gone, src/pathomix/__init__.py is no longer read,"
         " src/pathomix/loss.py is no longer read"),
        ("src/pathomix/loss.py", "SCALE", "(", "the code it reaches cannot be read"),
    ],
)  # fmt: skip
def test_code_is_told_by_file_and_function(checkout: Path, file: str, old: str, new: str, words: str) -> None:
    entries = Entries("workflow_scripts/fit.py")
    before, records = code_digest(checkout, entries), Records()
    records.note(before, checkout, entries)
    records.keep(checkout / "r")
    text = (checkout / file).read_text()
    assert old in text
    (checkout / file).write_text(text.replace(old, new, 1))
    (found,) = told(checkout, f"{PARAMS}before: '{before}' now: '0123456789abcdef' ")
    assert found.startswith(words)


def test_code_without_a_record_and_code_loaded_by_name(checkout: Path) -> None:
    other = f"{PARAMS}before: '0123456789abcdee' now: '0123456789abcdef' "
    assert told(checkout, other) == ["the code it reaches changed; what it was is not on record"]
    entries = Entries("workflow_scripts/fit.py", ("pathomix.more",))
    records, before = Records(), code_digest(checkout, entries)
    records.note(before, checkout, entries)
    records.keep(checkout / "r")
    same = f"{PARAMS}before: '{before}' now: '0123456789abcdef' "
    assert told(checkout, same) == ["it loads other modules by name"]
    both = f"{PARAMS}before: '{before}','0' now: '0123456789abcdef','0,1' "
    assert told(checkout, both) == ["seeds: 0 → 0,1"], "the parameter says it"


def test_software_deployed_in_another_way(checkout: Path) -> None:
    (checkout / "envs/fit.yaml").write_text("dependencies:\n  - python =3.11\n  - numpy =1 # a comment\n")
    assert "deployed in another way" not in told(checkout, SOFTWARE)[0]
    (checkout / "envs/fit.yaml").write_text("dependencies:\n  - python =3.11\n  - numpy =1\n")
    assert "deployed in another way" in told(checkout, SOFTWARE)[0]


def chain() -> list[Job]:
    """Two fits that changed, a table of both, a page of the table, and something beside."""
    another = "Input files updated by another job: "
    return [
        Job("fit", (), ("one",), reason="Forced execution", wildcards="n=1"),
        Job("fit", (), ("two",), reason="Forced execution", wildcards="n=2"),
        Job("table", ("one", "two"), ("table",), reason=f"{another}one, two"),
        Job("page", ("table",), ("page", "index"), reason=f"{another}table"),
        Job("beside", (), ("beside",), reason="Missing output files: beside"),
    ]


def test_a_cause_is_followed_upstream(tmp_path: Path) -> None:
    causes = causes_of("index", chain(), tmp_path, "r")
    assert [(cause.job.wildcards, cause.via) for cause in causes] == [
        ("n=1", ("page", "table")), ("n=2", ("page", "table")),
    ]  # fmt: skip
    assert sentence("index", causes) == "index: because fit runs again for n=1 and 1 more: it is forced"
    assert command.details(causes).splitlines()[:2] == ["  page < table < fit (n=1)", "    it is forced"]
    assert sentence("one", causes_of("one", chain(), tmp_path, "r")) == "one: fit runs again for n=1: it is forced"


def test_several_causes_are_counted(tmp_path: Path) -> None:
    jobs = chain()
    jobs[1] = replace(jobs[1], reason="Missing output files: two")
    jobs[2] = replace(jobs[2], reason=f"{jobs[2].reason}; {SOFTWARE}")
    told = sentence("index", causes_of("index", jobs, tmp_path, "r"))
    assert told.startswith("index: because table runs again: its software is deployed in another way")
    assert told.endswith("(and 2 other causes: --verbose)")


def test_what_is_up_to_date(tmp_path: Path) -> None:
    assert sentence("absent", causes_of("absent", chain(), tmp_path, "r")) == "absent: up to date"


def test_the_configuration_is_found_by_the_folder_of_results(root: Path, tmp_path: Path) -> None:
    assert command.configuration_of("results/demo/report/index.html", root) == root / "config/demo.yaml"
    with pytest.raises(PathomixError, match=r"no configurations below config/ .*--configfile"):
        command.configuration_of("elsewhere/x", root)
    (tmp_path / "config").mkdir()
    for name in ("a", "b"):
        (tmp_path / f"config/{name}.yaml").write_text("results: r\n")
    with pytest.raises(PathomixError, match=r"2 configurations .*: a.yaml, b.yaml; "):
        command.configuration_of("r/x", tmp_path)


def test_the_command(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def planned(*given: Any, **named: Any) -> list[Job]:
        assert (given[1], named) == ([root / "config/demo.yaml"], {"profile": "slurm", "targets": ["results/demo/x"]})
        return [Job("fit", (), ("results/demo/x",), reason="Forced execution")]

    monkeypatch.setattr(command, "planned_jobs", planned)
    asked = ["why", str(root / "results/demo/x"), "--profile", "slurm", "--verbose"]
    monkeypatch.setattr("sys.argv", asked)
    assert command.main() == 0
    assert capsys.readouterr().out == "results/demo/x: fit runs again: it is forced\n  fit\n    it is forced\n"
    monkeypatch.setattr("sys.argv", ["why", "elsewhere/x"])
    assert command.main() == 1
    assert capsys.readouterr().err.startswith("error: ")
