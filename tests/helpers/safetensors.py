"""Write files in the safetensors format without its library."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

__all__ = ["write_safetensors"]

SIZES = {"embed": 400_000, "head": 400_000}  # bytes


def write_safetensors(path: Path, sizes: Mapping[str, int] = SIZES) -> dict[str, bytes]:
    """Write tensors of random bytes with these sizes; return the bytes of each."""
    tensors = {name: os.urandom(size) for name, size in sizes.items()}
    header, place = {}, 0
    for name, data in tensors.items():
        end = place + len(data)
        header[name] = {
            "dtype": "U8",
            "shape": [len(data)],
            "data_offsets": [place, end],
        }
        place = end
    text = json.dumps(header).encode()
    head = len(text).to_bytes(8, "little") + text
    path.write_bytes(head + b"".join(tensors.values()))
    return tensors
