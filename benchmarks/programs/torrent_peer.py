"""libtorrent as a source and as a downloader, without trackers or discovery.

python -m benchmarks.programs.torrent_peer COMMAND, which is one of
    make FILE TORRENT [PIECE_SIZE] [--v2]
    seed TORRENT FOLDER PORT [--tuned]
    get TORRENT FOLDER PORT [--tuned] [--stay] HOST:PORT…

`seed` prints `seeding` when it has verified the file. `get` prints `complete` when
every piece is verified and written; then it ends or, with `--stay`, seeds. Torrents
have version 1, with `--v2` version 2.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any

import libtorrent as lt

__all__: list[str] = []

PIECE = 1024 * 1024  # bytes, like shoal's chunks of a file of 1 GiB
PERIOD = 200  # milliseconds between checks of the state if no alert arrives

_ALONE = {
    "enable_dht": False,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    # All peers are on one machine.
    "allow_multiple_connections_per_ip": True,
    "alert_mask": lt.alert.category_t.status_notification
    | lt.alert.category_t.storage_notification,
}
# Fast settings between two peers on one machine: plain TCP, no choking, long queues.
_TUNED = {
    "enable_outgoing_utp": False,
    "enable_incoming_utp": False,
    "out_enc_policy": int(lt.enc_policy.disabled),
    "in_enc_policy": int(lt.enc_policy.disabled),
    "unchoke_slots_limit": -1,
    "max_out_request_queue": 5000,
    "max_allowed_in_request_queue": 20_000,
    "request_queue_time": 10,
    "send_buffer_watermark": 3 * 1024 * 1024,
    "send_buffer_low_watermark": 1024 * 1024,
    "send_buffer_watermark_factor": 150,
    "max_queued_disk_bytes": 256 * 1024 * 1024,
    "aio_threads": 4,
    "hashing_threads": 2,
}


def make(path: Path, torrent: Path, piece_size: int, *, is_v2: bool) -> None:
    """Write the torrent of a file; with a piece size of 0, libtorrent chooses."""
    files = lt.file_storage()
    lt.add_files(files, str(path))
    flags = lt.create_torrent.v2_only if is_v2 else lt.create_torrent.v1_only
    made = lt.create_torrent(files, piece_size, flags)
    lt.set_piece_hashes(made, str(path.parent))
    torrent.write_bytes(lt.bencode(made.generate()))


def join(torrent: Path, folder: Path, port: int, *, is_tuned: bool) -> tuple[Any, Any]:
    """Start a session; return it and its torrent."""
    settings: dict[str, Any] = {**_ALONE, "listen_interfaces": f"0.0.0.0:{port}"}
    if is_tuned:
        settings |= _TUNED
    pack: Any = settings  # libtorrent checks its names itself
    session = lt.session(pack)
    params = lt.add_torrent_params()
    params.ti = lt.torrent_info(str(torrent))
    params.save_path = str(folder)
    params.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
    return session, session.add_torrent(params)


def wait_complete(session: Any, handle: Any) -> None:
    """Wait until every piece is verified and passed to the system."""
    while not handle.status().is_seeding:
        session.wait_for_alert(PERIOD)
        session.pop_alerts()
    # Some of it still waits in libtorrent's own queue.
    handle.flush_cache()
    while not any(isinstance(a, lt.cache_flushed_alert) for a in session.pop_alerts()):
        session.wait_for_alert(PERIOD)


def main(argv: list[str]) -> None:
    """Run with the arguments of the command line."""
    flags = {word for word in argv if word.startswith("--")}
    command, *words = [word for word in argv if word not in flags]
    if command == "make":
        piece_size = int(words[2]) if words[2:] else PIECE
        make(Path(words[0]), Path(words[1]), piece_size, is_v2="--v2" in flags)
        return
    torrent, folder, port, *peers = words
    is_source = command == "seed"
    is_tuned = "--tuned" in flags
    session, handle = join(Path(torrent), Path(folder), int(port), is_tuned=is_tuned)
    for peer in peers:
        host, _, number = peer.rpartition(":")
        handle.connect_peer((host, int(number)))
    wait_complete(session, handle)
    print("seeding" if is_source else "complete", flush=True)
    while is_source or "--stay" in flags:
        time.sleep(1)
    # An orderly disconnection is not part of the measurement.
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
