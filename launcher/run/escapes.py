"""Escape sequences in the output that have the caller's terminal answer, or write: `--filter-escapes`.

What a terminal answers is typed into what runs there next: a title that was set before, a colour, the state
of a mode. OSC 52 writes to the clipboard, CSI i prints, OSC 1337 saves files. (ECMA-48; xterm's ctlseqs.txt.)

Of a terminal in UTF-8, as they all are.

    dropped   ENQ, ESC Z; CSI that asks (DA, DSR, DECRQM, XTVERSION, window reports, …) or prints; OSC but for
              titles, colours that are set, links, marks of prompts, the working directory; DCS but for
              sixels; APC, PM, SOS; ESC % (another character set); C1 controls as single bytes; what is
              malformed
    passed    all else: text, colours, cursor, screens, mouse and paste modes
"""

from __future__ import annotations

import re

HELD = 8192  # bytes of an unfinished sequence, after which it is dropped
ESC, BEL, CAN, SUB = 0x1B, 0x07, 0x18, 0x1A
C1 = {0x90: b"P", 0x98: b"X", 0x9B: b"[", 0x9D: b"]", 0x9E: b"^", 0x9F: b"_", 0x9A: b"Z"}

# Text, and UTF-8 of two to four bytes but for C1 controls (U+0080 to U+009F, C2 80 to C2 9F).
PLAIN = re.compile(
    rb"(?:[\x00-\x04\x06-\x1a\x1c-\x7f]|\xc2[\xa0-\xbf]|[\xc3-\xdf][\x80-\xbf]"
    rb"|(?:\xe0[\xa0-\xbf]|[\xe1-\xef][\x80-\xbf])[\x80-\xbf]"
    rb"|(?:\xf0[\x90-\xbf]|[\xf1-\xf4][\x80-\xbf])[\x80-\xbf]{2})+"
)
CUT = re.compile(rb"(?:[\xc2-\xdf]|[\xe0-\xef][\x80-\xbf]?|[\xf0-\xf4][\x80-\xbf]{0,2})\Z")
# A terminal obeys controls that stand in the midst of a sequence, and goes on with it.
CONTROLS = rb"[\x00-\x04\x06-\x17\x19\x1c-\x1f]*"
CSI = re.compile(rb"(?:%b[0-?])*(?:%b[ -/])*%b[@-~]" % (CONTROLS, CONTROLS, CONTROLS))
CSI_PART = re.compile(rb"[\x00-\x04\x06-\x17\x19\x1c-\x3f]*\Z")
CONTROL = re.compile(rb"[\x00-\x1f]")
ENDS = re.compile(rb"[\x07\x18\x1a\x1b]|\xc2\x9c")

# By what stands before and behind the numbers: the sequence is a question, or prints.
ASKS = re.compile(rb"[<-?]?[0-9;:]*(?:c|n|i|\$p|>q|\*y|[$\"&+]w|[$&\"+]u|\"v|x|'\||#[RS|])\Z")
ASKS_BY_FIRST = re.compile(rb"\?[0-9;:]*[umS]\Z|>[0-9;:]*q\Z|0*(?:1[13-9]|2[01])(?:;[0-9;]*)?t\Z")
OSC_PASSED = re.compile(
    rb"(?:[012];.*|[4-6];[^?]*|1[0-9];[^?]*|10[45](?:;.*)?|11[0-9]|7;.*|8;.*|133;.*|9;4.*)\Z", re.DOTALL
)
SIXEL = re.compile(rb"[0-9;]*q")


class Filter:
    """A stream's filter: what it is given in pieces it gives back in pieces, but for what is dropped."""

    def __init__(self) -> None:
        self._held = b""
        self._string: bytes | None = None  # inside of one: what began it, b"" when it is dropped

    def passed(self, data: bytes) -> bytes:
        """What of the next bytes goes on; the beginning of a sequence waits for the rest of it."""
        data, self._held = self._held + data, b""
        out = bytearray()
        at = 0
        while at < len(data):
            at = self._inside(data, at, out) if self._string is not None else self._next(data, at, out)
        return bytes(out)

    def _next(self, data: bytes, at: int, out: bytearray) -> int:
        if text := PLAIN.match(data, at):
            out += text[0]
            return text.end()
        byte = data[at]
        if byte == ESC:
            return self._escape(data, at, out)
        if byte == 0xC2 and at + 1 < len(data) and data[at + 1] in C1:
            return self._sequence(data, at, at + 2, C1[data[at + 1]], out)
        if CUT.match(data, at):
            return self._hold(data, at)
        if byte in C1:
            return self._sequence(data, at, at + 1, C1[byte], out)
        return at + 1  # ENQ, a C1 control, or no UTF-8

    def _escape(self, data: bytes, at: int, out: bytearray) -> int:
        then = at + 1
        while then < len(data) and data[then] < 0x20 and data[then] not in (ESC, CAN, SUB, 0x05):
            then += 1
        if then == len(data):
            return self._hold(data, at)
        kind = data[then : then + 1]
        if kind in b"[]PX^_Z":
            return self._sequence(data, at, then + 1, kind, out)
        if not b" " <= kind <= b"~":
            return then
        end = then
        while end < len(data) and 0x20 <= data[end] < 0x30:
            end += 1
        if end == len(data):
            return self._hold(data, at)
        if kind != b"%":
            out += data[at : end + 1]
        return end + 1

    def _sequence(self, data: bytes, at: int, body: int, kind: bytes, out: bytearray) -> int:
        if kind == b"Z":
            return body
        if kind == b"[":
            found = CSI.match(data, body)
            if found is None:
                return self._hold(data, at) if CSI_PART.match(data, body) else body
            said = CONTROL.sub(b"", found[0])
            if not (ASKS.match(said) or ASKS_BY_FIRST.match(said)):
                out += data[at : found.end()]
            return found.end()
        if kind == b"]":
            end = ENDS.search(data, body)
            if end is None and len(data) - at <= HELD:
                return self._hold(data, at)
            self._string = kind if end and OSC_PASSED.match(data[body : end.start()]) else b""
        elif kind == b"P":
            if len(data) - body < 64 and not (SIXEL.match(data, body) or ENDS.search(data, body)):
                return self._hold(data, at)
            self._string = kind if SIXEL.match(data, body) else b""
        else:
            self._string = b""
        if self._string:
            out += data[at:body]
        return body

    def _inside(self, data: bytes, at: int, out: bytearray) -> int:
        """In a string, up to its end; an ESC that begins no ST ends it, and begins the next sequence."""
        end = ENDS.search(data, at)
        stop = end.start() if end else len(data)
        if end is None and data.endswith(b"\xc2"):
            stop -= 1
        if self._string:
            out += data[at:stop]
        if end is None:
            self._held = data[stop:]
            return len(data)
        if end[0] == b"\x1b":
            if stop + 1 == len(data):
                self._held = data[stop:]
                return len(data)
            if data[stop + 1] != ord("\\"):
                # Without an end of its own it could swallow what follows, or be ended by it otherwise.
                if self._string:
                    out += b"\x1b\\"
                self._string = None
                return stop
        if self._string:
            out += b"\x07" if (self._string, end[0]) == (b"]", b"\x07") else b"\x1b\\"
        self._string = None
        return end.end() + (end[0] == b"\x1b")

    def _hold(self, data: bytes, at: int) -> int:
        if len(data) - at <= HELD:
            self._held = data[at:]
        return len(data)
