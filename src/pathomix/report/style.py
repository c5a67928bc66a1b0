"""One look for all figures: sizes for a journal column, a colour-blind-safe palette, and the same bytes every time."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pathomix.core.files import atomic_path
from pathomix.evaluate.oracles import is_oracle

COLUMN = 3.5  # inches: one column of a two-column journal
PAGE = 7.2  # inches: both columns
INK = "#1a1a1a"
MUTED = "#6b6b6b"
RULE = "#c9c9c9"
LOW, HIGH = "#0072B2", "#D55E00"  # blue and vermillion, told apart by every common colour vision

# Okabe and Ito (2008) without yellow and black, then Tol's muted scheme, darkest first.
_PALETTE = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00"),
    *("#332288", "#882255", "#117733", "#44AA99", "#AA4499", "#999933"),
)
_MARKERS = ("o", "s", "^", "D", "v", "P")

_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 7.0,
    "axes.titlesize": 8.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 7.0,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "legend.frameon": False,
    "legend.fontsize": 6.5,
    "text.color": INK,
    "lines.linewidth": 1.2,
    "pdf.fonttype": 42,  # TrueType: text stays text
    "svg.hashsalt": "pathomix",
    "figure.dpi": 100,
    "savefig.dpi": 300,
}


@contextmanager
def style() -> Iterator[None]:
    """The settings of this package on top of matplotlib's own defaults, whatever the user's matplotlibrc says."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


def method_looks(methods: Sequence[str], order: Sequence[str] = ()) -> dict[str, tuple[str, str]]:
    """Colour and marker of each method.

    Args:
        methods: The methods of a figure.
        order: All methods of the project: equal orders give a method equal looks in every figure of every study.
            Methods that are not in it follow in their own order.
    """
    ranked = list(dict.fromkeys(method for method in (*order, *methods) if not is_oracle(method)))
    looks = {
        method: (_PALETTE[place % len(_PALETTE)], _MARKERS[place // len(_PALETTE) % len(_MARKERS)])
        for place, method in enumerate(ranked)
    }
    return {method: (MUTED, "D") if is_oracle(method) else looks[method] for method in methods}


def save(figure: Figure, stem: Path, title: str, description: str) -> None:
    """Write `<stem>.pdf` and `<stem>.png`; title and description travel inside the files.

    No date and no program version is written, so equal figures have equal bytes.
    """
    FigureCanvasAgg(figure)
    logging.getLogger("fontTools").setLevel(logging.WARNING)  # it reports every glyph it subsets
    kinds: dict[str, dict[str, str | None]] = {
        ".pdf": {"Title": title, "Subject": description, "CreationDate": None, "Producer": None, "Creator": None},
        ".png": {"Title": title, "Description": description, "Software": None},
    }
    for suffix, metadata in kinds.items():
        with style(), atomic_path(os.fspath(stem) + suffix) as temporary:
            figure.savefig(temporary, metadata=metadata)
