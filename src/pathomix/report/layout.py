"""What a reader sees of names and p-values: order, labels and groups of methods and cohorts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pathomix.core.errors import PathomixError
from pathomix.evaluate.oracles import ORACLE, is_oracle


def p_text(p_value: float) -> str:
    """``p = 0.012``, ``p < 0.001``."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}" if p_value < 0.1 else f"p = {p_value:.2f}"


@dataclass(frozen=True)
class MethodLabel:
    """How a method is written, and under which heading (modality) it stands."""

    label: str
    group: str = ""


@dataclass(frozen=True)
class Layout:
    """Order and words of a study's tables and figures.

    Attributes:
        cohorts: Cohorts in the order of the columns; others follow alphabetically.
        methods: Methods in the order of the rows; others follow alphabetically under their own name.
    """

    cohorts: tuple[str, ...] = ()
    methods: Mapping[str, MethodLabel] = field(default_factory=dict)

    @classmethod
    def of(cls, cohorts: Sequence[str], labels: Mapping[str, Any]) -> Layout:
        """Read `{method: label}` or `{method: {label, group}}`.

        Raises:
            PathomixError: A label is neither.
        """
        methods = {}
        for method, given in labels.items():
            content = {"label": given} if isinstance(given, str) else given
            if not isinstance(content, dict) or not {"label"} <= set(content) <= {"label", "group"}:
                raise PathomixError(
                    "a method label is neither a text nor {label, group}",
                    offending=[method],
                    remedy="correct the method labels of the configuration",
                )
            methods[method] = MethodLabel(**content)
        return cls(tuple(cohorts), methods)

    def label(self, method: str) -> MethodLabel:
        """Label and group of a method; ``oracle_<modality>`` knows the truth of one modality alone."""
        if is_oracle(method) and method not in self.methods:
            known = method.removeprefix(ORACLE).strip("_").replace("_", " ")
            return MethodLabel(f"Oracle, {known} alone" if known else "Oracle")
        return self.methods.get(method, MethodLabel(method.replace("_", " ")))

    def ordered_methods(self, methods: Iterable[str]) -> list[str]:
        """Known methods in their order, then the others; groups kept together; oracle rows last."""
        place = {method: number for number, method in enumerate(self.methods)}
        groups: dict[str, int] = {}
        for method in self.methods.values():
            groups.setdefault(method.group, len(groups))
        last = len(place)

        def key(method: str) -> tuple[bool, int, int, str]:
            group = groups.get(self.label(method).group, len(groups)) if method in place else len(groups)
            return is_oracle(method), group, place.get(method, last), method

        return sorted(set(methods), key=key)

    def ordered_cohorts(self, cohorts: Iterable[str]) -> list[str]:
        """Cohorts in their order, then the others."""
        place = {cohort: number for number, cohort in enumerate(self.cohorts)}
        return sorted(set(cohorts), key=lambda cohort: (place.get(cohort, len(place)), cohort))
