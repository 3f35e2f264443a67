"""Write every packet on `lo` to a file; run inside a namespace.

python -m tests.helpers.capture FILE
    prints "ready", then records until its standard input ends, then "done"
"""

import select
import socket
import sys

ALL = 0x0003  # every protocol, as packet(7) has it
LARGEST = 1 << 17  # bytes; packets on `lo` have up to 64 KiB


def main(path: str) -> None:
    """Do what the module says."""
    with (
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL)) as tap,
        open(path, "wb") as file,
    ):
        tap.bind(("lo", 0))
        tap.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 26)
        say("ready")
        while True:
            ready, _, _ = select.select([tap, sys.stdin], [], [])
            if tap in ready:
                file.write(tap.recv(LARGEST))
            elif ready:
                break
    say("done")


def say(word: str) -> None:
    """Write a line."""
    sys.stdout.write(word + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
