#!/bin/sh
# Copying a msgspec Struct runs __post_init__ again, except by copy.copy() and convert().
#
# Packages: msgspec 0.23.0, attrs 26.1.0 for comparison (PyPI), CPython 3.11.
#
# Expected: a copy equals its original. dataclasses and attrs classes restore the fields
# and run no initializer in copy.copy(), copy.deepcopy() and pickle. msgspec documents
# __post_init__ as running after __init__, decoding and convert:
# https://jcristharif.com/msgspec/structs.html#post-init-processing
#
# What happens: deepcopy() and pickle build a new Struct through its constructor, so
# __post_init__ runs on fields that it has already changed. copy.copy() does not run it.
# Any __post_init__ that is not idempotent (one that adds a header's length, appends a
# suffix or negates) changes the value once per process that it is sent through.
# msgspec.convert(value, Type), which is listed as running it, returns an object that is
# already of that type as it is, and does not.
#
# Output seen:
#   msgspec: new 24, copy 24, deepcopy 32, pickle 32, three pickles 48, convert 24
#   attrs: new 24, copy 24, deepcopy 24, pickle 24, three pickles 24
#   dataclass: new 24, copy 24, deepcopy 24, pickle 24, three pickles 24
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' HUP INT TERM
{ python3 -m venv "$work/venv" &&
    "$work/venv/bin/pip" install -qq 'msgspec==0.23.0' 'attrs==26.1.0'; } >&2 ||
    { echo "could not install the packages" >&2; exit 2; }
"$work/venv/bin/python" - <<'PYTHON'
import copy
import dataclasses
import pickle
import sys

import attrs
import msgspec

HEADER = 8  # Bytes.


class WithStruct(msgspec.Struct):
    size: int

    def __post_init__(self):
        self.size += HEADER


@attrs.define
class WithAttrs:
    size: int

    def __attrs_post_init__(self):
        self.size += HEADER


@dataclasses.dataclass
class WithDataclass:
    size: int

    def __post_init__(self):
        self.size += HEADER


def through_pickle(value, times=1):
    for _ in range(times):
        value = pickle.loads(pickle.dumps(value))
    return value


results = {}
for name, kind in (("msgspec", WithStruct), ("attrs", WithAttrs), ("dataclass", WithDataclass)):
    value = kind(16)
    results[name] = {
        "new": value.size,
        "copy": copy.copy(value).size,
        "deepcopy": copy.deepcopy(value).size,
        "pickle": through_pickle(value).size,
        "three pickles": through_pickle(value, times=3).size,
    }
    if kind is WithStruct:
        results[name]["convert"] = msgspec.convert(value, WithStruct).size
    print(f"{name}: " + ", ".join(f"{how} {size}" for how, size in results[name].items()))
same = list(results["msgspec"].values()) == [24, 24, 32, 32, 48, 24] and all(
    set(results[name].values()) == {24} for name in ("attrs", "dataclass")
)
sys.exit(0 if same else "the behaviour has changed")
PYTHON
