#!/bin/sh
# A MessagePack integer from JavaScript becomes a float at 2**32, so a strict reader
# works until the first file of 4 GiB.
#
# Packages: msgpackr 2.1.4, @msgpack/msgpack 3.1.3 (npm), msgspec 0.23.0 (PyPI),
# Node 20, CPython 3.11.
#
# Expected: JavaScript has one number type, and MessagePack libraries for it encode a
# whole number as an integer. MessagePack has 64-bit integers, JavaScript is exact up to
# 2**53, and @msgpack/msgpack writes uint 64 up to there. The specification maps the
# type Integer to the formats of the int family only:
# https://github.com/msgpack/msgpack/blob/master/spec.md#serialization-type-to-format-conversion
#
# What happens: msgpackr writes whole numbers below 2**32 as int and larger ones as
# float 64, down to -2**31 likewise. In JavaScript the difference cannot be seen, since
# its own reader gives the same number back. msgspec decodes 4294967295 into an int
# field and rejects 4294967296 in the same field, "Expected `int`, got `float`", while
# the number 1 passes. With an untyped decode the value arrives as a float. Only a
# BigInt is written as a 64-bit integer, and then even 5n takes nine bytes.
#
# Output seen:
#   msgpackr 4294967295: ceffffffff -> 4294967295
#   msgpackr 4294967296: cb41f0000000000000 -> ValidationError: Expected `int`, got `float`
#   msgpackr -2147483649: cbc1e0000000200000 -> ValidationError: Expected `int`, got `float`
#   msgpackr 5n: d30000000000000005 -> 5
#   @msgpack/msgpack 4294967296: cf0000000100000000 -> 4294967296
#   @msgpack/msgpack -2147483649: d3ffffffff7fffffff -> -2147483649
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' HUP INT TERM
{ python3 -m venv "$work/venv" &&
    "$work/venv/bin/pip" install -qq 'msgspec==0.23.0' &&
    npm install --prefix "$work" --no-audit --no-fund --no-optional --silent \
        'msgpackr@2.1.4' '@msgpack/msgpack@3.1.3'; } >&2 ||
    { echo "could not install the packages" >&2; exit 2; }
cat > "$work/encode.mjs" <<'JAVASCRIPT'
import { pack } from "msgpackr";
import { encode } from "@msgpack/msgpack";

const show = (library, value, bytes) =>
  console.log([library, typeof value === "bigint" ? `${value}n` : value, Buffer.from(bytes).toString("hex")].join("\t"));
for (const value of [4294967295, 4294967296, -2147483649, 5n]) show("msgpackr", value, pack(value));
for (const value of [4294967296, -2147483649]) show("@msgpack/msgpack", value, encode(value));
JAVASCRIPT
node "$work/encode.mjs" > "$work/encoded"
"$work/venv/bin/python" - "$work/encoded" <<'PYTHON'
import sys

import msgspec

results = {}
for line in open(sys.argv[1]):
    library, value, encoded = line.rstrip("\n").split("\t")
    try:
        result = str(msgspec.msgpack.decode(bytes.fromhex(encoded), type=int))
    except msgspec.ValidationError as error:
        result = f"ValidationError: {error}"
    print(f"{library} {value}: {encoded} -> {result}")
    results[library, value] = result
refused = "ValidationError: Expected `int`, got `float`"
same = results == {
    ("msgpackr", "4294967295"): "4294967295",
    ("msgpackr", "4294967296"): refused,
    ("msgpackr", "-2147483649"): refused,
    ("msgpackr", "5n"): "5",
    ("@msgpack/msgpack", "4294967296"): "4294967296",
    ("@msgpack/msgpack", "-2147483649"): "-2147483649",
}
sys.exit(0 if same else "the behaviour has changed")
PYTHON
