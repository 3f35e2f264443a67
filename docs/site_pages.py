"""Give the site the pages that lie above `docs/`: mkdocs calls this while it builds.

They stay where people look for them in a repository, and are written once.
"""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

__all__ = ["on_files"]

ABOVE = {"contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add those pages, their links as they are seen from `docs/`."""
    top = Path(config.docs_dir).parent
    for page, source in ABOVE.items():
        text = re.sub(r"\]\(docs/", "](", (top / source).read_text())
        files.append(File.generated(config, page, content=text))
    return files
