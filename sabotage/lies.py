"""The lies that are told: one grant of each row spoiled, one isolation at a time dropped."""

from __future__ import annotations

import os
from dataclasses import replace

from launcher.filters import FILTERS
from launcher.plan.model import Mount, Plan
from launcher.seccomp import program
from launcher.spec.load import load
from launcher.spec.table import SECCOMP
from sabotage import behaviour, machine
from sabotage.spoils import (
    ALLOW_ALL,
    FROM_NEVER_ON,
    FROM_X32_ON,
    KILL_PROCESS,
    NothingToSpoil,
    Spoil,
    asked,
    extra,
    filtered,
    granted,
    missing,
    mode,
    target,
    with_option,
    without_option,
)


def lies(backend: str) -> dict[str, Spoil]:
    """Every spoil of a backend by its name."""
    told = [
        *_grants(),
        *_not_heard(),
        *_too_many(),
        *_isolation(),
        *_container(),
        *_unbounded(),
        *behaviour.lies(),
        *machine.lies(),
    ]
    return {spoil.name: spoil for spoil in told if spoil.backend in ("", backend)}


def _of_one_kernel(spoil: Spoil) -> Spoil:
    """Of a virtual machine nothing is spoiled by it: what it lets in leads nowhere in another kernel."""
    change = spoil.plan
    assert change is not None

    def told(plan: Plan) -> Plan:
        if plan.machine is not None:
            raise NothingToSpoil("it leads nowhere in another kernel")
        return change(plan)

    return replace(spoil, plan=told)


def _grants() -> list[Spoil]:
    rows = (
        "git-hooks", "claude-config", "claude-settings", "claude-json", "git-config", "ssh-keys", "ssh-agent",
        "gh-config", "api-key", "x11", "wayland", "audio", "dbus-session", "dbus-system", "chromium",
        "nix-commands", "nix-store", "gpu", "timezone", "tls", "fonts", "dns", "terminal", "home", "uid",
    )  # fmt: skip
    read_only = ("git-hooks", "claude-settings", "git-config", "ssh-keys", "gh-config", "nix-store")
    moved = ("git-config", "ssh-keys", "ssh-agent", "gh-config", "x11", "wayland", "audio", "dbus-session")
    return [
        *(missing(row) for row in rows),
        missing("gh-token", variant="gh-token"),
        _without_tmp(),
        *(mode(row, "rw") for row in read_only),
        *(mode(row, "ro") for row in ("project", "claude-config", "claude-json")),
        *(target(row) for row in moved),
    ]


def _not_heard() -> list[Spoil]:
    """Flags that change nothing, or too much."""
    left_out = [row.name for row in load().rows.values() if row.without and row.default]
    return [
        *(granted(row) for row in left_out),
        asked("claude-settings-write", for_it=True),
        asked("claude-settings-write", for_it=False, variant="claude-settings-write"),
        asked("gh-token", for_it=False, variant="gh-token"),
        asked("userns", for_it=False, variant="userns"),
        asked("kvm", for_it=True),
        Spoil(
            name="host-triggers:unprotected",
            row="host-triggers",
            variant="protect",
            says="--protect is not heard",
            request=lambda request: request.replace(protect=False),
        ),
    ]


def _unbounded() -> list[Spoil]:
    """Each limit forgotten."""

    def forgotten(name: str) -> Spoil:
        def spoil(plan: Plan) -> Plan:
            if plan.machine and name != "tasks":
                raise NothingToSpoil("the machine itself is the limit")
            # Some starts alone have it.
            by = tuple((n, means) for n, means in plan.limits.by if n != name)
            tasks = 0 if name == "tasks" else plan.limits.tasks
            return plan.replace(limits=plan.limits.replace(by=by, tasks=tasks))

        return Spoil(name=f"limits:{name}", row="limits", says=f"no limit of {name}", plan=spoil, own=True)

    return [forgotten(name) for name in ("tasks", "memory", "cpus")]


def _without_tmp() -> Spoil:
    """Without the other mounts of the row, such as the runtime directory, nothing would start."""
    return Spoil(
        name="tmp:missing",
        row="tmp",
        says="no /tmp of its own",
        plan=lambda plan: plan.replace(mounts=tuple(m for m in plan.mounts if m.target != "/var/tmp")),
    )


def _too_many() -> list[Spoil]:
    home = os.path.expanduser("~")
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")

    def bound(path: str) -> Mount:
        return Mount(kind="bind", source=path, target=path, mode="rw")

    def raw_bus(row: str) -> Spoil:
        def spoil(plan: Plan) -> Plan:
            proxy = next((p for p in plan.proxies if p.socket.endswith(row)), None)
            if proxy is None:
                raise NothingToSpoil("no bus is proxied here")
            path = proxy.address.removeprefix("unix:path=").partition(",")[0]
            mounts = tuple(m.replace(source=path) if m.source == proxy.socket else m for m in plan.mounts)
            return plan.replace(mounts=mounts)

        return Spoil(name=f"{row}:raw", row=row, says="the whole bus", plan=spoil)

    def environment(plan: Plan) -> Plan:
        return plan.replace(environment=tuple({**os.environ, **dict(plan.environment)}.items()))

    def token(plan: Plan) -> Plan:
        return plan.replace(environment=(*plan.environment, ("GH_TOKEN", os.environ.get("GH_TOKEN", ""))))

    def docker(plan: Plan) -> Plan:
        """Whoever reaches it is root on the host. It is there for some starts only."""
        path = f"{runtime}/docker.sock"
        return plan.replace(mounts=(*plan.mounts, bound(path))) if os.path.exists(path) else plan

    def card(plan: Plan) -> Plan:
        plain = tuple(m.replace(mode="ro") if m.mode == "dev" else m for m in plan.mounts)
        if plain == plan.mounts:
            raise NothingToSpoil("no device is bound here")
        return plan.replace(mounts=plain)

    return [
        _of_one_kernel(
            Spoil(
                name="host-sockets:docker",
                row="host-sockets",
                says="docker.sock is bound",
                plan=docker,
                own=True,
            )
        ),
        Spoil(name="gpu:plain", row="gpu", says="bound as files, not as devices", plan=card, own=True),
        extra("x11", "directory", "the sockets of all displays are bound", bound("/tmp/.X11-unix")),
        extra("home", "bound", "the host's home is bound", bound(home)),
        extra("tmp", "bound", "the host's /tmp is bound", bound("/tmp")),
        extra("etc", "whole", "all of the host's /etc is bound", bound("/etc")),
        _of_one_kernel(
            extra(
                "host-sockets", "runtime", "the host's runtime directory is bound", bound(runtime or "/run")
            )
        ),
        extra(
            "devices", "host", "the host's /dev", Mount(kind="bind", source="/dev", target="/dev", mode="dev")
        ),
        raw_bus("dbus-session"),
        raw_bus("dbus-system"),
        Spoil(
            name="environment:inherited", row="environment", says="the caller's variables", plan=environment
        ),
        Spoil(name="gh-token:leaked", row="gh-token", says="GH_TOKEN without being asked", plan=token),
        Spoil(
            name="api-key:argv",
            row="api-key",
            says="the key in argv",
            plan=lambda plan: plan.replace(
                command=(
                    "/usr/bin/env",
                    f"ANTHROPIC_API_KEY={dict(plan.environment)['ANTHROPIC_API_KEY']}",
                    *plan.command,
                )
            ),
        ),
        _of_one_kernel(
            Spoil(
                name="processes:keys",
                row="processes",
                says="the list of keys",
                plan=lambda plan: plan.replace(
                    mounts=tuple(m for m in plan.mounts if not m.target.startswith("/proc/key"))
                ),
            )
        ),
        Spoil(
            name="locale:C",
            row="locale",
            says="LANG=C whatever the host's",
            own=True,
            plan=lambda plan: plan.replace(
                environment=tuple((n, "C" if n in ("LANG", "LC_ALL") else v) for n, v in plan.environment)
            ),
        ),
    ]


def _isolation() -> list[Spoil]:
    machine = os.uname().machine
    whole = bytes.fromhex(FILTERS[machine, False])
    return [
        without_option("processes", "pid", "--unshare-pid"),
        without_option("processes", "ipc", "--unshare-ipc"),
        without_option("processes", "uts", "--unshare-uts", "--hostname", "sandbox"),
        without_option("etc", "writable", "--remount-ro", "/"),
        without_option("home", "beside", "--remount-ro", "/"),
        without_option("network", "shared", "--unshare-net", variant="no-network"),
        without_option("host-loopback", "shared", "--unshare-net", variant="no-network"),
        with_option("privileges", "capabilities", "--cap-add", "ALL"),
        filtered("syscalls", "none", "no filter", ALLOW_ALL),
        *_foreign(machine, whole),
        filtered("privileges", "tiocsti", "no filter: TIOCSTI", ALLOW_ALL),
        filtered("userns", "allowed", "nested user namespaces", bytes.fromhex(FILTERS[machine, True])),
        _of_one_kernel(
            extra(
                "kvm",
                "bound",
                "/dev/kvm",
                Mount(kind="bind", source="/dev/kvm", target="/dev/kvm", mode="dev"),
            )
        ),
    ]


def _container() -> list[Spoil]:
    """What systemd-nspawn and setpriv are told."""
    only = {"backend": "container"}
    return [
        without_option("network", "shared", "--private-network", variant="no-network", **only),
        without_option("host-loopback", "shared", "--private-network", variant="no-network", **only),
        without_option("privileges", "bounding", "--bounding-set=-all", **only),
        without_option("privileges", "inheritable", "--inh-caps=-all", **only),
        without_option("uid", "group", "--regid=*", **only),
        without_option("environment", "nspawn", "--reset-env", **only),
        filtered("privileges", "keys", "keyrings are let through", _without_keyrings(), backend="container"),
    ]


def _without_keyrings() -> bytes:
    """The filter but for its three calls that are about keys, of which one is keyctl."""
    denied = (name for denied in load().seccomp.deny if "keyctl" not in denied.calls for name in denied.calls)
    return program(os.uname().machine, rules={**SECCOMP, "deny": tuple(denied)}, userns=False)


def _foreign(machine: str, whole: bytes) -> list[Spoil]:
    """Calls by other ABIs' numbers. A kernel without i386's gate has nothing to let in by it."""
    if machine != "x86_64":
        return []
    x32 = filtered("syscalls", "x32", "calls by x32's numbers", whole.replace(FROM_X32_ON, FROM_NEVER_ON))
    i386 = filtered("syscalls", "i386", "calls by i386's gate", whole.replace(KILL_PROCESS, ALLOW_ALL))
    return [x32, i386] if os.path.exists("/proc/sys/abi/vsyscall32") else [x32]
