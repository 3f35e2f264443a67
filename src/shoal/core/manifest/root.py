"""Encode, decode and measure the root record: the few bytes whose hash is the id; pure.

It has the name and the size of a share, and the hash of every page of its manifest, so
that each page can be verified when it arrives. It is a canonical msgpack map: there is
one encoding of a root, and any other is refused even if its hash is the id.
docs/protocol.md, "Root record".

A peer is to blame for bytes whose hash is not the id. Bytes whose hash is the id come
from the maker of the link: no peer has better ones, and the download ends with a
`ManifestError`.

The root must fit into `MAX_ROOT_SIZE`, which limits the number of chunks. Small chunks
spread sooner and waste less on a peer that sends wrong ones; large chunks make a small
root. The choice of their size is frozen: the id depends on it, and two users who share
the same content publicly should get the same link.
"""

import hmac

import msgspec
from msgspec import Struct

from shoal.core.crypto.hashes import DIGEST_SIZE, Bytes, root_digest
from shoal.core.manifest.chunks import MAX_CHUNK_SIZE, Chunks
from shoal.core.manifest.pages import HASHES_PER_PAGE, MALFORMED, refusal
from shoal.core.manifest.paths import name_problem, shown
from shoal.errors import LyingPeerError, ManifestError, ProtocolError, UsageError

__all__ = [
    "MAX_ROOT_SIZE",
    "MAX_SHARE_SIZE",
    "MIN_CHUNK_SIZE",
    "SALT_SIZE",
    "VERSION",
    "Root",
    "check_root_fits",
    "check_sealed_chunk_size",
    "choose_chunk_size",
    "decode_root",
    "derive_salt",
    "encode_root",
    "is_chunk_size",
]

VERSION = 2
MAX_ROOT_SIZE = 8 * 1024  # bytes
MAX_SHARE_SIZE = (1 << 53) - 1  # bytes; JavaScript counts no further
MIN_CHUNK_SIZE = 16 * 1024  # bytes
SALT_SIZE = 16  # bytes
SECRET_SIZE = 32  # bytes
SMALLEST_CHOICE = 64 * 1024  # bytes; the smallest chunk size that we choose
LARGEST_CHOICE = 4 * 1024 * 1024  # bytes, unless the root would be too large
USUAL_COUNT = 1024  # chunks that a share has at most, up to `LARGEST_CHOICE`


# The fields are in the byte order of their keys on the wire.
class Root(
    Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    forbid_unknown_fields=True,
    rename={"chunk_size": "chunk", "version": "v"},
):
    """Describe a share, and commit to all of its bytes."""

    chunk_size: int
    """Bytes; a power of two from 16 KiB to 16 MiB."""
    files: bytes | None = None
    """The hash of each page of the file table; None for a single file."""
    hashes: bytes
    """The hash of each page of the chunk hash table."""
    name: str
    """The name of the file or folder; one component of a path."""
    salt: bytes | None = None
    """16 bytes that no one can guess; None for a public share."""
    size: int
    """Bytes of all files."""
    version: int
    """Version of the format: `VERSION`."""

    def __repr__(self) -> str:
        """Return a text without the hashes: the whole record would give the link."""
        return f"<Root {shown(self.name)} of {self.size} bytes>"

    @property
    def chunks(self) -> Chunks:
        """Return how the share is cut into chunks."""
        return Chunks(self.size, self.chunk_size)

    @property
    def is_folder(self) -> bool:
        """Return True if the share is a folder, which has a file table."""
        return self.files is not None

    @property
    def hash_page_count(self) -> int:
        """Return how many pages the chunk hash table has."""
        return -(-self.chunks.count // HASHES_PER_PAGE)


class _Version(Struct):
    version: object = msgspec.field(name="v", default=None)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Root)
_version_decoder = msgspec.msgpack.Decoder(_Version)


def encode_root(root: Root) -> bytes:
    """Return the root record, as it is hashed and sent.

    Raises `ManifestError` for a root that `decode_root` would refuse.
    """
    _check(root)
    data = _encoder.encode(root)
    if len(data) > MAX_ROOT_SIZE:
        raise refusal(f"its root record has {len(data)} bytes")
    return data


def decode_root(share_id: bytes, data: Bytes) -> Root:
    """Return the root of the share with the id `share_id`.

    Raises `ProtocolError` if `data` is too long, `LyingPeerError` if its hash is not
    the id: then another peer may have the right one. Raises `ManifestError` if its hash
    is the id and it is not a valid root.
    """
    if len(data) > MAX_ROOT_SIZE:
        raise ProtocolError(f"a root record of {len(data)} bytes")
    if root_digest(data) != share_id:
        raise LyingPeerError("a root record that does not give the id")
    _check_version(data)
    try:
        root = _decoder.decode(data)
    except MALFORMED as error:
        raise refusal(f"its root record is malformed: {str(error)[:120]}") from error
    _check(root)
    if _encoder.encode(root) != data:
        raise refusal("its root record is not canonical")
    return root


def is_chunk_size(chunk_size: int) -> bool:
    """Return True if the chunks of a sealed share may have that many bytes."""
    return (
        MIN_CHUNK_SIZE <= chunk_size <= MAX_CHUNK_SIZE
        and chunk_size & (chunk_size - 1) == 0
    )


def derive_salt(secret: bytes, root_without_salt: bytes) -> bytes:
    """Return the salt that a user's `secret` gives a share.

    The same user who shares the same content gets the same link; another user with the
    same file cannot guess it. Receivers do not verify the salt.
    """
    if len(secret) != SECRET_SIZE:
        raise ValueError(f"a secret has {SECRET_SIZE} bytes, not {len(secret)}")
    return hmac.digest(secret, root_without_salt, "sha256")[:SALT_SIZE]


def choose_chunk_size(size: int, *, name: str = "", file_pages: int = 0) -> int:
    """Return the chunk size for a share of `size` bytes.

    Raises `UsageError` if no chunk size fits.
    """
    chunk_size = SMALLEST_CHOICE
    while chunk_size < LARGEST_CHOICE and size > USUAL_COUNT * chunk_size:
        chunk_size *= 2
    fitting = _fitting_size(Chunks(size, chunk_size), name, file_pages)
    if fitting is None:
        raise _too_large(size)
    return fitting


def check_sealed_chunk_size(chunk_size: int) -> None:
    """Raise `UsageError` unless a sealed share may have chunks of that size."""
    if not is_chunk_size(chunk_size):
        raise UsageError(
            f"The chunks of a share cannot have {chunk_size} bytes; choose a power "
            f"of two from {MIN_CHUNK_SIZE} to {MAX_CHUNK_SIZE}."
        )


def check_root_fits(chunks: Chunks, *, name: str, file_pages: int) -> None:
    """Check, before any chunk is hashed, that the root record is not too large.

    Raises `UsageError` that names a chunk size that fits.
    """
    fitting = _fitting_size(chunks, name, file_pages)
    if fitting is None:
        raise _too_large(chunks.size)
    if fitting != chunks.chunk_size:
        raise UsageError(
            f"At {chunks.chunk_size} bytes a chunk this share has {chunks.count} "
            f"chunks, too many for one link; use --chunk-size {fitting}."
        )


def _fitting_size(chunks: Chunks, name: str, file_pages: int) -> int | None:
    """Return the smallest chunk size, from that of `chunks` on, whose root fits."""
    if chunks.size > MAX_SHARE_SIZE:
        return None
    chunk_size = chunks.chunk_size
    while _root_size(chunks.size, chunk_size, name, file_pages) > MAX_ROOT_SIZE:
        if chunk_size >= MAX_CHUNK_SIZE:
            return None
        chunk_size *= 2
    return chunk_size


def _root_size(size: int, chunk_size: int, name: str, file_pages: int) -> int:
    """Return how many bytes the root has.

    It is measured with a salt, so that `--public` does not change the chunk size.
    """
    hash_pages = -(-Chunks(size, chunk_size).count // HASHES_PER_PAGE)
    hashes_size = DIGEST_SIZE * (hash_pages + file_pages)
    if hashes_size > MAX_ROOT_SIZE:
        return hashes_size
    root = Root(
        version=VERSION,
        name=name,
        size=size,
        chunk_size=chunk_size,
        hashes=bytes(DIGEST_SIZE * hash_pages),
        files=bytes(DIGEST_SIZE * file_pages) if file_pages else None,
        salt=bytes(SALT_SIZE),
    )
    return len(_encoder.encode(root))


def _too_large(size: int) -> UsageError:
    return UsageError(
        f"This share of {size} bytes is too large, or has too many files or too long "
        "paths, for one link; share it in parts."
    )


def _check(root: Root) -> None:
    """Raise `ManifestError` unless every value is in range and they agree."""
    if root.version != VERSION:
        raise refusal(f"its root record has version {root.version}")
    problem = name_problem(root.name)
    if problem is not None:
        raise refusal(f"its name {shown(root.name)} {problem}")
    if not 0 <= root.size <= MAX_SHARE_SIZE:
        raise refusal(f"it claims to have {root.size} bytes")
    if not is_chunk_size(root.chunk_size):
        raise refusal(f"it claims to have chunks of {root.chunk_size} bytes")
    if len(root.hashes) != DIGEST_SIZE * root.hash_page_count:
        raise refusal("its size does not agree with the number of its hash pages")
    if root.files is not None and (not root.files or len(root.files) % DIGEST_SIZE):
        raise refusal("the hashes of its file pages are not whole")
    if root.salt is not None and len(root.salt) != SALT_SIZE:
        raise refusal(f"its salt has {len(root.salt)} bytes")


def _check_version(data: Bytes) -> None:
    """Raise `ManifestError` if the root has a newer format."""
    try:
        version = _version_decoder.decode(data).version
    except MALFORMED:
        return
    if type(version) is int and version > VERSION:
        raise ManifestError(
            "This link was made by a newer shoal than this one; update shoal."
        )
