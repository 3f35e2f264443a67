#!/bin/sh
# s3fs answers a range of zero bytes with the whole object, unless fsspec merges it.
#
# Packages: s3fs 2026.9.0, fsspec 2026.9.0, moto 5.2.5 as the server (PyPI), CPython 3.11.
#
# Expected: cat_file(path, start=5, end=5) is b"", because start and end behave
# "like usual python slices":
# https://filesystem-spec.readthedocs.io/en/latest/api.html#fsspec.spec.AbstractFileSystem.cat_file
# fsspec's HTTP and memory file systems return b"".
#
# What happens: s3fs turns the slice into "Range: bytes=5-4". RFC 9110, section 14.1.1,
# calls such a range invalid, and section 14.2 lets a server ignore the header, so the
# answer is 200 with the complete object, which s3fs returns without a look at the status.
# A reference file system (kerchunk) whose entry has length 0 inherits this when the
# entry is read alone. Read together with a neighbouring entry it is correct, because
# fsspec then merges the two ranges into one request and cuts the parts out itself. The
# length of a value thus depends on what else is asked for in the same call.
#
# Output seen:
#   s3fs cat_file(5, 5): 25600 bytes, cat_file(0, 0): 25600 bytes
#   s3fs cat_ranges 0-4, 5-5, 7-9: [4, 25600, 2] bytes
#   reference with length 0: cat("empty") 25600 bytes, cat(["empty"]) 25600 bytes, cat(["empty", "ten"])["empty"] 0 bytes
#   memory cat_file(5, 5): 0 bytes
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' HUP INT TERM
{ python3 -m venv "$work/venv" &&
    "$work/venv/bin/pip" install -qq 's3fs==2026.9.0' 'fsspec==2026.9.0' \
        'aiobotocore==3.10.0' 'boto3==1.43.117' 'botocore==1.43.117' 'moto==5.2.5' 'flask==3.1.3' 'flask-cors==6.0.5' 'PyYAML==6.0.4' 'py-partiql-parser==0.6.3'; } >&2 ||
    { echo "could not install the packages" >&2; exit 2; }
export AWS_ACCESS_KEY_ID=none AWS_SECRET_ACCESS_KEY=none AWS_DEFAULT_REGION=us-east-1
"$work/venv/bin/python" -W ignore - <<'PYTHON'
import logging
import sys

import fsspec
from moto.server import ThreadedMotoServer

logging.getLogger("werkzeug").setLevel(logging.ERROR)
SIZE = 25_600  # Bytes.

server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
options = {"endpoint_url": f"http://{host}:{port}"}
s3 = fsspec.filesystem("s3", **options)
s3.mkdir("bucket")
s3.pipe("bucket/object", bytes(SIZE))

middle = len(s3.cat_file("bucket/object", start=5, end=5))
head = len(s3.cat_file("bucket/object", start=0, end=0))
print(f"s3fs cat_file(5, 5): {middle} bytes, cat_file(0, 0): {head} bytes")

three = [len(part) for part in s3.cat_ranges(["bucket/object"] * 3, [0, 5, 7], [4, 5, 9])]
print(f"s3fs cat_ranges 0-4, 5-5, 7-9: {three} bytes")

references = fsspec.filesystem(
    "reference",
    fo={"empty": ["s3://bucket/object", 5, 0], "ten": ["s3://bucket/object", 5, 10]},
    remote_protocol="s3",
    remote_options=options,
)
alone = len(references.cat("empty"))
listed = len(references.cat(["empty"])["empty"])
merged = len(references.cat(["empty", "ten"])["empty"])
print(f'reference with length 0: cat("empty") {alone} bytes, '
      f'cat(["empty"]) {listed} bytes, cat(["empty", "ten"])["empty"] {merged} bytes')

memory = fsspec.filesystem("memory")
memory.pipe("/object", bytes(SIZE))
control = len(memory.cat_file("/object", start=5, end=5))
print(f"memory cat_file(5, 5): {control} bytes")
server.stop()

seen = (middle, head, three, alone, listed, merged, control)
sys.exit("the behaviour has changed" if seen != (SIZE, SIZE, [4, SIZE, 2], SIZE, SIZE, 0, 0) else 0)
PYTHON
