"""What has to be fetched: slides by their locks, tables of the public hubs and other named files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pathomix.core.errors import PathomixError
from pathomix.workflow.cohorts import FETCHED, CohortPlan

XENA = "raw/xena/"
_GDC = "raw/gdc"


class AcquisitionPlan:
    """Acquisition of a configuration.

    Args:
        config: Validated configuration.
        cohorts: Cohorts and unions.

    Attributes:
        folder: Where fetched files lie, below it `raw/`.
        files: Source of every file that is fetched by name (`pathomix.acquire.requests.parse_request`), by its path
            below `folder`.
        pins: File of pins; empty where a simulated archive stands in, which has nothing to be held to.
        archive: Folder of the simulated archive, empty without one.
        locked: Cohorts whose slides come by a lock.

    Raises:
        PathomixError: A cohort reads fetched files from another folder than they are fetched to, or files of no known
            source.
    """

    def __init__(self, config: Mapping[str, Any], cohorts: CohortPlan) -> None:
        section: Mapping[str, Any] = config["acquire"]
        self._cohorts = cohorts
        self.folder = cohorts.filled(section["folder"])
        self.archive = cohorts.filled(section.get("archive", ""))
        self.pins = "" if self.archive else f"{cohorts.locks}/pins.yaml"
        self.parallel: int = section["parallel"]
        self.token_env: str = section["token_env"]
        self.files: dict[str, str] = dict(section["files"])
        self.locked = [cohort for cohort in cohorts.described if cohorts.lock_paths(cohort)]
        for cohort, entry in cohorts.described.items():
            named = [path for path in cohorts.description_inputs(cohort) if path.startswith(FETCHED)]
            if (named or cohorts.lock_paths(cohort)) and entry["root"] != self.folder:
                raise PathomixError(
                    f"cohort {cohort} reads fetched files from {entry['root']}, but they are fetched to {self.folder}",
                    remedy=f"leave out cohorts.{cohort}.root, or set acquire.folder",
                )
            self.files |= {p: p.removeprefix(XENA) for p in named if p.startswith(XENA) and p not in self.files}
            unknown = sorted(set(named) - set(self.files))
            if unknown:
                raise PathomixError(
                    f"cohort {cohort} reads files that nothing says how to fetch",
                    offending=unknown,
                    remedy="give their sources in acquire.files",
                )

    # slides

    def lock(self, cohort: str) -> str:
        """Slide lock of a cohort."""
        return self._cohorts.lock_paths(cohort)[0]

    def slide_indices(self, cohort: str, shard: str) -> list[str]:
        """What says that a shard's slides have been fetched, for a cohort whose slides come by a lock."""
        return [f"{self._cohorts.results}/acquired/{cohort}/slides-{shard}.tsv"] if cohort in self.locked else []

    @property
    def slide_folder(self) -> str:
        """Folder of the fetched slides."""
        return f"{self.folder}/{_GDC}"

    # files

    def archive_of(self, cohort: str) -> list[str]:
        """Description of the archive that stands in for the public hosts, for a simulated cohort."""
        return [f"{self.archive}/archive/{cohort}/archive.json"] if self._cohorts.is_simulated(cohort) else []

    def archive_with(self, file: str) -> list[str]:
        """Description of the simulated archive that holds a file: its cohort's, or any for what all share."""
        simulated = [name for name in self._cohorts.described if self._cohorts.is_simulated(name)]
        own = [name for name in simulated if self.files[file].startswith(f"{name}/")]
        return self.archive_of((own or simulated)[0]) if simulated else []

    def request(self, file: str) -> dict[str, str]:
        """What `fetch_files` is asked for."""
        return {file: self.files[file]}
