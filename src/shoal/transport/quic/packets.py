"""Tell which connection a datagram is for; pure.

The two ends of several connections may have the same addresses, and the DHT client of
one may ask that of the other. So the destination id that each packet begins with
decides (RFC 9000 section 5.2). qh3 chooses those of its connections at random.
"""

__all__ = ["CID_SIZE", "begins", "destination_of", "end_of_run"]

CID_SIZE = 8  # bytes of each id that a connection of ours has chosen
MIN_INITIAL = 1200  # bytes of a datagram that begins a connection (section 14.1)
LONG = 0x80  # in the first byte of a packet with a long header (section 17.2)
ID_SIZE_AT, ID_AT = 5, 6  # where such a header has the size of its id, and the id


def begins(datagram: bytes) -> bool:
    """Return True if a datagram may be the first one of a client."""
    return len(datagram) >= MIN_INITIAL and _is_long(datagram)


def destination_of(datagram: bytes) -> bytes:
    """Return the destination id of a datagram, or any bytes if it is not of QUIC."""
    if _is_long(datagram):
        return datagram[ID_AT : ID_AT + datagram[ID_SIZE_AT]]
    return datagram[1 : 1 + CID_SIZE]


def end_of_run(data: bytes, segment: int) -> int:
    """Return the size of the first datagrams that are for one connection.

    Each datagram has `segment` bytes, but the last may be shorter.
    """
    end, destination = segment, data[1 : 1 + CID_SIZE]
    if _is_long(data) or len(destination) < CID_SIZE:
        return end
    while end < len(data) and data.startswith(destination, end + 1):
        end += segment
    return end


def _is_long(datagram: bytes) -> bool:
    return len(datagram) > ID_AT and bool(datagram[0] & LONG)
