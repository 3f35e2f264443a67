"""Every manifest of the corpus is refused, and blamed on whoever made the link."""

import pytest

from shoal.core.manifest.manifest import Manifest
from shoal.errors import ManifestError
from tests.adversary.paths import Hostile, folder, hostile_manifests, share

CORPUS = hostile_manifests()


def open_all(hostile: Hostile) -> Manifest:
    """Do what a download does before it writes anything."""
    manifest = Manifest(hostile.id, hostile.root)
    for number, page in enumerate(hostile.pages):
        assert manifest.add_page(number, page), "the corpus itself is wrong"
    assert manifest.files is not None
    return manifest


def test_the_corpus_is_as_large_as_promised() -> None:
    assert len({hostile.label for hostile in CORPUS}) == len(CORPUS)
    assert len({hostile.id for hostile in CORPUS}) >= 500


def test_the_corpus_would_be_accepted_but_for_what_it_says_is_wrong() -> None:
    assert open_all(share("fine", name="x", size=5)).root.name == "x"
    files = [("a", 5, False), ("b/c", 40_000, True)]
    assert open_all(folder("fine", files)).is_complete


@pytest.mark.parametrize("hostile", CORPUS, ids=lambda hostile: hostile.label)
def test_refused_as_the_link_makers_doing(hostile: Hostile) -> None:
    with pytest.raises(ManifestError) as caught:
        open_all(hostile)
    message = str(caught.value)
    assert caught.value.exit_code == 5
    assert message.isprintable()
    assert len(message) < 2000
