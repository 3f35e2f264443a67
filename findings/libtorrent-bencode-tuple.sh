#!/bin/sh
# libtorrent's bencode copies a tuple into its output as raw bytes, and its bdecode
# turns integers from 2**63 on into 0.
#
# Packages: libtorrent 2.1.1, bencode2 0.3.38 for comparison (PyPI), CPython 3.11.
#
# Expected: a tuple is encoded as a list, as bencode2 and most other packages do, or
# refused; bdecode(bencode(x)) gives x; an integer that does not fit is refused.
# BEP 3 gives integers no size limit:
# https://www.bittorrent.org/beps/bep_0003.html#bencoding
#
# What happens: the binding takes a tuple for "already encoded" and each of its numbers
# for one byte of output. [1, (2, 3)] becomes b'li1e\x02\x03e', which bdecode refuses,
# and the tuple (105, 53, 101) becomes b'i5e', which it decodes as the integer 5. There
# is no warning. In the other direction bdecode reads 9223372036854775808 as 0 without
# an error, although bencode refuses to write that number with OverflowError. A
# structure that passed through a function that returns tuples, or a hash stored as a
# number, thus changes silently.
#
# Output seen:
#   bencode([1, (2, 3)]): b'li1e\x02\x03e', bdecode: RuntimeError
#   bencode((105, 53, 101)): b'i5e', bdecode: 5
#   bencode2 of the same: b'li1eli2ei3eee', b'li105ei53ei101ee'
#   bdecode(b'i9223372036854775807e'): 9223372036854775807
#   bdecode(b'i9223372036854775808e'): 0
#   bencode(9223372036854775808): OverflowError
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' HUP INT TERM
{ python3 -m venv "$work/venv" &&
    "$work/venv/bin/pip" install -qq 'libtorrent==2.1.1' 'bencode2==0.3.38'; } >&2 ||
    { echo "could not install the packages" >&2; exit 2; }
"$work/venv/bin/python" -W error - <<'PYTHON'
import sys

import bencode2
import libtorrent


def attempt(call, argument):
    """Return the call's result, or the name of the exception it raises."""
    try:
        return call(argument)
    except Exception as error:
        return type(error).__name__


NESTED, FLAT = [1, (2, 3)], (105, 53, 101)
nested, flat = libtorrent.bencode(NESTED), libtorrent.bencode(FLAT)
nested_back, flat_back = attempt(libtorrent.bdecode, nested), attempt(libtorrent.bdecode, flat)
print(f"bencode({NESTED}): {nested}, bdecode: {nested_back}")
print(f"bencode({FLAT}): {flat}, bdecode: {flat_back}")
others = bencode2.bencode(NESTED), bencode2.bencode(FLAT)
print(f"bencode2 of the same: {others[0]}, {others[1]}")
largest = libtorrent.bdecode(b"i9223372036854775807e")
beyond = attempt(libtorrent.bdecode, b"i9223372036854775808e")
written = attempt(libtorrent.bencode, 2**63)
print(f"bdecode(b'i9223372036854775807e'): {largest}")
print(f"bdecode(b'i9223372036854775808e'): {beyond}")
print(f"bencode(9223372036854775808): {written}")
same = (
    nested == b"li1e\x02\x03e"
    and nested_back == "RuntimeError"
    and (flat, flat_back) == (b"i5e", 5)
    and (largest, beyond, written) == (2**63 - 1, 0, "OverflowError")
)
sys.exit(0 if same else "the behaviour has changed")
PYTHON
