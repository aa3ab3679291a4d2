"""Rows that are kept another way by a machine with a kernel of its own."""

from __future__ import annotations

from launcher.errors import HostError, UserError
from launcher.plan import desktop, listed, places, system
from launcher.plan.context import Context
from launcher.plan.model import Granted, Limits, Machine, Mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# passt's, each of which stands for the first of the host's own of its family (passt(1), --dns-forward). The
# second one's prefix is picked by chance (RFC 4193).
RESOLVERS = ("10.0.2.3", "fd2b:5e1d:90f4::3")
MEMORY_MIB, CORES, TASKS = 4096, 4, 4096
EMULATED_MIB = 2048  # under TCG, where each GiB that is made ready takes 0.1 s of a start
NO_XORG = "there is no Xorg with its evdev driver"
INSTALL_XORG = "sudo apt-get install xserver-xorg-core xserver-xorg-input-evdev openbox"
# What nix.conf(5) says last counts. Links between files that root has made are not the user's to make.
NIX_CONF = {
    "build-users-group": "",
    "sandbox": "true",
    "sandbox-fallback": "true",
    "auto-optimise-store": "false",
}
DISPLAY, X11 = ":0", "/tmp/.X11-unix/X0"
SCREEN = f"{places.RUN}/screen"  # what Xorg says
# There is no card that draws. Under TCG a browser takes longer to start than the 15 s that its own processes
# wait for it before they end, which leaves it without a network for good; and what it loads beforehand (pages
# of its own for menus, and for what drops down from its line of addresses) keeps the one processor from the
# page for 8 s.
BROWSER = (
    "--disable-gpu",
    "--ipc-connection-timeout=300",
    "--disable-features=PreloadTopChromeWebUI,WebUIOmniboxPopup,WebUIOmniboxAimPopup",
)
# 9p has inode numbers of its own. git would read each file of the project again whenever its index was
# written on the other side, 10,000 of them in 47 s and not 4 (git-config(1), core.checkStat).
GIT = (
    ("GIT_CONFIG_COUNT", "1"),
    ("GIT_CONFIG_KEY_0", "core.checkStat"),
    ("GIT_CONFIG_VALUE_0", "minimal"),
)
# Under TCG programs lie at the same addresses each time (vm/init.py); what shows strangers' pages shall not.
RANDOMISED = ("/usr/bin/setarch", "x86_64")
OFFLINE = "this machine has no route to any"
NAT = "NAT of its own; the host's 127.0.0.1 is not behind it"


def environment(context: Context) -> Granted:
    """The host's list, and what has git go by a file's time and size; variables that were asked for stand."""
    granted = system.environment(context)
    return granted.replace(environment=(*GIT, *granted.environment))


def ssh_agent(context: Context) -> Granted:
    """The agent's socket, relayed over a virtio-serial port: no network device is needed."""
    offer = context.offer("ssh-agent")
    if not offer.entries:
        return Granted(row="ssh-agent", granted=False, reason=offer.reason, note=offer.note)
    if not context.host.hypervisor.python:
        reason = "there is no /usr/bin/python3, which would relay it inside"
        return Granted(row="ssh-agent", granted=False, reason=reason, note=f"no SSH agent inside: {reason}")
    target = f"{context.runtime}/ssh-agent.sock"
    return Granted(
        row="ssh-agent",
        source=offer.shown,
        target=target,
        mounts=(Mount(kind="socket", source=offer.entries[0].source, target=target),),
        environment=(("SSH_AUTH_SOCK", target),),
    )


def without(row: str, reason: str) -> Callable[[Context], Granted]:
    """A row that the VM has not."""

    def plan(_context: Context) -> Granted:
        return Granted(row=row, granted=False, reason=reason)

    return plan


def dns(context: Context) -> Granted:
    """The host's list, but the name server: the host's own may be on its loopback."""
    granted = listed.only("dns")(context)
    if not network(context).granted:
        return granted
    lines = _resolv_conf(context).splitlines(keepends=True)
    servers = [line for line in lines if line.startswith(b"nameserver")]
    resolver = RESOLVERS[bool(servers) and all(b":" in line for line in servers)]
    content = b"".join(line for line in lines if line not in servers) + f"nameserver {resolver}\n".encode()
    mount = Mount(kind="data", target="/etc/resolv.conf", content=content, perms=0o644)
    return granted.replace(granted=True, mounts=(mount,), target=f"the same, by {resolver}")


def network(context: Context) -> Granted:
    """A network device behind NAT, or none at all."""
    if not context.request.network:
        return Granted(row="network", granted=False, reason="--no-network: no network device")
    if not context.host.hypervisor.online:
        return Granted(row="network", granted=False, reason=OFFLINE, note=f"no network inside: {OFFLINE}")
    return Granted(row="network", source="the host's network", target=NAT)


def nix_commands(context: Context) -> Granted:
    """A store of its own over the host's, with a copy of its database: nothing asks the host's daemon."""
    offer = context.offer("nix-commands")
    if "nix-store" in context.request.without:
        return Granted(row="nix-commands", granted=False, reason="left out with nix-store")
    if not offer.entries:
        return Granted(row="nix-commands", granted=False, reason=offer.reason)
    by_name = {entry.name: entry for entry in offer.entries}
    store, database = by_name["/nix/store"], by_name.get("/nix/var/nix/db")
    asked = {**NIX_CONF, **({} if network(context).granted else {"substitute": "false"})}
    own = "".join(f"{name} = {value}\n" for name, value in asked.items())
    theirs = by_name["/etc/nix/nix.conf"].content if "/etc/nix/nix.conf" in by_name else b""
    return Granted(
        row="nix-commands",
        source=offer.shown,
        target="/nix/store, what is written there in memory",
        mounts=(
            Mount(kind="overlay", source=store.source, target=store.name, mode="rw"),
            Mount(kind="tmpfs", target="/nix/var", perms=0o755),
            *(
                (Mount(kind="snapshot", source=database.source, target=database.name, mode="rw"),)
                if database
                else ()
            ),
            Mount(
                kind="data",
                target="/etc/nix/nix.conf",
                content=theirs + b"\n" + own.encode(),
                perms=0o644,
            ),
        ),
        note=offer.note,
    )


def processes(_context: Context) -> Granted:
    """Its own kernel's; in a PID namespace, so that the guest's own are not seen."""
    return Granted(row="processes", mounts=(Mount(kind="proc", target="/proc"),))


def limits(context: Context) -> Limits:
    """All that it has is a limit; tasks are counted by its kernel."""
    made = machine(context)
    tasks = 0 if "limits" in context.request.without else context.request.max_tasks or TASKS
    memory, cores = made.memory_mib << 20, float(made.cores)
    found = {"memory": memory, "tasks": tasks, "cpus": cores}
    by = tuple((name, "guest") for name, value in found.items() if value)
    return Limits(memory=memory, tasks=tasks, cpus=cores, by=by)


def machine(context: Context) -> Machine:
    """Memory and processors: what was asked for, or less than usual on a small host.

    Raises UserError for more memory than the host has.
    """
    request, host = context.request, context.host
    asked, there = request.machine, host.limiters.memory >> 20
    wanted = asked.memory_mib or request.max_memory >> 20 or there * request.memory_share // 100
    if wanted > there:
        raise UserError(f"--memory {wanted} is more than the {there} MiB of this machine", "ask for less")
    accel = host.hypervisor.accel
    # Under TCG each processor more makes the start slower: they are brought up one by one.
    usual = min(CORES, host.processors) if accel == "kvm" else 1
    memory = MEMORY_MIB if accel == "kvm" else EMULATED_MIB
    return Machine(
        memory_mib=wanted or min(memory, there // 2),
        cores=asked.cores or int(-(-request.cpus // 1)) or usual,
        accel=accel,
        console=asked.console,
        screen=screen(context),
        manager=host.hypervisor.manager,
        qmp_socket=asked.qmp_socket,
    )


def screen(context: Context) -> str:
    """What the guest's screen is to people here. Raises HostError for a window that cannot be had."""
    host, asked = context.host, context.request.machine.display
    displays = [name for name in ("WAYLAND_DISPLAY", "DISPLAY") if host.environ.get(name)]
    if asked == "window" and not (displays and host.hypervisor.windows and host.hypervisor.xorg):
        raise _no_window(context, displays)
    if _screenless(context):
        return ""
    return "window" if asked != "none" and displays and host.hypervisor.windows else "hidden"


def _screenless(context: Context) -> tuple[str, ...]:
    """Why there is no screen, and what to do; () when there is one."""
    for row in ("x11", "gpu"):
        if row in context.request.without:
            return (f"left out by --without {row}", "start without that flag")
    return () if context.host.hypervisor.xorg else (NO_XORG, f"on the host: {INSTALL_XORG}")


def _no_window(context: Context, displays: list[str]) -> HostError:
    if not displays:
        return HostError("--display window: there is no display here", "leave it out, or set DISPLAY")
    if not context.host.hypervisor.windows:
        return HostError("--display window: this QEMU shows none", "sudo apt-get install qemu-system-gui")
    return HostError(f"--display window: {NO_XORG}", INSTALL_XORG)


def x11(context: Context) -> Granted:
    """A screen of the guest's own, which starts when the first client connects."""
    shown = screen(context)
    if not shown:
        return Granted(row="x11", granted=False, reason=": ".join(_screenless(context)))
    where = "the QEMU window" if shown == "window" else "no window; QMP's screendump shows it"
    return Granted(row="x11", source="Xorg in the guest", target=where, environment=(("DISPLAY", DISPLAY),))


def on_screen(row: str, source: str) -> Callable[[Context], Granted]:
    """A row that is kept by the screen."""

    def plan(context: Context) -> Granted:
        reason = ": ".join(_screenless(context))
        target = f"the display {DISPLAY}"
        return Granted(row=row, granted=not reason, reason=reason, source=source, target=target)

    return plan


def chromium(context: Context) -> Granted:
    """As in the others, on the guest's own screen; user namespaces it has, so its own sandbox, too."""
    without = _screenless(context)
    by = RANDOMISED if context.host.hypervisor.accel == "tcg" else ()
    return desktop.browser(context, BROWSER, _windowless(*without) if without else (), by)


def _windowless(why: str, remedy: str) -> tuple[str, ...]:
    """A wrapper's lines that say why no window opens, and what to do, unless none is asked for."""
    return (
        'case " $* " in *" --headless"* | *" --version "* | *" --help "*) ;; *)',
        f"  echo 'chromium: there is no screen for its window: {why}' >&2",
        f"  echo '  {remedy}; or, without a window: chromium --headless' >&2",
        "  exit 1 ;;",
        "esac",
    )


def _resolv_conf(context: Context) -> bytes:
    entries = context.offer("resolver").entries
    return entries[0].content if entries else b""


PLANNERS: dict[str, Callable[[Context], Granted]] = {
    "processes": processes,
    "environment": environment,
    "dns": dns,
    "network": network,
    "host-loopback": without("host-loopback", "the machine's own 127.0.0.1 is another"),
    "kvm": without("kvm", "a VM in a VM is not had here"),
    "ssh-agent": ssh_agent,
    "x11": x11,
    "chromium": chromium,
    "wayland": on_screen("wayland", "Xorg in the guest"),
    "audio": without("audio", "no sound device"),
    "gpu": on_screen("gpu", "a virtio display"),
    "dbus-session": without("dbus-session", "the host's bus is not behind a kernel of its own"),
    "dbus-system": without("dbus-system", "the host's bus is not behind a kernel of its own"),
    "nix-commands": nix_commands,
}
