"""Whatever a rule puts into its shell command is quoted: paths, names, parameters."""

from __future__ import annotations

import ast
import re
import shlex
import string
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pathomix.workflow.cohorts import CohortPlan
from pathomix.workflow.plan import Plan
from pathomix.workflow.reported import Report

ROOT = Path(__file__).resolve().parents[2]
SNAKEFILE = (ROOT / "Snakefile").read_text()
RULES = {
    name: text
    for file in sorted((ROOT / "rules").glob("*.smk"))
    for name, text in re.findall(r"^rule (\w+):\n((?:    .*\n|\n)*)", file.read_text(), flags=re.MULTILINE)
}
# Numbers, by the schema of the configuration or by the pattern of the wildcard.
NUMBERS = {
    "threads", "wildcards.shard", "wildcards.seed", "params.shards", "params.parallel", "params.lost", "params.size",
    "params.mpp", "params.fold", "params.first",
}  # fmt: skip
# What gives a list of words that are quoted already, or hexadecimal digits; tests below hold them to it.
QUOTING = {
    "option", "plan.cohorts.endpoint_option", "plan.cohorts.member_options", "plan.report.study_options",
    "plan.token_option", "shlex.join", "shlex.quote",
}  # fmt: skip
DIGESTS = {"plan.code", "plan.method_code", "plan.vectors.code", "plan.vectors.text_code", "plan.expression.code"}
EVIL = "a b;c $(x)'q\"`y`"


def section(rule: str, name: str) -> ast.Call:
    """A section of a rule as the call its arguments would make; without arguments where there is no such section."""
    block = re.search(rf"^    {name}:((?: .*)?\n(?:        .*\n|\n)*)", RULES[rule], flags=re.MULTILINE)
    call = ast.parse(f"f({block.group(1) if block else ''})", mode="eval").body
    assert isinstance(call, ast.Call)
    return call


def unquoted(rule: str) -> list[str]:
    """Fields of a rule's command that the shell sees without quotes."""
    commands = [ast.literal_eval(argument) for argument in section(rule, "shell").args]
    return [
        name
        for command in commands
        for _, name, spec, _ in string.Formatter().parse(command)
        if name is not None and not (spec or "").endswith("q")
    ]


def harmless(value: ast.expr) -> bool:
    """Whether an expression of `params` can only be quoted words, digits of a digest, or fixed words."""
    if isinstance(value, ast.Lambda):
        return harmless(value.body)
    if isinstance(value, ast.Constant):
        return isinstance(value.value, str) and re.fullmatch(r"[\w-]*", value.value) is not None
    if isinstance(value, ast.IfExp):
        return harmless(value.body) and harmless(value.orelse)
    if isinstance(value, ast.Call):
        called = ast.unparse(value.func)
        if called == "' '.join":
            (inside,) = value.args
            return isinstance(inside, ast.GeneratorExp) and harmless(inside.elt)
        if called == "option":
            # The name of an option is not quoted: it may hold names of the code, none of the user.
            return "wildcards" not in ast.unparse(value.args[0])
        return called in QUOTING | DIGESTS
    return False


def test_there_are_rules() -> None:
    assert len(RULES) > 30 and all(section(rule, "shell").args for rule in RULES)


@pytest.mark.parametrize("rule", RULES)
def test_every_field_of_a_command_is_quoted(rule: str) -> None:
    params = {keyword.arg: keyword.value for keyword in section(rule, "params").keywords}
    wrong = []
    for field in unquoted(rule):
        kind, _, name = field.partition(".")
        if field not in NUMBERS and not (kind == "params" and name in params and harmless(params[name])):
            wrong.append(field)
    assert not wrong, f"rule {rule} does not quote {wrong}: write {{{wrong[0]}:q}}" if wrong else ""


def test_wildcards_without_quotes_are_digits() -> None:
    for name in (field.partition(".")[2] for field in NUMBERS if field.startswith("wildcards.")):
        assert re.search(rf'^    {name}=r"\\d\+",$', SNAKEFILE, flags=re.MULTILINE), name


def test_no_rule_hands_secrets_or_text_to_a_shell() -> None:
    text = SNAKEFILE + "".join(file.read_text() for file in (ROOT / "rules").glob("*.smk"))
    # Snakemake writes the values of `envvars` into the command of every job it submits.
    assert not re.search(r"^\s*envvars:", text, flags=re.MULTILINE)
    assert not re.search(r"os\.environ\[|os\.getenv|environ\.get", text)
    assert not re.search(r"^\s*run:|\bshell\(", text, flags=re.MULTILINE)


def test_the_prefix_of_every_command_is_quoted() -> None:
    (prefix,) = re.findall(r"shell\.prefix\(([^\n]*(?:\n    [^\n]*)*)\n\)|shell\.prefix\((.*)\)$", SNAKEFILE, re.M)
    tree = ast.parse(f"f({''.join(prefix)})", mode="eval")
    fields = [node.value for node in ast.walk(tree) if isinstance(node, ast.FormattedValue)]
    assert fields and all(ast.unparse(field).startswith(("shlex.quote(", "shlex.join(")) for field in fields)


def _option() -> Callable[..., str]:
    """`option` of the rules, without Snakemake around it."""
    tree = ast.parse((ROOT / "rules/common.smk").read_text())
    tree.body = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "option"]
    names: dict[str, Any] = {"shlex": shlex}
    exec(compile(tree, "common.smk", "exec"), names)
    return names["option"]


def test_options_made_in_python_are_quoted() -> None:
    results = f"{EVIL}/results"
    cohorts: Any = SimpleNamespace(
        unions={"pan": ["one", EVIL]}, described={"one": {"endpoint": EVIL}}, simulation={}, results=results
    )
    words = shlex.split(CohortPlan.member_options(cohorts, "pan", f"{results}/{{member}}"))
    assert words == ["--member", "one", f"{results}/one", "--member", EVIL, f"{results}/{EVIL}"]
    assert shlex.split(CohortPlan.endpoint_option(cohorts, "one")) == ["--endpoint", EVIL]
    plan: Any = SimpleNamespace(methods={"row": {"token": EVIL}}, results=results)
    assert shlex.split(Plan.token_option(plan, "row")) == ["--token", EVIL]
    said = shlex.split(Report(plan, [EVIL]).study_options())
    assert said[:3] == ["--study", EVIL, f"{results}/tables/{EVIL}"] and len(said) == 5
    assert shlex.split(_option()("--x", [EVIL, "y"])) == ["--x", EVIL, "y"]
