"""All slides of a cohort at one glance: outlined thumbnails with area and flags, what needs a look first."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from pathomix.core.errors import PathomixError
from pathomix.core.files import atomic_path
from pathomix.core.schemas import SLIDE_INDEX, SLIDES
from pathomix.core.tables import read_table
from pathomix.report.style import HIGH, INK, MUTED, RULE
from pathomix.slides.stage import slide_folder

COLUMNS, ROWS = 6, 5
_PICTURE = (210, 150)  # pixels
_LINE, _LINES, _GAP, _FRAME = 14, 3, 8, 2
_TILE = (_PICTURE[0] + 2 * _FRAME, _PICTURE[1] + 2 * _FRAME + _LINE * _LINES)
_COLOURS = {"quarantined": "#B2182B", "flagged": HIGH, "fine": RULE}  # frames


@dataclass(frozen=True)
class Entry:
    """One slide on the sheet.

    Attributes:
        slide_id: Slide.
        standing: ``quarantined``, ``flagged`` or ``fine``.
        area_mm2: Tissue inside the outlines; None for a quarantined slide.
        remarks: Flags, or the reason of the quarantine.
        thumbnail: Picture with outlines; None for a quarantined slide.
    """

    slide_id: str
    standing: str
    area_mm2: float | None
    remarks: str
    thumbnail: Path | None


def write_contact_sheet(slides: Path, indices: Sequence[Path], results: Path, output: Path) -> list[Path]:
    """Write ``page-001.png``, ... of 6 x 5 slides; pages of an earlier run beyond the last are removed.

    Quarantined slides come first, then flagged ones, then the others, each by id. Title and description travel inside
    the files, as those of figures do. Equal inputs give equal bytes.

    Args:
        slides: SLIDES table of the cohort; the cohort is the name of its folder.
        indices: SLIDE_INDEX tables of all shards: of the tissue stage, or of a later one.
        results: Results folder.
        output: Folder of the pages.

    Returns:
        The pages.

    Raises:
        PathomixError: Slides lack a row in the indices, or a finished slide lacks its thumbnail or report.
    """
    entries = read_entries(slides, indices, results)
    per_page = COLUMNS * ROWS
    count = max(1, -(-len(entries) // per_page))
    pages = [output / f"page-{number:03d}.png" for number in range(1, count + 1)]
    for number, path in enumerate(pages):
        shown = entries[number * per_page : (number + 1) * per_page]
        _save(draw_page(shown), path, *_words(slides.parent.name, entries, number + 1, count))
    for stale in set(output.glob("page-*.png")) - set(pages):
        stale.unlink()
    return pages


def read_entries(slides: Path, indices: Sequence[Path], results: Path) -> list[Entry]:
    """What stands on the sheet, in its order.

    Raises:
        PathomixError: See `write_contact_sheet`.
    """
    wanted = read_table(slides, SLIDES)["slide_id"]
    index = pd.concat([read_table(path, SLIDE_INDEX) for path in indices]).set_index("slide_id")
    lacking = wanted[~wanted.isin(index.index)]
    if len(lacking):
        remedy = "give the indices of all shards, or run segment_tissue again"
        raise PathomixError("slides without a row in the indices", offending=lacking, remedy=remedy)
    order = list(_COLOURS)
    entries = [_entry(str(slide), index.loc[slide], results) for slide in wanted]
    return sorted(entries, key=lambda entry: (order.index(entry.standing), entry.slide_id))


def _entry(slide: str, row: pd.Series, results: Path) -> Entry:
    if row["status"] == "quarantined":
        return Entry(slide, "quarantined", None, str(row["reason"]), None)
    folder = slide_folder(results, slide)
    try:
        report = json.loads((folder / "qc.json").read_text(encoding="utf-8"))
        area, flags = float(report["tissue_mm2"]), list(report["flags"])
    except (OSError, ValueError, KeyError) as error:
        fact = f"{folder / 'qc.json'}: no quality report ({type(error).__name__}: {error})"
        raise PathomixError(fact, remedy="run segment_tissue again") from error
    return Entry(slide, "flagged" if flags else "fine", area, ", ".join(flags), folder / "thumbnail.jpg")


def draw_page(entries: Sequence[Entry]) -> Image.Image:
    """One page: a grid of tiles, row by row; only as many rows as are needed."""
    rows = max(1, -(-len(entries) // COLUMNS))
    size = tuple(_GAP + n * (side + _GAP) for n, side in zip((COLUMNS, rows), _TILE, strict=True))
    page = Image.new("RGB", (size[0], size[1]), "white")
    font = ImageFont.truetype(str(Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), 11)
    for number, entry in enumerate(entries):
        row, column = divmod(number, COLUMNS)
        _draw_tile(page, entry, _GAP + column * (_TILE[0] + _GAP), _GAP + row * (_TILE[1] + _GAP), font)
    return page


def _draw_tile(page: Image.Image, entry: Entry, x: int, y: int, font: ImageFont.FreeTypeFont) -> None:
    draw = ImageDraw.Draw(page)
    box = (x, y, x + _TILE[0] - 1, y + _PICTURE[1] + 2 * _FRAME - 1)
    draw.rectangle(box, outline=_COLOURS[entry.standing], width=_FRAME)
    inner, width = (x + _FRAME, y + _FRAME), _PICTURE[0]
    if entry.thumbnail is None:
        lines = _wrapped(entry.remarks, font, width - 8, _PICTURE[1] // _LINE - 1)
        draw.multiline_text((inner[0] + 4, inner[1] + 4), "\n".join(lines), fill=INK, font=font, spacing=2)
        words = ["quarantined"]
    else:
        picture = _picture(entry.thumbnail)
        left, top = ((side - own) // 2 for side, own in zip(_PICTURE, picture.size, strict=True))
        page.paste(picture, (inner[0] + left, inner[1] + top))
        area = f"{entry.area_mm2:.3g} mm²"
        words = _wrapped(f"{area}: {entry.remarks}" if entry.remarks else area, font, width, _LINES - 1)
    for line, text in enumerate([_elided(entry.slide_id, font, width), *words]):
        colour = INK if line == 0 else MUTED
        draw.text((x + _FRAME, box[3] + 2 + line * _LINE), text, fill=colour, font=font)


def _picture(path: Path) -> Image.Image:
    try:
        with Image.open(path) as image:
            picture = image.convert("RGB")
    except OSError as error:
        raise PathomixError(f"{path}: no thumbnail ({error})", remedy="run segment_tissue again") from error
    scale = min(side / own for side, own in zip(_PICTURE, picture.size, strict=True))
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    return picture.resize(size, Image.Resampling.BOX if scale < 1 else Image.Resampling.NEAREST)


def _wrapped(text: str, font: ImageFont.FreeTypeFont, width: int, lines: int) -> list[str]:
    """Words in at most `lines` lines of `width` pixels; the last one says where something was left out."""
    done: list[str] = []
    words = text.split()
    while words and len(done) < lines:
        taken = 1
        while taken < len(words) and font.getlength(" ".join(words[: taken + 1])) <= width:
            taken += 1
        rest = words[taken:] if len(done) < lines - 1 else []
        done.append(_elided(" ".join(words[:taken] if rest or taken == len(words) else words), font, width))
        words = rest
    return done


def _elided(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def _words(cohort: str, entries: Sequence[Entry], number: int, count: int) -> tuple[str, str]:
    tally = {name: sum(entry.standing == name for entry in entries) for name in _COLOURS}
    title = f"Slides of {cohort}" + (f", page {number} of {count}" if count > 1 else "")
    return title, (
        f"{len(entries)} slides: {tally['quarantined']} quarantined (red, with the reason), {tally['flagged']} flagged "
        f"(orange frame), {tally['fine']} without remark. Tissue is outlined in green, artefacts that were taken out "
        "in orange; areas are those of the tissue."
    )


def _save(page: Image.Image, path: Path, title: str, description: str) -> None:
    words = PngInfo()
    words.add_text("Title", title)
    words.add_itxt("Description", description)
    with atomic_path(path) as temporary:
        # 256 colours: a third of the bytes, and the report carries these pages inside
        page.quantize(256, Image.Quantize.MEDIANCUT).save(temporary, format="PNG", pnginfo=words)
