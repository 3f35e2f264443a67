"""Every command and program in docs/ works as a reader would run it, page by page."""

import os
import re
import zipfile
from importlib import import_module
from importlib.metadata import metadata
from pathlib import Path

import pytest

from tests.helpers.documents import ROOT, Reader, blocks
from tests.helpers.netns import Namespace
from tests.helpers.requirements import require
from tests.helpers.safetensors import write_safetensors

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
RUN = {"sh", "python"}
EXTRAS = set(metadata("shoal").get_all("Provides-Extra") or ())


def runs(page: Path) -> bool:
    """Return True if a page has a block to run."""
    found = blocks(page.read_text())
    return any(block.language in RUN and not block.mark for block in found)


@pytest.fixture
def reader(namespace: Namespace, tmp_path: Path) -> Reader:
    """Return a reader who has the files that the pages mention."""
    is_set_up = (ROOT / ".venv/.dev-installed").exists()
    require(None if is_set_up else "scripts/setup dev has not run")
    made = Reader(namespace, tmp_path)
    for name in ("photos/dawn.jpg", "photos/dusk.jpg", "photos/raw/dawn.dng"):
        path = made.here / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(200_000))
    (made.here / "model").mkdir()
    (made.here / "model/config.json").write_text('{"layers": 12}\n')
    write_safetensors(made.here / "model/model.safetensors")
    (made.here / "notes.txt").write_text("".join(f"line {i}\n" for i in range(5000)))
    (made.here / "film.mp4").write_bytes(os.urandom(1_000_000))
    with zipfile.ZipFile(made.here / "logs.zip", "w") as archive:
        archive.writestr("today.txt", "all is well\n")
        archive.writestr("noise.bin", os.urandom(1_000_000))
    return made


@pytest.mark.parametrize(
    "page", [*filter(runs, PAGES)], ids=lambda page: str(page.relative_to(DOCS))
)
def test_the_blocks_of_a_page_work(reader: Reader, page: Path) -> None:
    text = page.read_text()
    if "prices.parquet" in text:
        frame = import_module("pandas").DataFrame({"price": [1.0, 2.0, 3.0]})
        frame.to_parquet(reader.here / "prices.parquet")
    try:
        reader.read(text)
    finally:
        reader.kill()


@pytest.mark.parametrize(
    "page", [*PAGES, ROOT / "README.md"], ids=lambda page: str(page.relative_to(ROOT))
)
def test_a_block_that_is_not_run_names_its_test(page: Path) -> None:
    for block in blocks(page.read_text()):
        if block.mark:
            named = re.findall(r"tests/\S+\.py", block.mark)
            assert named
            assert all((ROOT / path).is_file() for path in named), block.mark
        else:
            assert block.language in {*RUN, "text", "json", ""}, block


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *PAGES], ids=lambda page: str(page.relative_to(ROOT))
)
def test_extras_are_installed_from_the_checkout(page: Path) -> None:
    # The name is not on the package index: `shoal[…]` works only where shoal is
    # installed already, as it is for a reader of the command's messages.
    allowed = {".", "shoal"} if page.name == "install.md" else {"."}
    for source, extras in _extras(page.read_text()):
        assert source in allowed, (source, extras)
        assert set(extras) <= EXTRAS


def test_messages_name_extras_that_exist() -> None:
    found = [
        each
        for module in (ROOT / "src").rglob("*.py")
        for each in _extras(module.read_text())
    ]
    assert {source for source, _ in found} == {"shoal"}
    for _, extras in found:
        # The doctor puts the names of those that are missing into its message.
        assert {each for each in extras if not each.startswith("{")} <= EXTRAS


def _extras(text: str) -> list[tuple[str, list[str]]]:
    """Return the source and the names of all extras that a text says to install."""
    found = re.findall(r"pipx? install\s+['\"]([^'\"\[]*)\[([^]]+)\]", text)
    return [(source, extras.split(",")) for source, extras in found]


def test_the_reader_notices_errors(reader: Reader) -> None:
    for wrong in (
        "```sh\nfalse\n```\n",
        "```python\nraise SystemExit(1)\n```\n",
        "```sh\necho one\n```\n\n```text\ntwo\n```\n",
        "```sh\ntrue  # exit code 3\n```\n",
    ):
        with pytest.raises(AssertionError):
            reader.read(wrong)
    reader.read("```sh\necho one two three\n```\n\n```text\none … three\n```\n")
    reader.read("<!-- not run: tests/x.py -->\n```sh\nfalse\n```\n")
