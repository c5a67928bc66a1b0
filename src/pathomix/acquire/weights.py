"""Which weights there are, under which terms, and which of them a configuration still lacks.

Light imports only: the plan asks before the first job. Fetching is in `pathomix.acquire.hub`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from pathomix.core.errors import PathomixError
from pathomix.core.parameters import filled

FOLDER = "weights"
# Keys of a configuration entry that name files of weights.
_KEYS = ("weights", "tokenizer")


@dataclass(frozen=True)
class WeightFile:
    """One file.

    Attributes:
        file: Its name, there and here.
        sha256: Hexadecimal: all 64 digits, or the first ones (at least 8); None where nothing is published.
        about_mb: Size in 10^6 bytes, for planning only; None where not known.
        url: Address, where it is not on the hub.
        by_hand: Why a program cannot fetch it.
    """

    file: str
    sha256: str | None = None
    about_mb: float | None = None
    url: str = ""
    by_hand: str = ""


@dataclass(frozen=True)
class Weight:
    """The weights of one model.

    Attributes:
        name: Key in the registry and folder below ``weights/``.
        title: Name its authors use.
        use: What it is for.
        licence: Licence of the weights.
        evidence: Where this record comes from.
        files: All files that have to be there.
        selects: Keys and values of configuration entries that need it.
        hub: Repository on the hub, empty where it is elsewhere.
        revision: Branch, tag or commit on the hub.
        page: Page for people; default: of the hub.
        gated: Whether the authors have to approve each user.
        access: How to ask them.
        by_hand: Why a program cannot fetch it, and what to do instead.
    """

    name: str
    title: str
    use: str
    licence: str
    evidence: str
    files: tuple[WeightFile, ...]
    selects: Mapping[str, str] = field(default_factory=dict)
    hub: str = ""
    revision: str = "main"
    page: str = ""
    gated: bool = False
    access: str = ""
    by_hand: str = ""

    def target(self, file: WeightFile) -> str:
        """Where a file lies below the data folder."""
        return f"{FOLDER}/{self.name}/{file.file}"

    def reason_by_hand(self, file: WeightFile) -> str:
        """Why a program cannot fetch the file; empty where it can."""
        return file.by_hand or self.by_hand


@dataclass(frozen=True)
class Registry:
    """All weights by name, and the base address of the hub."""

    hub: str
    weights: Mapping[str, Weight]

    def address(self, weight: Weight, file: WeightFile) -> str:
        """Where a file is fetched from."""
        return file.url or f"{self.hub}/{weight.hub}/resolve/{weight.revision}/{file.file}"

    def chosen(self, names: Iterable[str]) -> list[Weight]:
        """The weights of these names.

        Raises:
            PathomixError: Names the registry does not have.
        """
        wanted = list(dict.fromkeys(names))
        unknown = [name for name in wanted if name not in self.weights]
        if unknown:
            raise PathomixError("no weights of this name", offending=unknown, remedy=f"use {', '.join(self.weights)}")
        return [self.weights[name] for name in wanted]

    def weight_of(self, path: str, entry: Mapping[str, Any]) -> Weight | None:
        """Which weights a configuration entry means: by the folder in its path, else by what the entry selects."""
        parts = PurePosixPath(path).parts
        for folder, name in itertools.pairwise(parts):
            if folder == FOLDER and name in self.weights:
                return self.weights[name]
        for weight in self.weights.values():
            if any(str(entry.get(key)) == value for key, value in weight.selects.items()):
                return weight
        return None


def read_registry(path: Path) -> Registry:
    """Read ``resources/weights.yaml``.

    Raises:
        PathomixError: It is missing or malformed.
    """
    remedy = "correct it, or restore it from the repository"
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        entries = {str(name): entry for name, entry in content["weights"].items()}
        hub = str(content["hub"]).rstrip("/")
        weights = {name: _weight(name, entry, f"{path}: {name}") for name, entry in entries.items()}
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise PathomixError(f"{path}: no registry of weights ({error})", remedy=remedy) from error
    return Registry(hub, {name: _with_page(weight, hub) for name, weight in weights.items()})


def _weight(name: str, entry: Mapping[str, Any], owner: str) -> Weight:
    files = tuple(filled(WeightFile, file, owner) for file in entry["files"])
    weight = filled(Weight, {**entry, "name": name, "files": files}, owner)
    faults = [
        f"{file.file!r} is not a file name" for file in files if PurePosixPath(file.file).name != file.file or not name
    ]
    faults += [
        f"sha256 of {file.file} is not 8 to 64 hexadecimal digits"
        for file in files
        if file.sha256 is not None and not re.fullmatch(r"[0-9a-f]{8,64}", file.sha256)
    ]
    faults += [f"nothing says where {f.file} is" for f in files if not (weight.hub or f.url or weight.by_hand)]
    if weight.gated and not weight.access:
        faults.append("gated, but nothing says how to ask for access")
    if faults or not files:
        raise PathomixError(f"{owner}: {'; '.join(faults) or 'no files'}", remedy="correct the registry of weights")
    return weight


def _with_page(weight: Weight, hub: str) -> Weight:
    given = {**weight.__dict__, "page": weight.page or f"{hub}/{weight.hub}"}
    return Weight(**given)


@dataclass(frozen=True)
class Missing:
    """A file of weights that a configuration names and that is not there.

    Attributes:
        key: Configuration key.
        path: What it names.
        lacking: File names below a folder of weights; empty where `path` is the file.
        weight: Its record, None where the registry has none.
        optional: Whether rows that need it may be left out.
    """

    key: str
    path: str
    lacking: tuple[str, ...] = ()
    weight: Weight | None = None
    optional: bool = False

    @property
    def is_fetchable(self) -> bool:
        """Whether a rule can fetch it to where it is expected, given a token that is allowed to."""
        weight = self.weight
        if weight is None or f"/{FOLDER}/{weight.name}" not in f"/{self.path}":
            return False
        named = set(self.lacking) or {PurePosixPath(self.path).name}
        files = [file for file in weight.files if file.file in named] or list(weight.files)
        return not any(weight.reason_by_hand(file) for file in files)

    @property
    def is_open(self) -> bool:
        """Whether a rule can fetch it without anybody's permission."""
        return self.is_fetchable and self.weight is not None and not self.weight.gated

    @property
    def todo(self) -> str:
        """What to do."""
        if self.weight is None:
            return f"put the file there, or correct {self.key}"
        weight = self.weight
        ask = f"ask for access at {weight.page} ({weight.access}), then " if weight.gated else ""
        named = set(self.lacking) or {PurePosixPath(self.path).name}
        files = [file for file in weight.files if file.file in named] or list(weight.files)
        reasons = {weight.reason_by_hand(file) for file in files}
        if "" not in reasons:
            return f"{ask}put it there by hand ({weight.page}): {'; '.join(sorted(reasons))}"
        token = " with your token in $HF_TOKEN" if weight.gated else ""
        here = "" if f"/{FOLDER}/{weight.name}/" in f"/{self.path}/" else f" and set {self.key} to what it fetched"
        return f"{ask}type `{self.command}`{token}{here}; or put it there by hand"

    @property
    def command(self) -> str:
        """Command that fetches it to where the configuration expects it."""
        assert self.weight is not None
        data, found, _ = f"./{self.path}/".partition(f"/{FOLDER}/{self.weight.name}/")
        folder = data.removeprefix("./") if found else "DATA"
        return f"python workflow_scripts/fetch_weights.py {self.weight.name} --output-dir {folder}"

    def __str__(self) -> str:
        what = f" ({self.weight.title}; licence: {self.weight.licence})" if self.weight else ""
        lacking = f" lacks {', '.join(self.lacking)}" if self.lacking else " is not there"
        return f"{self.key}: {self.path}{lacking}{what}; {self.todo}"


class MissingWeightsError(PathomixError):
    """Weights that jobs need are not there; `missing` has one record per file or folder."""

    def __init__(self, missing: Sequence[Missing]) -> None:
        self.missing = tuple(missing)
        super().__init__(
            "weights are missing",
            offending=[item.path for item in missing],
            remedy="do that, or leave their rows out of `report`",
        )

    def __str__(self) -> str:
        return f"{self.fact}:" + "".join(f"\n  {item}" for item in self.missing) + f"\n{self.remedy}"

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.missing,)


def missing_weights(entries: Mapping[str, Mapping[str, Any]], root: Path, registry: Registry) -> list[Missing]:
    """What the entries of a configuration name and what is not there.

    Args:
        entries: Configuration key (``encoders.gigapath``) to its entry, paths filled in; `weights` and `tokenizer`
            name a file or a folder.
        root: Folder that relative paths start from.
        registry: Known weights.

    Returns:
        One record per path, in the order of the entries; a path that several entries name stands once.
    """
    found: dict[str, Missing] = {}
    for name, entry in entries.items():
        for key in _KEYS:
            given = entry.get(key)
            missing = _missing(f"{name}.{key}", str(given), entry, root, registry) if given else None
            # One entry that cannot do without the file decides.
            if missing is not None and (missing.path not in found or found[missing.path].optional):
                found[missing.path] = missing
    return list(found.values())


def require_weights(entries: Mapping[str, Mapping[str, Any]], root: Path, registry: Registry) -> None:
    """Refuse to begin where weights are missing whose rows may not be left out.

    Raises:
        MissingWeightsError: One line per file: name, licence, where to ask, where to put it.
    """
    needed = [item for item in missing_weights(entries, root, registry) if not item.optional]
    if needed:
        raise MissingWeightsError(needed)


def _missing(key: str, path: str, entry: Mapping[str, Any], root: Path, registry: Registry) -> Missing | None:
    weight = registry.weight_of(path, entry)
    full, optional = root / path, bool(entry.get("optional"))
    if full.is_dir():
        # A folder of no known model is there as soon as anything is in it.
        names = [file.file for file in weight.files] if weight else []
        lacking = tuple(name for name in names if not (full / name).is_file())
        empty = not names and not any(full.iterdir())
        return Missing(key, path, lacking, weight, optional) if lacking or empty else None
    return None if full.is_file() else Missing(key, path, (), weight, optional)
