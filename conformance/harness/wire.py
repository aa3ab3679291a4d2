"""Bytes as a terminal carries them unharmed: as bash's printf reads them, and as it quotes them.

By as few programs as will do: a run of the suite has thousands of commands, and where all is emulated each
program costs some hundredths of a second.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence

LIMIT = 8 << 20  # bytes of each stream that come back
LINE = 900  # characters of base64 on a line of the answer
SHORT = 2000  # bytes that come back without it, each as four characters at most
LONGEST = 5 * SHORT  # of a line of the answer

# _f: the status and both files, each line after the marker.  _l: one of the files, whose size is in _n then.
# bash's own `read` takes a file whole that is short and has no NUL, and then says no.
ANSWER = f"""\
_f() {{ printf '\\n%s%s S %s\\n' "$1" "$2" "$_s"
_l "$1$2" O o; _m=$_n; _l "$1$2" E e; printf '\\n%s%s Z %s %s\\n' "$1" "$2" "$_m" "$_n"; }}
_l() {{ local LC_ALL=C _x; if IFS= read -r -d '' -n {SHORT} _x <"$_d/$3"; then _n=$(stat -c %s "$_d/$3")
head -c {LIMIT} "$_d/$3" | base64 -w {LINE} | sed "s/^/$1 $2 /"
else _n=${{#_x}}; printf '%s %s=%q\\n' "$1" "$2" "$_x"; fi; }}
"""
_ESCAPES = {
    b"a": b"\a", b"b": b"\b", b"E": b"\x1b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v",
}  # fmt: skip


def typed(data: bytes) -> str:
    """Between single quotes, what printf(1) of bash writes as these bytes."""
    return "".join(map(_typed, data))


def _typed(byte: int) -> str:
    character = chr(byte)
    if character == "%":
        return "%%"
    return character if " " <= character <= "~" and character not in "'\\" else f"\\x{byte:02x}"


def answered(lines: Sequence[bytes]) -> tuple[int, bytes, bytes, list[int]]:
    """Status, stdout, stderr, and their sizes inside, from the lines after the marker.

    Raises ValueError when they are not all that was said, or not as it was.
    """
    begins, status = lines[0].split()
    ends, *numbers = lines[-1].split()
    sizes = [int(number) for number in numbers]
    out, err = (_stream(lines, kind) for kind in (b"O", b"E"))
    if [begins, ends] != [b"S", b"Z"] or [len(out), len(err)] != [min(size, LIMIT) for size in sizes]:
        raise ValueError("something was written between them")
    return int(status), out, err, sizes


def _stream(lines: Sequence[bytes], kind: bytes) -> bytes:
    short = [line[2:] for line in lines if line.startswith(kind + b"=")]
    long = [line[2:] for line in lines if line.startswith(kind + b" ")]
    return unquoted(b"".join(short)) if short else base64.b64decode(b"".join(long), validate=True)


def unquoted(text: bytes) -> bytes:
    """What `printf %q` of bash in the C locale has quoted (bash(1), QUOTING)."""
    if text == b"''":
        return b""
    whole = text[2:-1] if text.startswith(b"$'") else text
    return re.sub(rb"\\([0-7]{3}|.)", lambda found: _unescaped(found[1], plain=whole is text), whole)


def _unescaped(escape: bytes, *, plain: bool) -> bytes:
    if plain:
        return escape
    return bytes([int(escape, 8)]) if len(escape) == 3 else _ESCAPES.get(escape, escape)
