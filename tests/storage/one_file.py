"""One small file to download to a disk that fails."""

from tests.storage.one_folder import IDENTITY, ROOT, Case

FILE = Case(None, 100, size=24_950)
TARGET = FILE.target
STAGING = ROOT / f".file.shoal-{IDENTITY[:4].hex()}"
CHUNKS = FILE.chunks
CONTENT = FILE.content
chunk = FILE.chunk
items = FILE.items
verify = FILE.verify
open_store = FILE.open
full_store = FILE.full
half_done = FILE.half_done
check_claims = FILE.check_claims
