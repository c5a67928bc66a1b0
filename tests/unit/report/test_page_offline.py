"""The page needs nothing but itself: no reference outside, every link inside resolves, a browser asks for nothing."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

COMMAND = "snakemake --cores 2 --configfile config/small.yaml"
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# Told by the browser itself after a click on a number and on the panel's way back: what it asked for, and the place.
PROBE = """<script>
window.addEventListener("error", e => console.error("page error " + e.message));
window.addEventListener("load", () => {
  const number = document.querySelector("#study-demo-c-index a.mean");
  number.scrollIntoView();
  const before = window.scrollY;
  const early = [...document.querySelectorAll(".panel")].filter(p => getComputedStyle(p).display != "none").length;
  number.click();
  setTimeout(() => {
    const panel = document.querySelector(".panel:target");
    const asked = performance.getEntriesByType("resource").filter(r => !r.name.startsWith("data:")).length;
    const shown = panel ? getComputedStyle(panel).display : "none";
    const moved = Math.round(window.scrollY - before);
    panel && panel.querySelector(".close").click();
    setTimeout(() => {
      const left = document.querySelector(".panel:target") ? "open" : "closed";
      const end = Math.round(window.scrollY - before);
      document.title = ["probed", early, asked, shown, moved, left, end].join(" ");
    }, 200);
  }, 200);
});
</script></body>"""


def test_nothing_outside_is_referred_to_and_every_link_inside_resolves(certified_page, reader_of):
    text = certified_page.read_text(encoding="utf-8")
    reader = reader_of(text)
    assert reader.open == [] and len(reader.ids) == len(set(reader.ids))
    assert all(link.startswith("#") for link in reader.links)
    assert {link[1:] for link in reader.links} <= set(reader.ids)
    assert all(source.startswith("data:image/png;base64,") for source in reader.sources)
    assert not {"script", "link", "iframe", "object", "base"} & set(reader.tags)
    assert not re.search(r"@import|url\(|https?://", text)


def test_every_number_of_a_results_table_opens_its_panel(certified_page):
    text = certified_page.read_text(encoding="utf-8")
    table = text[text.index('id="study-demo-c-index"') :]
    table = table[: table.index("</table>")]
    links = re.findall(r'<a class="mean" href="#(run-[^"]+)">', table)
    assert links == [f"run-demo-{row}-{cohort}-kfold" for row in ("strong", "weak") for cohort in ("north", "south")]
    panel = text[text.index('<aside class="panel" id="run-demo-strong-north-kfold"') :]
    panel = panel[: panel.index("</aside>")]
    assert "<code>runs/demo/strong/north/kfold.parquet</code>" in panel and "kfold-0/seed0" in panel
    target = "results/small-again -- results/small-again/runs/demo/strong/north/kfold.parquet"
    assert f"{COMMAND} --config results={target}" in panel
    assert "rm -r results/small/runs/demo/strong/north/kfold-0" in panel
    assert f"{COMMAND} --force -- results/small/runs/demo/strong/north/kfold.parquet" in panel


def test_the_certificate_has_every_published_cell(certified_page):
    text = certified_page.read_text(encoding="utf-8")
    section = text[text.index('<section id="certificate"') :]
    section = section[: section.index("</section>")]
    assert section.count("<tr><th") == 2 + 3
    assert 'href="#run-demo-strong-north-kfold"' in section
    assert "no row of study demo answers it" in section
    assert (
        "<details>\n<summary>paper, other: 1 values, not run: no study of this configuration answers other" in section
    )
    assert "<details open>\n<summary>paper, main: 2 values, 1 answered" in section


def test_the_machine_readable_twin_lists_the_page_and_keeps_the_rules(certified_page, check_crate):
    entities = check_crate(certified_page.parent.parent / "ro-crate-metadata.json")
    assert {"report/index.html", "tables/demo/survival.html", "evaluation/demo/scores.parquet"} <= set(entities)
    assert [entities[f"#verdict-{n}"]["value"] for n in (2, 3)] == ["not run"] * 2


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no chromium here: apt-get install chromium")
def test_a_browser_opens_it_without_a_request_or_an_error(certified_page, tmp_path):
    probed = tmp_path / "probed.html"
    probed.write_text(certified_page.read_text(encoding="utf-8").replace("</body>", PROBE), encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-extensions"]
    flags += [f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--virtual-time-budget=10000"]
    done = subprocess.run([BROWSER, *flags, "--dump-dom", probed.as_uri()], capture_output=True, text=True, timeout=300)
    title = re.search(r"<title>(.*?)</title>", done.stdout)
    assert title and title.group(1) == "probed 0 0 block 0 closed 0"
    assert "CONSOLE" not in done.stderr
