"""Encode, decode and check the root record: the few bytes whose hash is the id; pure.

It has the name and the size of a share, and the hashes at the top of the two trees of
its manifest, so that each page can be verified when it arrives. It is a canonical
msgpack map: there is one encoding of a root, and any other is refused even if its hash
is the id. docs/protocol.md, "Root record".

A peer is to blame for bytes whose hash is not the id. Bytes whose hash is the id come
from the maker of the link: no peer has better ones, and the download ends with a
`ManifestError`.
"""

import hmac

import msgspec
from msgspec import Struct

from shoal.core.crypto.hashes import DIGEST_SIZE, Bytes, root_digest
from shoal.core.manifest.chunk_sizes import MAX_CHUNKS, is_chunk_size
from shoal.core.manifest.chunks import Chunks
from shoal.core.manifest.file_pages import (
    MAX_FILES,
    ContentType,
    Date,
    FilesTop,
    Mode,
)
from shoal.core.manifest.hash_table import level_counts
from shoal.core.manifest.pages import FILES, MALFORMED, PageKey
from shoal.core.manifest.paths import name_problem, shown
from shoal.errors import (
    LyingPeerError,
    ManifestError,
    ProtocolError,
    bad_link,
)

__all__ = [
    "MAX_ROOT_SIZE",
    "MAX_SHARE_SIZE",
    "SALT_SIZE",
    "VERSION",
    "Root",
    "decode_root",
    "derive_salt",
    "encode_root",
]

VERSION = 2
MAX_ROOT_SIZE = 8 * 1024  # bytes
MAX_SHARE_SIZE = (1 << 53) - 1  # bytes; JavaScript counts no further
SALT_SIZE = 16  # bytes
SECRET_SIZE = 32  # bytes
# A page of the file table below which a tree has this many, to limit its depth.
_MIN_BELOW = 14


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
    date: Date | None = None
    """Of a single file: when it changed last, in milliseconds since 1970. Like `mode`
    and `type`, it is checked and not used yet."""
    files: FilesTop | None = None
    """The top of the file table; None for a single file."""
    hashes: bytes
    """The hash of each page at the top of the hash table."""
    mode: Mode | None = None
    """Of a single file: its permissions."""
    name: str
    """The name of the file or folder; one component of a path."""
    salt: bytes | None = None
    """16 bytes that no one can guess; None for a public share."""
    size: int
    """Bytes of all files."""
    type: ContentType | None = None
    """Of a single file: its content type."""
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
    def file_count(self) -> int:
        """Return how many files the share has."""
        return 1 if self.files is None else self.files.count

    def may_have_page(self, key: PageKey) -> bool:
        """Return True if the manifest can have such a page.

        Of the file table, only the pages above know which of them exist.
        """
        if key.table == FILES:
            top = self.files
            return top is not None and (
                key.level <= top.depth and key.number < max(top.count, 1)
            )
        counts = level_counts(self.chunks.count)
        return key.level < len(counts) and key.number < counts[key.level]


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
        raise bad_link(f"its root record has {len(data)} bytes")
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
        raise bad_link(f"its root record is malformed: {str(error)[:120]}") from error
    _check(root)
    if _encoder.encode(root) != data:
        raise bad_link("its root record is not canonical")
    return root


def derive_salt(secret: bytes, root_without_salt: bytes) -> bytes:
    """Return the salt that a user's `secret` gives a share.

    The same user who shares the same content gets the same link; another user with the
    same file cannot guess it. Receivers do not verify the salt.
    """
    if len(secret) != SECRET_SIZE:
        raise ValueError(f"a secret has {SECRET_SIZE} bytes, not {len(secret)}")
    return hmac.digest(secret, root_without_salt, "sha256")[:SALT_SIZE]


def _check(root: Root) -> None:
    """Raise `ManifestError` unless every value is in range and they agree."""
    if root.version != VERSION:
        raise bad_link(f"its root record has version {root.version}")
    problem = name_problem(root.name)
    if problem is not None:
        raise bad_link(f"its name {shown(root.name)} {problem}")
    if not 0 <= root.size <= MAX_SHARE_SIZE:
        raise bad_link(f"it claims to have {root.size} bytes")
    if not is_chunk_size(root.chunk_size):
        raise bad_link(f"it claims to have chunks of {root.chunk_size} bytes")
    if root.chunks.count > MAX_CHUNKS:
        raise bad_link(f"it claims to have {root.chunks.count} chunks")
    if len(root.hashes) != DIGEST_SIZE * level_counts(root.chunks.count)[-1]:
        raise bad_link("its size does not agree with the number of its hash pages")
    if root.files is not None:
        _check_files(root, root.files)
    if root.salt is not None and len(root.salt) != SALT_SIZE:
        raise bad_link(f"its salt has {len(root.salt)} bytes")


def _check_files(root: Root, top: FilesTop) -> None:
    """Raise `ManifestError` unless the top of the file table is possible."""
    if not 0 <= top.count <= MAX_FILES:
        raise bad_link(f"it claims to have {top.count} files")
    # Every page but the last of its level is nearly full, so this limits the depth.
    if not 0 <= top.depth < 8 or _MIN_BELOW**top.depth > max(top.count, 1):
        raise bad_link(f"its file table claims a depth of {top.depth}")
    if not top.count and root.size:
        raise bad_link("the sizes of its files do not add up")
    if (root.date, root.mode, root.type) != (None, None, None):
        raise bad_link("its root record describes a folder as a file")


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
