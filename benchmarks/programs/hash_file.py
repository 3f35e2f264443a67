"""Read a file, with or without hashing it by BLAKE3, as fast as possible.

python -m benchmarks.programs.hash_file read|one|all FILE

`read` only reads the file into one buffer. `one` hashes it in one thread, like
`b3sum --num-threads 1`. `all` maps it into memory and hashes it in all threads, like
b3sum by default. Prints the hash, or the size after `read`.
"""

import sys

from blake3 import blake3

__all__: list[str] = []

STEP = 1024 * 1024  # bytes read at once


def read(path: str, *, is_hashed: bool) -> str:
    """Read a file from start to end; return its hash or its size."""
    digest = blake3()
    size = 0
    buffer = memoryview(bytearray(STEP))
    with open(path, "rb", buffering=0) as file:
        while count := file.readinto(buffer):
            size += count
            if is_hashed:
                digest.update(buffer[:count])
    return digest.hexdigest() if is_hashed else str(size)


def main(way: str, path: str) -> None:
    """Run with the arguments of the command line."""
    if way == "all":
        digest = blake3(max_threads=blake3.AUTO)
        digest.update_mmap(path)
        print(digest.hexdigest())
    else:
        print(read(path, is_hashed=way == "one"))


if __name__ == "__main__":
    main(*sys.argv[1:])
