"""Read the XML of a router into elements; pure.

The parser is expat, as in Python's own library. A document type is refused, and only
one could declare entities, so none is expanded and nothing is loaded. Names lose their
prefixes, which routers use as they like.
"""

from collections.abc import Iterator
from xml.parsers import expat

from shoal.errors import ProtocolError

__all__ = ["Element", "parse_elements"]

MAX_DEPTH = 32  # nested elements; the description of a router has about ten
MAX_ELEMENTS = 4096


class Element:
    """An element of a document: its name, its text, and the elements in it."""

    __slots__ = ("children", "name", "text")

    def __init__(self, name: str) -> None:
        self.name = name
        """Without a prefix."""
        self.text = ""
        """Its own text, without that of the elements in it."""
        self.children: list[Element] = []

    def find_all(self, name: str) -> Iterator["Element"]:
        """Yield the elements of this name in this one, at any depth."""
        for child in self.children:
            if child.name == name:
                yield child
            yield from child.find_all(name)

    def text_of(self, name: str) -> str:
        """Return the text of the first element of this name, or an empty text."""
        return next((each.text.strip() for each in self.find_all(name)), "")


class _Builder:
    """Make the tree, within the limits, as the parser reads the document."""

    def __init__(self) -> None:
        self.root = Element("")
        self._open = [self.root]
        self._count = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if self._count > MAX_ELEMENTS or len(self._open) > MAX_DEPTH:
            raise ProtocolError("XML with too many elements")
        element = Element(name.rpartition(":")[2])
        self._open[-1].children.append(element)
        self._open.append(element)

    def end(self, name: str) -> None:
        self._open.pop()

    def add_text(self, text: str) -> None:
        self._open[-1].text += text

    def refuse(self, *_: object) -> None:
        raise ProtocolError("XML with a document type")


def parse_elements(data: bytes) -> Element:
    """Return an element that contains the document; raises `ProtocolError`."""
    builder = _Builder()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.add_text
    parser.StartDoctypeDeclHandler = builder.refuse
    try:
        # A text, not bytes: the document does not choose its encoding.
        parser.Parse(data.decode("utf-8", "replace"), True)
    except (expat.ExpatError, ValueError) as error:
        raise ProtocolError(f"something other than XML ({error})") from None
    return builder.root
