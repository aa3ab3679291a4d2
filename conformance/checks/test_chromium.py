"""Row chromium: the real browser, headless; its pictures are looked at on the host."""

from __future__ import annotations

import json
import shlex
import shutil
import zlib
from pathlib import Path

from conformance.checks.probes import screen
from conformance.harness.cells import DEFAULT, Cell
from conformance.harness.covers import covers
from conformance.harness.errors import HarnessError, on_the_host
from conformance.harness.inside import Inside
from conformance.harness.machine import Machine
from conformance.harness.sandbox import Sandbox
from conformance.harness.world import World
from fixtures import packages
from fixtures.listeners import canary

HEADLESS = "--headless --disable-gpu --no-first-run --window-size=320,240"
CLIENT = (
    *("dbus-send", "--session", "--print-reply", "--dest=org.freedesktop.DBus"),
    *("/org/freedesktop/DBus", "org.freedesktop.DBus.GetId"),
)
# What takes an emulated processor seconds, and has nothing to do with a page.
FEWER = "--no-first-run --disable-background-networking --disable-component-update"
COLOUR = (18, 171, 52)
SECCOMP_MODE_FILTER = 2  # proc_pid_status(5)
WINDOW_S = 240.0  # on one emulated processor that others want, too; some 40 s alone
# Its own script colours it: what is drawn has been run, too.
PAGE = f"<body><script>document.body.style.background = 'rgb{COLOUR}'</script>"
# By the pipe at descriptors 3 and 4 (--remote-debugging-pipe), which is no port that others could reach. Says
# what chrome://policy shows, and what the environments of the browser's processes hold.
ASK = r"""
import atexit, json, os, select, subprocess, sys, time

to_read, to_write = os.pipe()
from_read, from_write = os.pipe()

def descriptors():
    os.dup2(to_read, 13), os.dup2(from_write, 14)
    os.dup2(13, 3), os.dup2(14, 4)

argv = [given["program"], "--headless", "--disable-gpu", "--no-first-run", "--remote-debugging-pipe"]
quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
atexit.register(lambda: (browser.kill(), browser.wait()))
browser = subprocess.Popen(argv + given["flags"], preexec_fn=descriptors, close_fds=False, **quiet)
os.close(to_read), os.close(from_write)
number, rest, end = 0, b"", time.monotonic() + 60

def call(method, session=None, **params):
    global number, rest
    number += 1
    message = {"id": number, "method": method, "params": params}
    if session:
        message["sessionId"] = session
    os.write(to_write, json.dumps(message).encode() + b"\0")
    while True:
        while b"\0" in rest:
            one, _, rest = rest.partition(b"\0")
            came = json.loads(one)
            if came.get("id") == number:
                return came["result"]
        if not select.select([from_read], [], [], max(0, end - time.monotonic()))[0]:
            raise SystemExit(f"no answer to {method}")
        rest += os.read(from_read, 1 << 16) or sys.exit("the browser ended")

def page(url, expression, until):
    target = call("Target.createTarget", url=url)["targetId"]
    session = call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
    while True:
        answer = call("Runtime.evaluate", session, expression=expression, returnByValue=True)
        came = answer["result"].get("value")
        if came and until(came) or time.monotonic() > end:
            return came
        time.sleep(0.05)

WALK = '''(() => { const out = []; const walk = root => { for (const e of root.querySelectorAll("*")) {
  if (e.shadowRoot) walk(e.shadowRoot);
  if (e.matches("div.policy.row")) out.push([...e.children].map(c => c.textContent.trim()).join("|")); } };
  walk(document); return out; })()'''

found = {"policy": page("chrome://policy", WALK, lambda rows: any("Extension" in row for row in rows))}
found["version"] = call("Browser.getVersion")["product"]
environments = []
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as line, open(f"/proc/{pid}/environ", "rb") as environ:
            if b"chromium" in line.read().split(b"\0")[0]:
                environments.append(environ.read().decode(errors="replace"))
    except OSError:
        pass
found["environments"] = environments
print(ascii(found))
"""


def browser(inside: Inside) -> str:
    """The browser's name inside. HarnessError when this machine has none."""
    if not shutil.which("chromium", path=packages.SYSTEM_PATH):
        raise HarnessError("this machine has no chromium", packages.remedy("chromium"))
    found = inside.run("command -v chromium")
    assert found.rc == 0, "chromium is on the host, and on no PATH inside"
    return str(found.stdout.strip())


def pixel(path: Path, x: int, y: int) -> tuple[int, ...]:
    """The colour at a point of a PNG of 8 bits a channel (PNG, sections 9 and 11)."""
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, packed, width, channels = 8, b"", 0, 0
    while at < len(data):
        size, kind = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        body = data[at + 8 : at + 8 + size]
        if kind == b"IHDR":
            width, channels = int.from_bytes(body[:4]), {2: 3, 6: 4}[body[9]]
        packed += body if kind == b"IDAT" else b""
        at += size + 12
    raw, stride = zlib.decompress(packed), width * channels
    above = bytes(stride)
    for row in range(y + 1):
        start = row * (stride + 1)
        how, line = raw[start], bytearray(raw[start + 1 : start + 1 + stride])
        for i in range(stride):
            left = line[i - channels] if i >= channels else 0
            corner = above[i - channels] if i >= channels else 0
            line[i] = (line[i] + _predicted(how, left, above[i], corner)) & 255
        above = bytes(line)
    return tuple(above[x * channels : x * channels + 3])


def _predicted(how: int, left: int, up: int, corner: int) -> int:
    if how == 4:
        whole = left + up - corner
        return min((left, up, corner), key=lambda value: abs(whole - value))
    return (0, left, up, (left + up) // 2)[how]


@covers("chromium", "own", by="the host's display")
def test_the_browser_draws_a_page(inside: Inside, host: World) -> None:
    """Chromium starts inside by its name on PATH, runs a page's script, and draws it."""
    browser(inside)
    host.write(host.path / "page.html", PAGE)
    shot = host.path / "shot.png"
    shot.unlink(missing_ok=True)

    words = f"--screenshot=/project/{shot.name} file:///project/page.html"
    drawn = inside.sh(f"chromium {HEADLESS} {words}", timeout_s=60)

    assert shot.exists(), drawn.stderr[-2000:]
    assert pixel(shot, 160, 120) == COLOUR
    assert shot.stat().st_uid == host.user.uid


@covers("chromium", "own", by="the host's display")
def test_the_policy_is_applied(inside: Inside, host: World, cell: Cell) -> None:
    """The managed policy stands as mandatory and valid in chrome://policy."""
    program = browser(inside)

    found = inside.python(ASK, program=program, flags=[], timeout_s=90)

    rows = {row.split("|")[0]: row for row in found["policy"]}
    assert '["*"]' in rows["ExtensionInstallBlocklist"]
    assert "fcoeoabgfenejglbffodgkkbkcdhcgfn" in rows["ExtensionInstallForcelist"]
    for name in ("ExtensionInstallBlocklist", "ExtensionInstallForcelist"):
        assert "|Mandatory|OK" in rows[name]
    if cell.variant == DEFAULT:
        # The control, once: the page does not read like this by itself.
        real = host.output(("readlink", "-f", "/usr/lib/chromium/chromium"))
        outside = host.python(ASK, program=real, flags=["--no-sandbox"], timeout_s=90)
        with on_the_host():
            assert [row for row in outside["policy"] if "|Mandatory|" in row and row.startswith("Ext")] == []


@covers("chromium", "own")
def test_the_policy_cannot_be_changed(inside: Inside) -> None:
    """The policy's directory takes no second file, and the file no other content."""
    browser(inside)
    managed = "/etc/chromium/policies/managed"

    for attack in (
        f"echo '{{}}' >{managed}/zz.json",
        f'for f in {managed}/*; do echo "{{}}" >"$f" || exit 1; done',
        f"mv {managed} {managed}.old",
        "mkdir -p /etc/chromium/policies/recommended/x",
    ):
        assert inside.sh(attack).rc != 0, attack


@covers("chromium", "own", variant=("default", "bare"), by="the host's display")
def test_its_profile_is_its_own(inside: Inside, host: World) -> None:
    """Its profile begins empty, in the sandbox's home: nothing of the host's comes in, nothing goes out."""
    browser(inside)
    word = canary()
    bait = host.write(".config/chromium/Default/Preferences", f'{{"fixture": "{word}"}}')
    before = sorted(host.home.joinpath(".config/chromium").rglob("*"))

    # A headless browser makes a temporary profile, unless it is told where a window's would be.
    start = f"chromium {HEADLESS} --user-data-dir=$HOME/.config/chromium --dump-dom about:blank"
    made = inside.sh(f"{start} && ls -A ~/.config/chromium", timeout_s=60)
    found = inside.sh(f"grep -rl {word} ~/.config '{host.home}/.config'")

    with on_the_host():
        assert word in bait.read_text()
    assert made.rc == 0, made.stderr[-2000:]
    assert "Default" in made.stdout
    assert found.stdout == ""
    assert sorted(host.home.joinpath(".config/chromium").rglob("*")) == before


@covers("chromium", "own", variant="default", needs=("dbus-session",), by="the host's display")
def test_it_is_never_on_the_session_bus(inside: Inside, host: World) -> None:
    """The browser never speaks with the session bus, which programs beside it reach."""
    program = browser(inside)
    connections = _counter(host)
    inside.output(shlex.join(CLIENT))
    control = _counter(host) - connections

    before = _counter(host)
    found = inside.python(ASK, program=program, flags=[], timeout_s=90)
    came = _counter(host) - before

    with on_the_host():
        assert control == 2, "the counter has to see a client inside, and ourselves"
    assert came == 1
    assert found["environments"]
    # The browser itself tells its children `disabled:`.
    assert [one for one in found["environments"] if "DBUS_SESSION_BUS_ADDRESS=unix" in one] == []


def _counter(host: World) -> int:
    """How many clients the host's bus has had: the number in the unique name of a new one."""
    said = host.output(CLIENT)
    return int(said.partition("destination=:1.")[2].split()[0])


# Of each process of the browser's: what it is, its seccomp mode, and how deep in process namespaces it is,
# counted from ours (proc_pid_status(5)). Those that its zygote has made have blanks between their words.
CONFINED = r"""
import os
found = []
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        with open(f"/proc/{pid}/cmdline") as line, open(f"/proc/{pid}/status") as status:
            words = line.read().replace("\0", " ").split()
            fields = dict(row.split(":", 1) for row in status)
    except (OSError, ValueError):
        continue
    if words and words[0].endswith("/chromium"):
        kind = next((word[7:] for word in words if word.startswith("--type=")), "browser")
        found.append([kind, int(fields["Seccomp"]), len(fields["NSpid"].split())])
print(ascii(found))
"""


# An extension, which colours every page as it likes (developer.chrome.com, "Content scripts").
EXTENSION = {"manifest_version": 3, "name": "fixture", "version": "1"}
SCRIPTS = {"content_scripts": [{"matches": ["<all_urls>"], "js": ["colour.js"]}]}


@covers("chromium", "own", variant="default", by="Xorg")
def test_its_window_is_on_the_machines_screen(sandbox: Machine) -> None:
    """Typed to a shell, `chromium` shows a page on the machine's own screen, where the policy is in force.

    Its profile is its own, and its own sandbox is on: all by one start of a browser, which is dear here.
    """
    inside, host = sandbox.inside, sandbox.world
    browser(inside)
    shade, theirs, word = screen.colour(), screen.colour(), canary()
    bait = host.write(".config/chromium/Default/Preferences", f'{{"fixture": "{word}"}}')
    before = sorted(host.home.joinpath(".config/chromium").rglob("*"))
    host.write(host.path / "page.html", PAGE.replace(f"rgb{COLOUR}", f"rgb{shade}"))
    host.write(host.path / "extension/manifest.json", json.dumps({**EXTENSION, **SCRIPTS}))
    host.write(host.path / "extension/colour.js", f"document.body.style.background = 'rgb{theirs}'")
    assert sandbox.picture().share(shade) == 0

    start = f"chromium {FEWER} --load-extension=/project/extension file:///project/page.html"
    pid = inside.output(f"{start} >/tmp/said 2>&1 & echo $!")
    # A dialog says first that the policy forbids the extension.
    seen = screen.filled(sandbox, pid, shade, theirs, least=0.5, patience_s=WINDOW_S, press="ret")
    confined = inside.python(CONFINED)
    ours = inside.output("grep Seccomp: /proc/self/status").split()[1]
    made = inside.output("ls -A ~/.config/chromium")
    found = inside.sh(f"grep -rl {word} ~/.config '{host.home}/.config'").stdout
    said = inside.output(f"kill {pid} 2>/dev/null; cat /tmp/said; rm /tmp/said")
    after = sorted(host.home.joinpath(".config/chromium").rglob("*"))

    with on_the_host():
        assert word in bait.read_text()
        assert _drawn_on_the_host(host) == theirs, "where there is no policy, the extension runs"
    assert seen == shade, said[-2000:]
    assert ["browser", int(ours), 1] in confined, "what is not confined is seen, too"
    renderers = [(seccomp, depth) for kind, seccomp, depth in confined if kind == "renderer"]
    assert renderers
    assert all(seccomp == SECCOMP_MODE_FILTER and depth > 1 for seccomp, depth in renderers), renderers
    assert "Default" in made
    assert found == ""
    assert after == before


def _drawn_on_the_host(host: World) -> tuple[int, ...]:
    """What colour the same page with the same extension has there."""
    shot = host.path / "control.png"
    real = host.output(("readlink", "-f", "/usr/lib/chromium/chromium"))
    more = ("--no-sandbox", f"--load-extension={host.path}/extension", f"--user-data-dir={host.path}/profile")
    words = (f"--screenshot={shot}", f"file://{host.path}/page.html")
    host.output((real, *HEADLESS.split(), *more, *words), timeout_s=60)
    return pixel(shot, 160, 120)


@covers("chromium", "own", means=True)
def test_a_wrapper_and_a_managed_policy(inside: Inside) -> None:
    """What PATH finds is a wrapper before the host's browser; the policy lies where the browser reads it."""
    program = browser(inside)

    assert inside.output(f"head -c 2 {program}") == "#!"
    assert not program.startswith("/usr/bin")
    assert inside.file("/etc/chromium/policies/managed").is_directory


@covers("chromium", "absent", variant="off")
def test_without_it_there_is_no_wrapper(inside: Inside, sandbox: Sandbox) -> None:
    """With --without chromium there is no wrapper and no policy; what /usr has is just a file."""
    if not shutil.which("chromium", path=packages.SYSTEM_PATH):
        raise HarnessError("this machine has no chromium", packages.remedy("chromium"))
    assert "chromium" in sandbox.flags

    found = inside.run("command -v chromium").stdout.strip()

    assert found in ("", "/usr/bin/chromium")
    assert not inside.file("/etc/chromium").exists
    assert not inside.file("/etc/opt/chrome").exists
