"""The root record: the few bytes that an id is the hash of.

It says what the share is called and how large it is, and holds the hash of every
page of the manifest, so that each page is verified by itself as it comes. It is a
canonical msgpack map: there is one way to write a root down, and any other bytes
are refused even if an id was made of them. docs/protocol.md, "Link, root record and
manifest".

Whoever sends bytes that do not give the id is to blame for them. Bytes that do are
the doing of whoever made the link: then no peer has better ones, and the whole
download ends with a `ManifestError`.
"""

import hmac

import msgspec
from msgspec import Struct

from shoal.core.crypto.hashes import DIGEST_SIZE, Bytes, root_digest
from shoal.core.manifest.chunks import MAX_CHUNK_SIZE, Chunks
from shoal.core.manifest.paths import name_problem, shown
from shoal.errors import LyingPeerError, ManifestError, ProtocolError

__all__ = [
    "HASHES_PER_PAGE",
    "MALFORMED",
    "MAX_ROOT_SIZE",
    "MAX_SHARE_SIZE",
    "MIN_CHUNK_SIZE",
    "PAGE_SIZE",
    "SALT_SIZE",
    "VERSION",
    "Root",
    "decode_root",
    "derive_salt",
    "encode_root",
    "is_chunk_size",
    "refusal",
]

VERSION = 1
MAX_ROOT_SIZE = 8 * 1024  # bytes
MAX_SHARE_SIZE = (1 << 53) - 1  # bytes; where JavaScript stops counting
MIN_CHUNK_SIZE = 16 * 1024  # bytes
PAGE_SIZE = 64 * 1024  # bytes
HASHES_PER_PAGE = PAGE_SIZE // DIGEST_SIZE
SALT_SIZE = 16  # bytes
SECRET_SIZE = 32  # bytes


# The fields stand in the byte order of their keys on the wire.
class Root(
    Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    forbid_unknown_fields=True,
    rename={"chunk_size": "chunk", "version": "v"},
):
    """Say what a share is, and commit to all of it."""

    chunk_size: int
    """Bytes; a power of two from 16 KiB to 16 MiB."""
    files: bytes | None = None
    """The hashes of the file table's pages; None for a single file."""
    hashes: bytes
    """The hashes of the pages of the chunk hash table."""
    name: str
    """What the file or folder is called; one component of a path."""
    salt: bytes | None = None
    """16 bytes that nobody can guess; None for a public share."""
    size: int
    """Bytes of all files."""
    version: int
    """Of the format: `VERSION`."""

    def __repr__(self) -> str:
        """Tell two roots apart; all of one would be as good as the link."""
        return f"<Root {shown(self.name)} of {self.size} bytes>"

    @property
    def chunks(self) -> Chunks:
        """Return how the share is cut."""
        return Chunks(self.size, self.chunk_size)

    @property
    def is_folder(self) -> bool:
        """Say whether the share is a folder: it has a file table then."""
        return self.files is not None

    @property
    def hash_page_count(self) -> int:
        """Return how many pages the chunk hash table has."""
        return -(-self.chunks.count // HASHES_PER_PAGE)

    @property
    def file_page_count(self) -> int:
        """Return how many pages the file table has; none for a single file."""
        return len(self.files or b"") // DIGEST_SIZE

    def hash_page_size(self, number: int) -> int:
        """Return how many bytes page `number` of the chunk hash table has."""
        rest = self.chunks.count - number * HASHES_PER_PAGE
        return DIGEST_SIZE * min(rest, HASHES_PER_PAGE)


class _Version(Struct):
    version: object = msgspec.field(name="v", default=None)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Root)
_version_decoder = msgspec.msgpack.Decoder(_Version)
MALFORMED = (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError)
"""Everything that msgspec raises for bytes that do not fit."""


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
    """Read the root record of the share called `share_id`.

    Raises `ProtocolError` when it is too long, `LyingPeerError` when it does not
    give the id: then another peer may have the right one. Raises `ManifestError`
    when it does and yet is no proper root.
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
        raise refusal("its root record is not written in the one way there is")
    return root


def is_chunk_size(chunk_size: int) -> bool:
    """Say whether a sealed share may have chunks of that many bytes."""
    return (
        MIN_CHUNK_SIZE <= chunk_size <= MAX_CHUNK_SIZE
        and chunk_size & (chunk_size - 1) == 0
    )


def derive_salt(secret: bytes, root_without_salt: bytes) -> bytes:
    """Return the salt that a user's `secret` gives a share.

    The same user sharing the same thing gets the same link; someone who has the
    same file cannot guess it. Nobody verifies it.
    """
    if len(secret) != SECRET_SIZE:
        raise ValueError(f"a secret has {SECRET_SIZE} bytes, not {len(secret)}")
    return hmac.digest(secret, root_without_salt, "sha256")[:SALT_SIZE]


def refusal(problem: str) -> ManifestError:
    """Return the error that ends the download of a share with this problem."""
    return ManifestError(
        f"This link is refused, and nothing was written: {problem}. Whoever made it "
        "has to share again."
    )


def _check(root: Root) -> None:
    """Raise `ManifestError` unless all of `root` is in range and agrees."""
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
    """Raise `ManifestError` when the root is of a format not known here."""
    try:
        version = _version_decoder.decode(data).version
    except MALFORMED:
        return
    if type(version) is int and version > VERSION:
        raise ManifestError(
            "This link was made by a newer shoal than this one; update shoal."
        )
