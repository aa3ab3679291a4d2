"""Row audio."""

from __future__ import annotations

from conformance.checks.probes.means import mounted
from conformance.checks.probes.places import CONNECT, connected
from conformance.harness.cells import Cell
from conformance.harness.covers import covers
from conformance.harness.errors import on_the_host
from conformance.harness.inside import Inside
from conformance.harness.sandbox import Sandbox
from conformance.harness.world import World
from fixtures.audio import RATE_HZ, SINK, Recording, tone
from fixtures.listeners import canary
from fixtures.process import wait_until

# A tone is heard when half of it is: what is torn on a busy machine is not the sandbox's fault.
PLAYED_S, HEARD_S = 0.4, 0.2
PULSE_HZ, PIPEWIRE_HZ, NEVER_HZ, HOSTS_HZ = 440, 1000, 1700, 2500
# What has not failed by then is not "at once"; and it is no failure, but a player that plays or waits.
AT_ONCE_S, TIMED_OUT = 5.0, 124


@covers("audio", "forwarded")
def test_a_tone_played_inside_sounds_on_the_host(inside: Inside, host: World) -> None:
    """A tone of 440 Hz from paplay, and another from pw-play, are recorded from the host's sound card."""
    sound = host.services.sound
    for frequency in (PULSE_HZ, PIPEWIRE_HZ):
        tone(host.path / f"{frequency}.wav", frequency, seconds=PLAYED_S, as_user=host.user)

    with sound.recording(host.services.scratch("rec")) as recording:
        by_pulse = inside.sh(f"timeout 20 paplay /project/{PULSE_HZ}.wav")
        by_pipewire = inside.sh(f"timeout 20 pw-play /project/{PIPEWIRE_HZ}.wav")

    assert (by_pulse.rc, by_pulse.stderr) == (0, "")
    assert by_pipewire.rc == 0, by_pipewire.stderr
    assert recording.seconds_of(PULSE_HZ) >= HEARD_S
    assert recording.seconds_of(PIPEWIRE_HZ) >= HEARD_S
    assert recording.seconds_of(NEVER_HZ) == 0


@covers("audio", "forwarded", variant="default")
def test_what_the_host_hears_can_be_recorded_inside(inside: Inside, host: World) -> None:
    """The other way works, too, as the table warns: a program inside records what the host hears."""
    sound, name = host.services.sound, canary()
    source = tone(host.path / f"{HOSTS_HZ}.wav", HOSTS_HZ, seconds=PLAYED_S, as_user=host.user)
    shape = f"--device={SINK}.monitor --raw --format=s16le --channels=1 --rate=16000 --latency-msec=20"

    pid = inside.output(f"parecord -v {shape} /project/{name} >/tmp/{name} 2>&1 & echo $!")
    ready = inside.sh(f"timeout 10 sh -c 'until grep -q Connected /tmp/{name}; do sleep 0.02; done'")
    played = host.run(_players(str(sound.runtime), str(source))[0].split())
    # The end of it is still on its way; a monitor gives silence for ever.
    enough = (host.path / name).stat().st_size + 2 * RATE_HZ * PLAYED_S
    wait_until(lambda: None if (host.path / name).stat().st_size >= enough else "less", "the whole recording")
    said = inside.output(f"kill -INT {pid}; cat /tmp/{name}; rm /tmp/{name}")

    with on_the_host():
        assert played.returncode == 0, "the host cannot play"
    assert ready.rc == 0, said
    assert Recording(path=host.path / name).seconds_of(HOSTS_HZ) >= HEARD_S


@covers("audio", "forwarded", means=True)
def test_the_sockets_are_mounts(inside: Inside, cell: Cell) -> None:
    """PipeWire's socket and PulseAudio's are mounts of their own."""
    runtime = inside.output("echo $XDG_RUNTIME_DIR")
    sockets = [f"{runtime}/pipewire-0", f"{runtime}/pulse/native"]

    assert mounted(inside, sockets, cell.means) == []


@covers("audio", "absent")
def test_no_sound_server_is_within_reach(inside: Inside, host: World) -> None:
    """No variable names a sound server, and no path of the host's leads to one."""
    sound = host.services.sound
    runtime = inside.output("echo $XDG_RUNTIME_DIR")
    directories = (sound.runtime, host.runtime, runtime)
    places = [f"{directory}/{name}" for directory in directories for name in ("pulse/native", "pipewire-0")]

    control = host.python(CONNECT, places=[str(sound.pulse)])
    found = inside.python(CONNECT, places=[str(sound.pulse), *places])

    with on_the_host():
        assert connected(control) == [str(sound.pulse)]
    assert connected(found) == []
    assert inside.output("echo ${PULSE_SERVER-unset} ${PIPEWIRE_REMOTE-unset}") == "unset unset"


@covers("audio", "absent", slow=True)
def test_nothing_inside_can_make_a_sound(sandbox: Sandbox, inside: Inside, host: World) -> None:
    """The same players fail at once, whatever socket they are told of, and nothing is recorded."""
    sound = host.services.sound
    for frequency in (PULSE_HZ, PIPEWIRE_HZ, HOSTS_HZ):
        tone(host.path / f"{frequency}.wav", frequency, seconds=PLAYED_S, as_user=host.user)
    inside.output(f"type paplay pw-play && cat /project/{PULSE_HZ}.wav >/dev/null")
    runtime = inside.output("echo $XDG_RUNTIME_DIR")
    directories = dict.fromkeys((str(sound.runtime), str(host.runtime), runtime))
    players = [line for directory in directories for line in _players(directory, f"/project/{PULSE_HZ}.wav")]

    with sound.recording(host.services.scratch("rec")) as recording:
        by_pulse, _ = _players(str(sound.runtime), str(host.path / f"{HOSTS_HZ}.wav"))
        _, by_pipewire = _players(str(sound.runtime), str(host.path / f"{PIPEWIRE_HZ}.wav"))
        control = [host.run(line.split()).stderr for line in (by_pulse, by_pipewire)]
        seconds = sandbox.pace * AT_ONCE_S
        tried = {line: inside.sh(f"timeout {seconds:g} {line}") for line in players}

    for frequency in (HOSTS_HZ, PIPEWIRE_HZ):
        with on_the_host():
            assert recording.seconds_of(frequency) >= HEARD_S, f"the host itself is not heard: {control}"
    assert recording.seconds_of(PULSE_HZ) == 0
    assert {line: done.rc for line, done in tried.items() if done.rc in (0, TIMED_OUT)} == {}


def _players(runtime: str, path: str) -> tuple[str, str]:
    """Command lines that play a file by PulseAudio's socket and by PipeWire's, in that directory."""
    return (
        f"paplay --server=unix:{runtime}/pulse/native {path}",
        f"env PIPEWIRE_RUNTIME_DIR={runtime} XDG_RUNTIME_DIR={runtime} pw-play {path}",
    )
