"""Sphinx's configuration: offline, and every warning is an error (`make docs`)."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "src")]

from site_pages import Site  # noqa: E402

project = "pathomix"
author = "The pathomix authors"
copyright = "The pathomix authors, MIT licence"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "alabaster"
html_theme_options = {
    "description": "From public identifiers to the tables and figures of multimodal cancer-outcome papers",
    "page_width": "1150px",
    "sidebar_width": "250px",
    "fixed_sidebar": True,
}
html_sidebars = {"**": ["about.html", "navigation.html", "searchbox.html"]}
html_show_sourcelink = False
html_copy_source = False
myst_heading_anchors = 3
suppress_warnings = ["myst.header"]
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_use_ivar = True
pygments_style = "friendly"


def setup(app):
    """Fill in the generated parts of a page when it is read."""
    site = Site(HERE.parent)

    def fill(_, page, content):
        content[0] = site.filled(page, content[0])

    app.connect("source-read", fill)
