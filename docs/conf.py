"""
Builds the pages of this folder into a site: `nox -s docs`.

By Sphinx, MyST and Furo: all are well kept, the pages stay Markdown that GitHub shows, docstrings become a reference,
and a broken link or a name that is gone is an error. The site works offline: no font, script or search from elsewhere.
"""

from __future__ import annotations

import re
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.errors import SphinxError

project = "inngest_durable"
author = "The inngest_durable authors"
language = "en"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["examples", "_static"]

# Links to sections, as GitHub makes them: a wrong one is an error.
myst_heading_anchors = 4
myst_links_external_new_tab = False

html_theme = "furo"
html_title = "inngest_durable"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#1f4e79", "color-brand-content": "#1f5fa8"},
    "dark_css_variables": {"color-brand-primary": "#9cc4ee", "color-brand-content": "#9cc4ee"},
}
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_show_copyright = False
# Each line that begins with a prompt is a command; what it prints is not copied.
copybutton_prompt_text = "$ "

# Docstrings name things in single backticks.
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
# An extra of the package, which its pages are made without.
autodoc_mock_imports = ["opentelemetry"]
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
napoleon_use_rtype = False
add_module_names = False

_DOCS = Path(__file__).parent
# What a browser would load by itself.
_LOADED = re.compile(
    r"""<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=["'](?:https?:)?//"""
    r"""|url\(["']?(?:https?:)?//"""
)
_LINK_OUT = re.compile(r"\[([^\]]+)\]\((\.\./[^)#]+)\)")


def without_links_out(_app: Sphinx, _page: str, source: list[str]) -> None:
    """Leave the text of links to folders and pages that are on GitHub and not on the site. A wrong one is an error."""

    def text_of(link: re.Match[str]) -> str:
        target = _DOCS / link[2]
        return link[1] if target.is_dir() or (target.suffix == ".md" and target.exists()) else link[0]

    source[0] = _LINK_OUT.sub(text_of, source[0])


def refuse_other_hosts(app: Sphinx, failure: Exception | None) -> None:
    """Fail a build whose pages or styles would make a reader's browser ask another host for something."""
    files = [path for suffix in ("html", "css") for path in Path(app.outdir).rglob(f"*.{suffix}")]
    foreign = [path.name for path in files if _LOADED.search(path.read_text())]
    if failure is None and foreign:
        raise SphinxError(f"these load something from another host: {', '.join(sorted(foreign))}")


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", without_links_out)
    app.connect("build-finished", refuse_other_hosts)
