"""Send the output of a command to every client: the simplest transfer.

python -m benchmarks.programs.output_server COMMAND…

The command writes directly into the socket. Prints `listening PORT`.
"""

import socket
import subprocess
import sys

__all__: list[str] = []


def serve(listener: socket.socket, command: list[str]) -> None:
    """Serve one client after another until killed."""
    while True:
        client, _ = listener.accept()
        with client:
            subprocess.run(command, stdout=client.fileno(), check=False)


if __name__ == "__main__":
    with socket.create_server(("", 0)) as listening:
        print(f"listening {listening.getsockname()[1]}", flush=True)
        serve(listening, sys.argv[1:])
