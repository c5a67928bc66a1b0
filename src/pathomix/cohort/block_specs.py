"""The pieces of a description that name matrices, slides and gene sets. Light imports only."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from pathomix.cohort.specs import Format, SampleTypes, Strict, fill


class BlockSpec(Strict):
    """Where a molecular matrix lies and what happens to what cannot be used as it stands.

    Attributes:
        table: A table of `tables` that holds the block, selected by `suffix` or by `remaining`.
        suffix: Ending of the block's columns; the rest of the column's name is the gene symbol.
        remaining: Take every column no other key uses, except the columns listed here.
        path: Own file of the block instead; its first column holds the row names.
        parts: For a block in several files (one per project): what fills `{part}` in the path. Genes that every part
            measures are used.
        format: For a path whose ending does not say it.
        orientation: Of the own file.
        sample_types: TCGA sample types to use; required where the ids carry one.
        aliquots: Several different rows of one patient. `first` is the first in the order of sample ids.
        duplicate_genes: Several columns with one symbol.
        unnamed_genes: Columns without a symbol (empty, or `?`).
        missing: Single missing values. `impute_median` leaves them in place for the method to impute.
    """

    table: str | None = None
    suffix: str | None = None
    remaining: tuple[str, ...] | None = None
    path: str | None = None
    parts: tuple[str, ...] = ()
    format: Format | None = None
    orientation: Literal["patients_in_rows", "genes_in_rows"] | None = None
    sample_types: SampleTypes = None
    aliquots: Literal["error", "average", "first"] = "error"
    duplicate_genes: Literal["error", "max_variance", "mean"] = "error"
    unnamed_genes: Literal["error", "drop"] = "error"
    missing: Literal["error", "impute_median"] = "error"

    @model_validator(mode="after")
    def _one_place(self) -> BlockSpec:
        if (self.path is None) == (self.table is None):
            raise ValueError("give either `table` (with `suffix` or `remaining`) or `path` (with `orientation`)")
        if self.table is not None and (self.suffix is None) == (self.remaining is None):
            raise ValueError("a block in a `table` needs exactly one of `suffix` and `remaining`")
        if self.path is not None and (self.orientation is None or self.suffix or self.remaining is not None):
            raise ValueError("a block in its own `path` needs `orientation`, and neither `suffix` nor `remaining`")
        if bool(self.parts) != ("{part}" in (self.path or "")):
            raise ValueError("`parts` and `{part}` in `path` go together")
        return self

    def files(self, name: str) -> list[str]:
        """Paths of the block's own files for cohort `name`; none where it lies in a table."""
        if self.path is None:
            return []
        return [fill(self.path, "molecular.path", name=name, part=part) for part in self.parts or ("",)]


class ExpressionSpec(BlockSpec):
    """Gene expression. The scale cannot be guessed from the numbers, so it is named."""

    scale: Literal[
        "counts", "tpm", "fpkm", "log2_tpm_plus_1", "log2_tpm_plus_0.001", "log2_fpkm_plus_1", "log2_norm_count_plus_1",
        "log2_norm_count_centred", "zscore",
    ]  # fmt: skip


class CopyNumberSpec(BlockSpec):
    """Copy number, GISTIC calls -2..2 or log2 ratios."""

    scale: Literal["gistic", "log2_ratio"] = "gistic"


class SymbolsSpec(Strict):
    """Gene symbols brought to their approved form by a table of aliases (HGNC's complete set, or pairs)."""

    aliases: str


class MolecularSpec(Strict):
    """Molecular blocks; mutation is 0/1 per gene. `symbols` holds for all blocks and for the pathways."""

    expression: ExpressionSpec | None = None
    copy_number: CopyNumberSpec | None = None
    mutation: BlockSpec | None = None
    symbols: SymbolsSpec | None = None


class SlidesSpec(Strict):
    """Slide list: columns of a table, or the lock of an acquisition.

    Attributes:
        table: Table with one row per slide.
        id: Its column with the slide.
        strip_suffix: Ending to cut off the id.
        path: Pattern of the file; may use `{slide_id}`, `{patient_id}`, `{name}` and any column of the table.
        mpp: Column with the scale.
        md5: Column with the checksum.
        size: Column with the bytes.
        sample_types: TCGA sample types to use; by default all but normal tissue.
        lock: Name of the lock instead of a table: ``<locks>/<lock>.slides.tsv``; may contain ``{name}``. The path is
            then by default where the acquisition puts the file.
    """

    table: str | None = None
    id: str | None = None
    strip_suffix: str = ""
    path: str | None = None
    mpp: str | None = None
    md5: str | None = None
    size: str | None = None
    sample_types: SampleTypes = None
    lock: str | None = None

    @model_validator(mode="after")
    def _one_source(self) -> SlidesSpec:
        if self.lock is None and (self.table is None or self.id is None):
            raise ValueError("give `table` and `id`, or `lock`")
        own = [key for key in ("table", "id", "mpp", "md5", "size") if getattr(self, key) is not None]
        if self.lock is not None and (own or self.strip_suffix):
            raise ValueError("a `lock` names its own columns; only `path` and `sample_types` go with it")
        return self

    @property
    def pattern(self) -> str:
        """Pattern of the path."""
        return self.path or ("raw/gdc/{project}/{file_name}" if self.lock is not None else "{slide_id}.svs")


class PathwaySelection(Strict):
    """Which sets of the GMT files are used.

    Attributes:
        like: A membership table (genes x pathways) whose pathways are wanted: taken by name, else by overlap of genes.
        min_overlap: Least Jaccard overlap of genes at which a set of another name stands for a wanted one.
        min_coverage: Least share of a set's genes that has to be measured.
        min_genes: Least number of measured genes.
        max_genes: Largest number of measured genes.
    """

    like: str | None = None
    min_overlap: float = Field(default=0.5, gt=0, le=1)
    min_coverage: float = Field(default=0.0, ge=0, le=1)
    min_genes: int = Field(default=1, ge=1)
    max_genes: int | None = Field(default=None, ge=1)


class PathwaysSpec(Strict):
    """Gene sets: GMT, 0/1 membership (genes x pathways), or one ragged column of symbols per pathway.

    Either one file (`path` and `format`), or several GMT files (`gmt`) and what is selected of them.
    """

    path: str | None = None
    format: Literal["gmt", "membership", "signatures"] | None = None
    gmt: tuple[str, ...] = ()
    select: PathwaySelection | None = None

    @model_validator(mode="after")
    def _one_form(self) -> PathwaysSpec:
        if (self.path is None) != (self.format is None) or (self.path is None) == (not self.gmt):
            raise ValueError("give either `path` and `format`, or `gmt`")
        if self.select is not None and not self.gmt:
            raise ValueError("`select` belongs to `gmt`")
        return self

    def files(self, name: str) -> list[str]:
        """Paths of the gene-set files for cohort `name`."""
        return [fill(path, "pathways.path", name=name) for path in (*self.gmt, *((self.path,) if self.path else ()))]

    def wanted(self, name: str) -> str | None:
        """Path of the membership table whose pathways are wanted."""
        like = self.select.like if self.select else None
        return fill(like, "pathways.select.like", name=name) if like else None
