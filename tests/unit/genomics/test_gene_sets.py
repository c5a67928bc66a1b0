from __future__ import annotations

import gzip

import pytest

from pathomix.core.errors import PathomixError
from pathomix.genomics.gene_sets import read_gmt, read_measured, read_membership, read_signatures

SETS = {"A": ("TP53", "NA", "EGFR"), "B": ("VHL",), "C": ("TP53", "VHL")}
GENES = ["TP53", "NA", "EGFR", "VHL"]


def write(folder, kind):
    if kind == "gmt":
        text = "".join("\t".join([name, "source", *genes]) + "\n" for name, genes in SETS.items())
    elif kind == "membership":
        rows = [[gene, *(str(int(gene in genes)) for genes in SETS.values())] for gene in GENES]
        text = "\n".join(",".join(row) for row in [["gene", *SETS], *rows]) + "\n"
    else:
        columns = [[*genes, "", ""][:3] for genes in SETS.values()]
        text = "\n".join(",".join(row) for row in [list(SETS), *map(list, zip(*columns, strict=True))]) + "\n"
    path = folder / f"{kind}.txt.gz"
    path.write_bytes(gzip.compress(text.encode()))
    return path


@pytest.mark.parametrize(("kind", "reader"), [("gmt", read_gmt), ("membership", read_membership),
                                              ("signatures", read_signatures)])  # fmt: skip
def test_three_formats_say_the_same(tmp_path, kind, reader):
    assert {name: set(genes) for name, genes in reader(write(tmp_path, kind)).items()} == {
        name: set(genes) for name, genes in SETS.items()
    }


def test_only_measured_genes_stay(tmp_path):
    sets, coverage = read_measured(write(tmp_path, "gmt"), "gmt", ["TP53", "NA", "OTHER"])
    assert sets == {"A": ("NA", "TP53"), "C": ("TP53",)}
    assert coverage["pathways_without_measured_gene"] == ["B"] and coverage["pathways_with_one_gene"] == 1
    assert coverage["genes_in_pathways_measured"] == 2 and coverage["measured_genes_in_no_pathway"] == 1
    assert coverage["median_genes"] == 1.5


def test_no_measured_gene_in_any_set(tmp_path):
    with pytest.raises(PathomixError, match=r"no gene of the table.*ENSG1.*symbols on both sides"):
        read_measured(write(tmp_path, "gmt"), "gmt", ["ENSG1"])


@pytest.mark.parametrize(
    ("reader", "text", "message"),
    [
        (read_gmt, "A\tx\n", "line 1 holds no gene"),
        (read_gmt, "A\tx\tG\nA\tx\tG\n", "unnamed or repeated: 'A'"),
        (read_membership, "g,A\nG,2\n", "other than 0 and 1: G"),
        (read_membership, "g,A\nG,1\nG,0\n", "two rows: G"),
        (read_signatures, "A\nG,H\n", "line 2 is longer"),
    ],
)
def test_files_that_are_not_understood(tmp_path, reader, text, message):
    (tmp_path / "sets").write_text(text)
    with pytest.raises(PathomixError, match=message):
        reader(tmp_path / "sets")


def test_absent_file(tmp_path):
    with pytest.raises(PathomixError, match="cannot be read"):
        read_gmt(tmp_path / "absent.gmt")
