"""Add pages from outside `docs/` to the site; a hook that mkdocs calls.

Readers expect these files at the top of a repository, and copies would go stale.
"""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

__all__ = ["on_files"]

ABOVE = {"contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages, with their links made relative to `docs/`."""
    top = Path(config.docs_dir).parent
    for page, source in ABOVE.items():
        text = re.sub(r"\]\(docs/", "](", (top / source).read_text())
        files.append(File.generated(config, page, content=text))
    return files
