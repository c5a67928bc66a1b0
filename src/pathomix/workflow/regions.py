"""What the configuration says of regions of interest: cut from the slides, or imported from a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pathomix.workflow.cohorts import CohortPlan
from pathomix.workflow.settings import check_parameters, parameter_names

_CUT = ("pathomix.slides.regions", "RegionParameters")
_IMPORTED = ("pathomix.slides.region_folder", "FolderParameters")


class RegionPlan:
    """Regions of a configuration.

    Args:
        config: Validated configuration.
        root: The repository.
        cohorts: Cohorts and unions.

    Attributes:
        cut: Parameters of those cut from slides, by name.
        imported: Parameters of those imported, by name.

    Raises:
        PathomixError: An unknown parameter.
    """

    def __init__(self, config: Mapping[str, Any], root: Path, cohorts: CohortPlan) -> None:
        entries: Mapping[str, Any] = config["regions"]
        self._root = root
        self._cohorts = cohorts
        self._folders = {name: entry["folder"] for name, entry in entries.items() if "folder" in entry}
        self.cut = {name: self._filled(entry) for name, entry in entries.items() if name not in self._folders}
        self.imported = {
            name: {key: value for key, value in entries[name].items() if key != "folder"} for name in self._folders
        }
        for given, where in ((self.cut, _CUT), (self.imported, _IMPORTED)):
            known = parameter_names(root / "src", *where)
            for name, entry in given.items():
                check_parameters(entry, known, f"regions.{name}")

    def _filled(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        """The entry with ``{data}`` in the path of its stain's target written out."""
        target = entry.get("stain_target")
        return {**entry, "stain_target": target.format(data=self._cohorts.data)} if target else dict(entry)

    @property
    def names(self) -> list[str]:
        """All regions."""
        return [*self.cut, *self.imported]

    def regions_of(self, name: str, cohort: str) -> list[str]:
        """Region files of a cohort, one per member of a union."""
        return [f"{self._cohorts.results}/regions/{name}/{member}.h5" for member in self._cohorts.members(cohort)]

    def folder(self, name: str, cohort: str) -> str:
        """Folder that regions of a cohort are imported from."""
        return str(self._folders[name].format(data=self._cohorts.data, cohort=cohort))

    def files(self, name: str, cohort: str) -> list[str]:
        """Images to import."""
        folder = Path(self.folder(name, cohort))
        return [str(folder / path.name) for path in sorted((self._root / folder).glob("*.png"))]

    def stain_target(self, name: str) -> list[str]:
        """Image whose stain is imitated, if the user names one."""
        target = self.cut[name].get("stain_target")
        return [target] if target else []
