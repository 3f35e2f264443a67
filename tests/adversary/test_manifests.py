"""Every manifest of the corpus is refused, and the error blames the link's maker."""

import pytest

from shoal.core.manifest.manifest import Manifest
from shoal.core.manifest.pages import PageKey
from shoal.errors import ManifestError
from tests.adversary.paths import Hostile, folder, hostile_manifests, share
from tests.adversary.trees import LEAVES, PER_PAGE, VALID, encode, path_of

CORPUS = hostile_manifests()


def open_all(hostile: Hostile) -> Manifest:
    """Open a manifest as a download does before it writes files."""
    manifest = Manifest(hostile.id, hostile.root)
    while missing := list(manifest.missing()):
        for key in missing:
            assert manifest.add_page(key, hostile.pages[key]), "the corpus is wrong"
    assert manifest.files is not None
    return manifest


def test_the_corpus_has_900_different_manifests() -> None:
    assert len({hostile.label for hostile in CORPUS}) == len(CORPUS)
    assert len({hostile.id for hostile in CORPUS}) >= 800


def test_valid_manifests_from_the_same_encoder_are_accepted() -> None:
    assert open_all(share("fine", name="x", size=5)).root.name == "x"
    files = [("a", 5, False), ("b/c", 40_000, True)]
    assert open_all(folder("fine", files)).is_complete


def test_the_tree_that_hostile_trees_are_made_from_is_accepted() -> None:
    pages: dict[PageKey, bytes] = {}
    count = LEAVES * PER_PAGE
    files = [count, 2, encode(VALID, pages)]
    manifest = open_all(share("fine", file_pages=pages, size=count, files=files))
    assert len(pages) == LEAVES + LEAVES // PER_PAGE + 1
    assert [file.path for file in manifest.files] == [path_of(i) for i in range(count)]


@pytest.mark.parametrize("hostile", CORPUS, ids=lambda hostile: hostile.label)
def test_a_hostile_manifest_is_refused_and_the_link_blamed(hostile: Hostile) -> None:
    with pytest.raises(ManifestError) as caught:
        open_all(hostile)
    message = str(caught.value)
    assert caught.value.exit_code == 5
    assert message.isprintable()
    assert len(message) < 2000
