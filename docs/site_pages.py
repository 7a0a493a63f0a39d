"""Pages of the site that lie outside of docs/: README.md becomes its first page, CONTRIBUTING.md another (mkdocs.yml has this file as a hook).

Links are written for GitHub; between these files and the pages of docs/ they are turned into links of the site.
"""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

OUTSIDE = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The files of docs/, and those of OUTSIDE under their names in the site."""
    root = Path(config.config_file_path).parent
    for name, page in OUTSIDE.items():
        text = (root / name).read_text().replace("](docs/)", "](index.md)").replace("](docs/", "](")
        files.append(File.generated(config, page, content=_with_site_links(text)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The text of a page of docs/, whose links to files of OUTSIDE lead to their pages."""
    return _with_site_links(markdown.replace("](../", "]("))


def _with_site_links(text: str) -> str:
    return re.sub(
        r"\]\((" + "|".join(map(re.escape, OUTSIDE)) + r")(#[^)]*)?\)",
        lambda m: f"]({OUTSIDE[m[1]]}{m[2] or ''})",
        text,
    )
