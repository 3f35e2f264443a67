"""Every manifest of the corpus is refused, and the error blames the link's maker."""

import pytest

from shoal.core.manifest.manifest import Manifest
from shoal.errors import ManifestError
from tests.adversary.paths import Hostile, folder, hostile_manifests, share

CORPUS = hostile_manifests()


def open_all(hostile: Hostile) -> Manifest:
    """Open a manifest as a download does before it writes files."""
    manifest = Manifest(hostile.id, hostile.root)
    for number, page in enumerate(hostile.pages):
        assert manifest.add_page(number, page), "the corpus is wrong"
    assert manifest.files is not None
    return manifest


def test_the_corpus_has_500_different_manifests() -> None:
    assert len({hostile.label for hostile in CORPUS}) == len(CORPUS)
    assert len({hostile.id for hostile in CORPUS}) >= 500


def test_valid_manifests_from_the_same_encoder_are_accepted() -> None:
    assert open_all(share("fine", name="x", size=5)).root.name == "x"
    files = [("a", 5, False), ("b/c", 40_000, True)]
    assert open_all(folder("fine", files)).is_complete


@pytest.mark.parametrize("hostile", CORPUS, ids=lambda hostile: hostile.label)
def test_a_hostile_manifest_is_refused_and_the_link_blamed(hostile: Hostile) -> None:
    with pytest.raises(ManifestError) as caught:
        open_all(hostile)
    message = str(caught.value)
    assert caught.value.exit_code == 5
    assert message.isprintable()
    assert len(message) < 2000
