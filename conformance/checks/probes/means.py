"""Whether what a cell names as its means is how it is done: by the kernel's own list of mounts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from conformance.harness.inside import Inside

SOURCE = r"""
def plain(text):
    for code, sign in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, sign)
    return text

found = {}
with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
    for line in lines:
        # proc(5): id parent major:minor root MOUNT-POINT OPTIONS … - TYPE source …
        before, _, after = line.rstrip("\n").partition(" - ")
        fields = before.split(" ")
        found[plain(fields[4])] = [fields[5].split(","), after.split(" ")[0]]
answers = []
for path in given["paths"]:
    while path not in found and given["above"] and path != "/":
        path = path.rpartition("/")[0] or "/"
    answers.append([path, *found.get(path, [[], ""])])
print(ascii(answers))
"""


def mounted(inside: Inside, paths: str | Sequence[str], means: str, *, above: bool = False) -> list[str]:
    """What is wrong, [] when each path is mounted as `means` says (`bind mount`, `read-only 9p share` …).

    `above`: the mount that it lies in counts, too.
    """
    paths = [paths] if isinstance(paths, str) else list(paths)
    return [
        f"{path}: {where} is {wrong}, the means is: {means}"
        for path, (where, options, kind) in zip(
            paths, inside.python(SOURCE, paths=paths, above=above), strict=True
        )
        for wrong in _wrongs(options, kind, means)
    ]


def _wrongs(options: list[str], kind: str, means: str) -> Iterable[str]:
    if not options:
        yield "no mount"
        return
    wrong = any((name in means) != (kind == name) for name in ("9p", "tmpfs"))
    if wrong or ("overlay" in means and kind != "overlay"):  # a bind mount's may be one, too
        yield f"of type {kind}"
    if ("ro" if "read-only" in means else "rw") not in options:
        yield f"mounted {','.join(options)}"
