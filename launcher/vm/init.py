"""The guest's init: two scripts for busybox's shell, and what it and the launcher say to each other.

Over the port "ctl", a line each; the inner stage writes there, too (see run/inner.py):

    launcher  modes STTY | size ROWS COLUMNS     what the terminal is to be like
    launcher  order LINE                         for the stage
    launcher  signal NUMBER PROCESS              to the agent, by its number inside; negative: to its group
    launcher  broken PORT                        nobody reads this stream any more
    launcher  clock SECONDS                      the time of day, since 1970
    launcher  stop                               end all that runs inside
    init      end STATUS                         all inside has ended, and what it wrote is on its way

A stream's last bytes may still be in the machine when it is switched off; so each ends with a token that
nothing inside knows, and the launcher waits for it.
"""

from __future__ import annotations

from launcher.record import Record
from launcher.run.inner import CONTROL, ENVIRONMENT, ORDERS, STDERR, TERMINAL
from launcher.vm import screen
from launcher.vm.files import BUSYBOX, COVER, OWN, RELAY, SOCKET, SYSTEM, quoted
from launcher.vm.network import ADDRESS, GATEWAY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from launcher.backends.base import Guest, Share

APPLETS = (
    "cat", "chmod", "chown", "chroot", "date", "env", "grep", "insmod", "ip", "kill",
    "mkdir", "mkfifo", "modprobe", "mount", "setsid", "sh", "sleep", "stty", "sync",
)  # fmt: skip
MSIZE = 104857600  # the seeds' figure; the kernel takes as much of it as its transport can
MTU = 65520  # what passt takes; there is no wire
PORTS = ("ctl", "in", "out", "err", "agent")  # by their numbers on the first virtio device, from 1


class Streams(Record):
    """What the agent's descriptors 0 to 2 are: "tty", "null", or the name of a port."""

    stdin: str
    stdout: str
    stderr: str

    @property
    def names(self) -> tuple[str, str, str]:
        """All three."""
        return (self.stdin, self.stdout, self.stderr)

    @property
    def ports(self) -> tuple[str, ...]:
        """The ports among them, each once."""
        return tuple(dict.fromkeys(name for name in self.names if name in PORTS))


def port(name: str) -> str:
    """The device of a virtio-serial port: without udev it has no name but its number."""
    return f"/dev/vport0p{PORTS.index(name) + 1}"


def early(guest: Guest, module: str, log: str, *, fixed: bool = False) -> str:
    """/init of the initramfs: devices, modules, shares; then `late`, in SYSTEM. `module`: one that needs all
    the others, or ""; `log`: a device.

    `fixed`: programs are to lie at the same addresses each time (personality(2), ADDR_NO_RANDOMIZE). TCG
    translates one anew that has moved, each time it is started: /usr/bin/true takes 24 ms then, and 7 else.
    """
    at = SYSTEM
    shell = f"{BUSYBOX} linux64 -R {BUSYBOX} sh" if fixed else f"{BUSYBOX} sh"
    lines = [
        f"#!{at}{BUSYBOX} sh",
        f"export PATH={at}{OWN}/bin",
        *_or_end(f"{at}{BUSYBOX}"),
        f"mount -t devtmpfs dev {at}/dev && exec <{at}/dev/null >{at}{log} 2>&1",
        f"mount -t proc proc {at}/proc",
        *((f"modprobe {module}",) if module else ()),
        *(_mount(share) for share in guest.shares),
        # Not the first root of all, which pivot_root(2) cannot leave, as bwrap wants to.
        f"mount -o rbind {at} {at} && cd {at} && mount -o move . /",
        f"exec chroot . {shell} {OWN}/late",
    ]
    return "\n".join(lines) + "\n"


def late(guest: Guest, streams: Streams, *, terminal: str, token: str) -> str:
    """The rest: it starts bwrap, does what the launcher says, says how it ended."""
    uid, gid = guest.identity.uid, guest.identity.gid
    tty = "tty" in streams.names
    lines = [
        f"export PATH={OWN}/bin",
        *_or_end(BUSYBOX),
        f"terminal={terminal} token={token}",
        "mkfifo " + " ".join(f"{OWN}/{name}" for name in ("orders", *streams.ports)),
        f"[ -c {port('ctl')} ]",  # or what is written to it would make a file of that name
        f"exec 9<>{port('ctl')}",
        *(line for lower, at in guest.overlays for line in _overlay(guest, lower, at)),
        "ip link set lo up",
        *(_network() if guest.network else ()),
        *(line for name in streams.ports for line in _relay(name)),
        # It belongs to the one inside: they open it by its name.
        *((f"chown {uid}:{gid} $terminal", "chmod 620 $terminal") if tty else ()),
        "set +e",
        SERVE,
        *(_screen(guest) if guest.machine.screen else ()),
        *(_agent(guest) if guest.agent else ()),
        # Should it fail, bwrap does not find what it is to mount there.
        *((_cover(guest),) if guest.covers else ()),
        _start(guest, streams, tty=tty),
        "status=$?",
        # Not without a number: it would wait for the one that serves, too. Nor for what a start that failed
        # has not opened.
        *((f"[ -s {OWN}/status ] && wait $relays",) if set(streams.ports) - {"in"} else ()),
        "printf %s $token >$terminal" if tty else ":",
        "sync",
        "echo end $status >&9",
        "while :; do sleep 1000; done",
    ]
    return "\n".join(lines) + "\n"


def _or_end(busybox: str) -> tuple[str, str]:
    """From here on a command that fails ends the machine, so that its words are the last: nothing that was
    granted is left out without a word, and nobody waits for what cannot come up.
    """
    return (f"trap '{busybox} reboot -f' EXIT", "set -e")


SERVE = rf"""
inside() {{
  read -r child <{OWN}/status
  child=${{child#*'"child-pid": '}}
  child=${{child%%[!0-9]*}}
  [ "$child" ] && "$@"
}}
as_inside() {{ /usr/bin/nsenter --target "$child" --pid {BUSYBOX} kill "$@"; }}
while read -r word first second; do
  case $word in
    modes) stty -F "$terminal" "$first" ;;
    size) stty -F "$terminal" rows "$first" cols "$second" ;;
    order) echo "$first${{second:+ $second}}" >&5 ;;
    signal) inside as_inside -"$first" -- "$second" ;;
    broken) read -r relay <"{OWN}/$first.pid" && kill -9 "$relay" ;;
    clock) date -s "@$first" ;;
    stop) inside eval 'kill -9 $child' ;;
  esac
done <&9 5<>{OWN}/orders &
"""


def _start(guest: Guest, streams: Streams, *, tty: bool) -> str:
    """bwrap, with what the stage is to find: 3 options, 4 environment, 5 orders, 6 status, 7 stderr, 8 the
    terminal, 9 control.
    """
    files = {"null": "/dev/null", "tty": "&8", **{name: f"{OWN}/{name}" for name in streams.ports}}
    numbers = {CONTROL: "9", STDERR: "7", TERMINAL: "8", ENVIRONMENT: "4", ORDERS: "5"}
    words = (numbers.get(word, word) for word in guest.command)
    # One description for both keeps what is written to them in its order.
    stderr = "&1" if streams.stderr == streams.stdout else files[streams.stderr]
    redirections = (
        *(("8<>$terminal",) if tty else ()),
        f"3<{OWN}/options", f"4<{OWN}/environment", f"5<>{OWN}/orders", f"6>{OWN}/status",
        f"0<{files[streams.stdin]}", f"1>{files[streams.stdout]}", f"7>{stderr}",
    )  # fmt: skip
    command = " ".join(quoted(word) for word in words)
    bwrap = f"{_user(guest)} /usr/bin/bwrap --args 3 --json-status-fd 6 -- {command}"
    return alone(bwrap, redirections)


def alone(command: str, redirections: Iterable[str]) -> str:
    """`command` by a shell without children: busybox's gives up a redirection when one of its own ends, and
    that of a fifo waits for its other side.
    """
    return f"(exec {command} {' '.join(redirections)})"


def _user(guest: Guest) -> str:
    """From root to the user, with nothing in the environment: pid 1 inside keeps what bwrap has.

    Who maps root into a user namespace needs CAP_SETFCAP outside of it (user_namespaces(7)); inside it is
    nothing.
    """
    uid, gid = guest.identity.uid, guest.identity.gid
    kept = "-all" if uid else "-all,+setfcap"
    groups = ",".join(str(group) for group in guest.groups)
    return (
        f"env -i /usr/bin/setpriv --reuid={uid} --regid={gid} "
        f"{f'--groups={groups}' if groups else '--clear-groups'} --no-new-privs"
        f" --bounding-set={kept} --inh-caps={kept} --ambient-caps={kept} --"
    )


def _relay(name: str) -> tuple[str, ...]:
    fifo = f"{OWN}/{name}"
    if name == "in":
        return (f"cat <{port(name)} >{fifo} &",)
    # The port can be opened once: by the shell that has the last word, too.
    both = f"{{ cat <{fifo} & echo $! >{fifo}.pid; wait; printf %s $token; }}"
    return (f"{both} >{port(name)} &", 'relays="$relays $!"')


def _screen(guest: Guest) -> tuple[str, ...]:
    """The display's socket; what is behind it comes when somebody connects."""
    return (
        f"(umask 177; exec {OWN}/displaying {BUSYBOX} sh {OWN}/screen) 9>&-",
        f"chown {guest.identity.uid}:{guest.identity.gid} {screen.SOCKET}",
    )


def _agent(guest: Guest) -> tuple[str, ...]:
    """The socket is there at once; what relays it comes when somebody connects."""
    relay = f"{OWN}/bin/{_user(guest)} /usr/bin/python3 -I -S -B {RELAY}/relay.py"
    return (
        f"(umask 177; exec {OWN}/listening {relay}) 0<>{port('agent')} 9>&-",
        f"chown {guest.identity.uid}:{guest.identity.gid} {SOCKET}",
    )


def _cover(guest: Guest) -> str:
    words = (word for pair in guest.covers for word in pair)
    return f"/usr/bin/python3 -I -S -B {COVER} {' '.join(quoted(word) for word in words)}"


def _network() -> tuple[str, ...]:
    # An address of IPv6 that is there at once, by what passt advertises: nobody else is on this link.
    ipv6 = "/proc/sys/net/ipv6/conf/eth0"
    return (
        f"ip address add {ADDRESS}/24 dev eth0",
        f"[ ! -e {ipv6} ] || echo 0 >{ipv6}/accept_dad",  # not every kernel has it
        f"[ ! -e {ipv6} ] || echo 0 >{ipv6}/router_solicitation_delay",
        f"ip link set eth0 mtu {MTU} up",
        f"ip route add default via {GATEWAY}",
    )


def _overlay(guest: Guest, lower: str, at: str) -> tuple[str, ...]:
    """What is written lies in memory, in the init's own place; its top directory is the user's."""
    upper, work = (f"{OWN}{at}/{name}" for name in ("upper", "work"))
    return (
        f"mkdir -p {at} {upper} {work}",
        f"chown {guest.identity.uid}:{guest.identity.gid} {upper}",
        f"mount -t overlay -o lowerdir={lower},upperdir={upper},workdir={work},nosuid,nodev overlay {at}",
    )


def _mount(share: Share) -> str:
    mode = "rw" if share.writable else "ro"
    cache = "loose" if share.steady else "mmap"
    options = f"trans=virtio,version=9p2000.L,msize={MSIZE},cache={cache},{mode},nosuid,nodev"
    return f"mount -t 9p -o {options} {share.tag} {SYSTEM}{quoted(share.at)}"
