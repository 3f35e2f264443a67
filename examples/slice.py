"""Read one tensor of a safetensors file in a share: `slice.py LINK PATH TENSOR`.

Only the header and the tensor are fetched.
"""

import asyncio
import json
import sys

import shoal


async def main(link: str, path: str, tensor: str) -> None:
    """Print the type, the shape and the first bytes of the tensor."""
    async with shoal.Node() as node, node.open(link, path) as file:
        size = int.from_bytes(await file.read(8), "little")
        header = json.loads(await file.read(size))
        first, end = header[tensor]["data_offsets"]
        file.seek(8 + size + first)
        data = await file.read(end - first)
        print(header[tensor]["dtype"], header[tensor]["shape"], data[:8].hex())


asyncio.run(main(*sys.argv[1:4]))
