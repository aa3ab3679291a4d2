"""Every way in which a start is spoiled, and the row of the table that has to turn red by it.

A spoil changes the Request, the Plan, the rendered Launch, or a function of the launcher's; it raises
NothingToSpoil where this host has nothing that it could take away.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from struct import pack

from launcher.backends.base import Launch
from launcher.plan.model import Mount, Plan
from launcher.request import Request
from launcher.spec.load import load

# One instruction of classic BPF each: return SECCOMP_RET_ALLOW, SECCOMP_RET_KILL_PROCESS; and how
# launcher.seccomp begins the two lines about x32, which are for numbers from bit 30 on, and for none.
ALLOW_ALL = pack("<HBBI", 0x06, 0, 0, 0x7FFF0000)
KILL_PROCESS = pack("<HBBI", 0x06, 0, 0, 0x80000000)
FROM_X32_ON, FROM_NEVER_ON = pack("<HBBI", 0x35, 0, 2, 1 << 30), pack("<HBBI", 0x35, 0, 2, 2**32 - 1)


# (Backend, row) → the rows without which it is not granted.
WITH: dict[tuple[str, str], set[str]] = {("vm", "nix-commands"): {"nix-store"}}


class NothingToSpoil(Exception):
    """The plan has no such grant here."""


@dataclass(frozen=True, kw_only=True)
class Spoil:
    """One lie: `row` must be broken by it, under `variant`. `says` is for the report.

    `own`: it turns no other row red, so that lies about other rows can be told in the same start.
    """

    name: str
    row: str
    says: str
    variant: str = "default"
    backend: str = ""  # the only one that it is about
    request: Callable[[Request], Request] | None = None
    plan: Callable[[Plan], Plan] | None = None
    launch: Callable[[Launch], Launch] | None = None
    patch: Callable[[], None] | None = None
    own: bool = False


def _own(plan: Plan, row: str) -> tuple[Mount, ...]:
    """The mounts that a row asked for."""
    found = next(granted.mounts for granted in plan.rows if granted.row == row)
    if not found:
        raise NothingToSpoil(f"{row} grants no mount here")
    return found


def missing(row: str, *, variant: str = "default") -> Spoil:
    """The grant is left out, mounts and variables."""

    def spoil(plan: Plan) -> Plan:
        granted = next(g for g in plan.rows if g.row == row)
        if not granted.mounts and not granted.environment:
            raise NothingToSpoil(f"{row} grants nothing here")
        names = {name for name, _ in granted.environment}
        return plan.replace(
            mounts=tuple(m for m in plan.mounts if m not in granted.mounts),
            environment=tuple((n, v) for n, v in plan.environment if n not in names),
            proxies=tuple(p for p in plan.proxies if p not in granted.proxies),
        )

    return Spoil(
        name=f"{row}:missing", row=row, variant=variant, says="the grant is left out", plan=spoil, own=True
    )


def granted(row: str) -> Spoil:
    """The row is left out by --without, and granted all the same."""

    def spoil(request: Request) -> Request:
        if row not in request.without:
            raise NothingToSpoil(f"{row} is not left out")
        if load().rows[row].cell(request.backend).word == "absent":
            raise NothingToSpoil(f"{row} is nothing that this backend has")
        return request.replace(without=request.without - {row} - WITH.get((request.backend, row), set()))

    return Spoil(
        name=f"{row}:granted", row=row, variant="off", says="--without is not heard", request=spoil, own=True
    )


def asked(row: str, *, for_it: bool, variant: str = "default") -> Spoil:
    """`--with` is heard where nobody said it, or not heard."""
    change = frozenset[str].union if for_it else frozenset[str].difference

    def spoil(request: Request) -> Request:
        if request.backend not in load().rows[row].variants[row]:
            raise NothingToSpoil(f"--with {row} changes nothing here")
        return request.replace(also=change(request.also, {row}))

    return Spoil(
        name=f"{row}:{'unasked' if for_it else 'unheard'}",
        row=row,
        variant=variant,
        says=f"--with is {'' if for_it else 'not '}heard",
        request=spoil,
    )


def mode(row: str, wrong: str, *, variant: str = "default") -> Spoil:
    """Its bind mounts have the other mode."""
    right = {"rw": "ro", "ro": "rw"}[wrong]

    def spoil(plan: Plan) -> Plan:
        own = [m for m in _own(plan, row) if m.kind == "bind" and m.mode == right]
        if plan.machine and wrong == "rw":  # a machine that is to write to a single file is refused
            own = [m for m in own if not os.path.isfile(m.source)]
        if not own:
            raise NothingToSpoil(f"{row} binds nothing {right} here")
        return plan.replace(
            mounts=tuple(m.replace(mode=wrong) if m in own else m for m in plan.mounts),
        )

    return Spoil(name=f"{row}:{wrong}", row=row, variant=variant, says=f"bound {wrong}", plan=spoil, own=True)


def target(row: str) -> Spoil:
    """Its mounts lie somewhere else."""

    def spoil(plan: Plan) -> Plan:
        own = _own(plan, row)
        moved = tuple(m.replace(target=m.target + ".wrong") if m in own else m for m in plan.mounts)
        return plan.replace(mounts=moved)

    return Spoil(name=f"{row}:target", row=row, says="mounted at a wrong path", plan=spoil, own=True)


def extra(row: str, name: str, says: str, *mounts: Mount, variant: str = "default") -> Spoil:
    """One mount too many."""
    return Spoil(
        name=f"{row}:{name}",
        row=row,
        says=says,
        variant=variant,
        plan=lambda plan: plan.replace(mounts=(*plan.mounts, *mounts)),
    )


def without_option(
    row: str, name: str, *options: str, variant: str = "default", backend: str = "bubblewrap"
) -> Spoil:
    """The backend's program is not told something; a word that ends in `*` stands for all that begin so."""

    def told(word: str) -> bool:
        return word in options or any(o.endswith("*") and word.startswith(o[:-1]) for o in options)

    def spoil(launch: Launch) -> Launch:
        if not any(map(told, launch.argv)):
            raise NothingToSpoil(f"{options} is not in the command line")
        return launch.replace(argv=tuple(word for word in launch.argv if not told(word)))

    return Spoil(
        name=f"{row}:{name}",
        row=row,
        variant=variant,
        backend=backend,
        says=f"without {options[0]}",
        launch=spoil,
    )


def with_option(row: str, name: str, *words: str) -> Spoil:
    """The backend's program is told something more, last of all."""

    def spoil(launch: Launch) -> Launch:
        at = launch.argv.index("--")
        return launch.replace(argv=(*launch.argv[:at], *words, *launch.argv[at:]))

    says = f"with {words[0]}"
    return Spoil(name=f"{row}:{name}", row=row, backend="bubblewrap", says=says, launch=spoil)


def filtered(row: str, name: str, says: str, program: bytes, *, backend: str = "") -> Spoil:
    """Another system call filter."""

    def spoil(launch: Launch) -> Launch:
        if "seccomp" not in dict(launch.data):
            raise NothingToSpoil("there is no filter here")
        data = tuple((n, program if n == "seccomp" else content) for n, content in launch.data)
        return launch.replace(data=data)

    return Spoil(name=f"{row}:{name}", row=row, says=says, launch=spoil, backend=backend)
