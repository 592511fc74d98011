"""Protobuf's wire format, read in place: no copy of the bytes, no trust in any length that they tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_FIELDS = 200_000
"""Fields of a file that are looked at; the released models have two thousand."""

LONGEST_TEXT_BYTES = 1 << 20
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

Span = tuple[int, int]
"""Where a message starts and ends in the file."""


class WireError(Exception):
    """What is wrong with the bytes, in words."""


class Field(NamedTuple):
    """One field of a message: a number, or the bytes of the file from start to end."""

    number: int
    wire: int
    value: int
    start: int
    end: int


class WireReader:
    """Reads the messages of one file, each by where it starts and ends.

    Args:
        content: the whole file.
    """

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._seen = 0

    def fields(self, span: Span) -> Iterator[Field]:
        """Yield the fields of a message; each is checked to lie within it.

        Raises:
            WireError: it does not, or there are too many.
        """
        at, end = span
        while at < end:
            self._seen += 1
            if self._seen > MOST_FIELDS:
                raise WireError(f"it has more than {MOST_FIELDS} parts")
            key, start = self._varint(at, end)
            number, wire = key >> 3, key & 7
            if not 0 < number < 1 << 29:
                raise damaged("a field has no number", at)
            value = 0
            if wire == VARINT:
                value, stop = self._varint(start, end)
            elif wire == BYTES:
                length, start = self._varint(start, end)
                stop = start + length
            elif wire in (FIXED64, FIXED32):
                stop = start + (8 if wire == FIXED64 else 4)
            else:
                raise damaged("a field is of no known kind", at)
            if stop > end:
                raise damaged("a part runs beyond the end", at)
            yield Field(number, wire, value, start, stop)
            at = stop

    def only(self, span: Span, number: int) -> Span | None:
        """Find the one message of this number; other readers would merge several.

        Raises:
            WireError: there are several.
        """
        found = [self.message(part) for part in self.fields(span) if part.number == number]
        if len(found) > 1:
            raise damaged("a part is there twice", found[1][0])
        return found[0] if found else None

    def message(self, part: Field) -> Span:
        """Take a field as a message.

        Raises:
            WireError: it is a number.
        """
        if part.wire != BYTES:
            raise damaged("a part is of the wrong kind", part.start)
        return part.start, part.end

    def text(self, part: Field) -> str:
        """Take a field as text; bytes that are none become escapes.

        Raises:
            WireError: it is a number, or absurdly long.
        """
        start, end = self.message(part)
        if end - start > LONGEST_TEXT_BYTES:
            raise WireError(f"it holds a text of {end - start} bytes")
        return self._content[start:end].decode("utf-8", "backslashreplace")

    def pair(self, part: Field) -> tuple[str, str]:
        """Take a field as an entry of a map from text to text.

        Raises:
            WireError: it is none.
        """
        found = {1: "", 2: ""}
        for inner in self.fields(self.message(part)):
            if inner.number in found:
                found[inner.number] = self.text(inner)
        return found[1], found[2]

    def numbers(self, part: Field, most: int) -> list[int]:
        """Take a field as whole numbers, one alone or many packed; of more than ``most`` it gives one more.

        Raises:
            WireError: a number does not end.
        """
        if part.wire == VARINT:
            return [signed(part.value)]
        at, end = self.message(part)
        found: list[int] = []
        while at < end and len(found) <= most:
            value, at = self._varint(at, end)
            found.append(signed(value))
        return found

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        value = shift = 0
        for place in range(at, min(at + 10, end)):
            byte = self._content[place]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & 0xFFFF_FFFF_FFFF_FFFF, place + 1
            shift += 7
        raise damaged("a number does not end", at)


def signed(value: int) -> int:
    """Read 64 bits as a number that may be negative."""
    return value - (1 << 64) if value >> 63 else value


def damaged(what: str, at: int) -> WireError:
    """Make the error for bytes that follow no format."""
    return WireError(f"not an ONNX file, or a damaged one: {what} (at byte {at})")
