"""Requests as all known programs write them, read many at a time.

Nearly all that a server of an open channel is sent are requests which differ in their
index alone. Cutting them out of a buffer by their length and comparing the rest takes
a tenth of the time of looking at each frame. Whatever else comes, and every oddity, is
left to `FrameReader` and `decode_message`, which read these requests just the same.
"""

from struct import Struct

from shoal.core.wire.messages import Request, encode_frame

__all__ = ["leading_requests"]


def _form(index: int, code: str) -> tuple[bytes, Struct]:
    """Return what frames with an index encoded like this begin with, and their form."""
    frame = encode_frame(Request(index))
    start = frame[: -Struct(code).size]
    return start, Struct(f">{len(start)}s{code}")


# By their first byte, the length: where it differs, so does how the index is encoded.
_FORMS = {
    start[0]: (start, form)
    for start, form in (
        _form(0x7F, "b"),  # below 0, it is something else that is encoded
        _form(0xFF, "B"),
        _form(0xFFFF, "H"),
        _form(0xFFFF_FFFF, "I"),
    )
}


def leading_requests(received: memoryview) -> tuple[list[int], int]:
    """Return the indexes of the plain requests in front, and how many bytes they take.

    What follows them may be a request as well, of another form or not whole.
    """
    indexes: list[int] = []
    done = 0
    while done < len(received) and received[done] in _FORMS:
        start, form = _FORMS[received[done]]
        begun = done
        whole = (len(received) - begun) // form.size * form.size
        for head, index in form.iter_unpack(received[begun : begun + whole]):
            if head != start or index < 0:
                break
            indexes.append(index)
            done += form.size
        if done == begun:
            break
    return indexes, done
