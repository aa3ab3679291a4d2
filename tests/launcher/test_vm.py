"""A virtual machine, booted: streams, terminal, files, and what is left when something is killed."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import termios
import time
from pathlib import Path

import pexpect
import pytest

from fixtures.process import wait_until
from launcher.run.guest import BOOT_S
from tests.kernels import fetched
from tests.launcher.program import Machine
from tests.launcher.virtual import given, qemus, shell, spoiled, started, vm

__all__ = ("fetched", "vm")

DATA = bytes(range(256)) * 4096


def test_bytes_pass_unharmed_both_ways_and_the_status_is_the_agents(vm: Machine) -> None:
    process = vm.start(*given(vm), "-c", "cat; echo said >&2; exit 7", stdin=subprocess.PIPE)
    out, err = process.communicate(DATA, timeout=120)

    assert out == DATA
    assert err == b"said\n"
    assert process.returncode == 7


def test_one_pipe_for_both_streams_keeps_their_order(vm: Machine) -> None:
    script = "for n in 1 2 3 4 5; do echo out $n; echo err $n >&2; done"
    ended = shell(vm, script, stderr=subprocess.STDOUT)

    assert ended.out.split("\n") == [f"{name} {n}" for n in range(1, 6) for name in ("out", "err")] + [""]


def test_who_writes_to_a_reader_that_has_gone_ends_by_sigpipe(vm: Machine) -> None:
    process = vm.start(*given(vm), "-c", "yes")
    assert process.stdout is not None
    assert process.stdout.read(4) == b"y\ny\n"
    process.stdout.close()

    assert process.wait(120) == 128 + signal.SIGPIPE
    assert process.stderr is not None
    process.stderr.close()


def test_a_signal_to_the_launcher_reaches_the_agent(vm: Machine) -> None:
    script = "trap 'echo caught; exit 3' TERM; touch /project/ready; while :; do sleep 0.1; done"
    process = started(vm, script, "begun")
    wait_until(lambda: None if (vm.project / "ready").exists() else "not yet", "the trap", timeout_s=30)

    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)

    assert (process.returncode, out) == (3, b"caught\n")


def test_identity_privileges_and_files(vm: Machine) -> None:
    """One boot: the user's own numbers, no capability, and files that belong to the user on either side."""
    odd = vm.directory(vm.project / "a,b \"c\" 'd'\nü")
    (odd / "from outside").write_text("outside")
    script = """
    id -u; id -g; id -un
    grep -E "^(Cap|NoNewPrivs)" /proc/self/status
    cat /project/a*/from*
    echo inside >"$PWD"/made; chmod 600 "$PWD"/made
    ls /home /root /var 2>&1 | tr "\\n" " "
    """
    ended = shell(vm, script)

    lines = ended.out.splitlines()
    assert lines[:3] == [str(os.getuid()), str(os.getgid()), "sandbox"]
    capabilities = dict(line.split(":\t") for line in lines[3:9])
    assert {v for n, v in capabilities.items() if n.startswith("Cap")} == {"0" * 16}
    assert capabilities["NoNewPrivs"] == "1"
    assert lines[9].startswith("outside"), ended
    made = vm.project / "made"
    assert (made.read_text(), made.stat().st_uid, made.stat().st_mode & 0o777) == (
        "inside\n",
        os.getuid(),
        0o600,
    )


def test_under_tcg_programs_lie_at_the_same_addresses_but_who_asks_for_others(vm: Machine) -> None:
    look = "cat /proc/self/maps | head -n 1"
    ended = shell(vm, f"{look}; {look}; setarch x86_64 {look}; setarch x86_64 {look}", "--accel", "tcg")

    first, second, *random_ = (line.partition("-")[0] for line in ended.out.splitlines())
    assert first == second
    assert len({first, *random_}) == 3, ended


def test_hooks_cannot_be_planted_and_commits_work(vm: Machine) -> None:
    subprocess.run(["git", "init", "-q", vm.project], check=True)
    hook = vm.project / ".git/hooks/post-checkout"
    script = f"""
    echo evil >.git/hooks/post-checkout || echo refused
    mv .git .old 2>/dev/null || echo pinned
    touch {vm.project}/.git/hooks/x 2>/dev/null || echo refused
    git -c user.name=a -c user.email=b commit -q --allow-empty -m one && git log --format=%s
    """
    ended = shell(vm, script)

    assert ended.out.split() == ["refused", "pinned", "refused", "one"], ended
    assert not hook.exists()


def test_an_edit_outside_is_seen_inside_at_once_and_the_reverse(vm: Machine) -> None:
    file = vm.project / "both"
    script = "echo 1 >both; until grep -q 2 both; do sleep 0.05; done; echo 3 >both; sleep 1000"
    process = started(vm, script, "begun")
    wait_until(lambda: None if _text(file) == "1\n" else "not written", "the first write", timeout_s=60)

    file.write_text("2\n")

    wait_until(lambda: None if _text(file) == "3\n" else "not seen", "the answer", timeout_s=60)
    process.terminate()
    process.communicate(timeout=60)


def test_the_secret_is_in_no_command_line_and_no_file(vm: Machine) -> None:
    process = started(vm, "sleep 1000", "begun", env={"ANTHROPIC_API_KEY": "sk-canary"})
    of_qemu = qemus(process.pid)[0]
    seen = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in (process.pid, of_qemu)]
    environ = Path(f"/proc/{of_qemu}/environ").read_bytes()
    files = [p.read_bytes() for p in Path(vm.environ["XDG_RUNTIME_DIR"]).rglob("*") if p.is_file()]
    process.terminate()
    process.communicate(timeout=60)

    assert not any(b"sk-canary" in text for text in (*seen, environ, *files))


@pytest.mark.parametrize("victim", ["launcher", "qemu"])
def test_whatever_is_killed_nothing_is_left(vm: Machine, victim: str) -> None:
    (vm.home / ".gitconfig").write_text("[user]\nname = staged\n")
    process = started(vm, "sleep 1000", "begun")
    of_qemu = qemus(process.pid)[0]
    pidfd = os.pidfd_open(of_qemu)

    os.kill(process.pid if victim == "launcher" else of_qemu, signal.SIGKILL)
    _, err = process.communicate(timeout=60)

    wait_until(lambda: None if _gone(pidfd) else "it runs", "the end of QEMU", timeout_s=10)
    os.close(pidfd)
    if victim == "qemu":
        assert process.returncode == 125
        assert b"the machine ended by itself" in err
    runtime = Path(vm.environ["XDG_RUNTIME_DIR"])
    wait_until(lambda: None if not list(runtime.iterdir()) else "there", "no directory of the run's")


@pytest.mark.timeout(600)  # its moments are parts of what a start takes here and now
def test_twenty_killed_at_any_moment_of_their_start_leave_nothing(vm: Machine) -> None:
    """Their launcher, or QEMU where there is one already; with a network, where this machine has one."""
    words = ("--quiet", "--kernel", vm.environ["VM_KERNEL"], "--shell", str(vm.project))
    begun = time.monotonic()
    assert vm.run(*words, "-c", "exit 3").status == 3
    takes = time.monotonic() - begun
    runtime = Path(vm.environ["XDG_RUNTIME_DIR"])
    random.seed(0)

    for turn in range(10):
        pair = [vm.start(*words, "-c", "sleep 1000") for _ in range(2)]
        for process, delay in zip(pair, sorted(random.uniform(0, takes) for _ in pair), strict=True):
            time.sleep(delay / 2)
            victims = qemus(process.pid) if turn % 2 else []
            os.kill(victims[0] if victims else process.pid, signal.SIGKILL)
        for process in pair:
            _, err = process.communicate(timeout=60)
            assert process.returncode in (125, -signal.SIGKILL), err

    def left() -> str | None:
        return ", ".join([*vm.processes(), *map(str, runtime.iterdir())]) or None

    wait_until(left, "end of all that was started", timeout_s=20)


def test_a_machine_whose_sandbox_is_not_built_is_said_at_once(vm: Machine) -> None:
    spoil = (
        "from launcher.backends import vm\n"
        "render = vm.render\n"
        "def spoiled(*given, **named):\n"
        "    launch = render(*given, **named)\n"
        "    return launch.replace(guest=launch.guest.replace(options=('--no-such-option',)))\n"
        "vm.render = spoiled\n"
    )
    vm = spoiled(vm, spoil)

    began = time.monotonic()
    ended = shell(vm, "true")

    assert ended.status == 125
    assert "the machine gave up with status 1, before the sandbox was built" in ended.err
    assert "--no-such-option" in ended.err
    assert time.monotonic() - began < BOOT_S


@pytest.mark.parametrize("console", ["virtio", "ttyS0"])
def test_a_terminal_has_sizes_job_control_and_is_restored(vm: Machine, console: str) -> None:
    argv = (*vm.program, *given(vm, "--console", console), "--norc")
    child = pexpect.spawn(
        argv[0], list(argv[1:]), env={**vm.environ, "TERM": "xterm"}, cwd=str(vm.home), dimensions=(33, 111)
    )
    before = termios.tcgetattr(child.child_fd)

    def ask(line: str, answer: str) -> None:
        child.sendline(line)
        child.expect(answer, timeout=30)

    # It speaks once it is in the foreground: keys before that are the shell's.
    job = """sh -c "echo read''y; exec sleep 1000\""""
    child.expect(r"[$#] ", timeout=120)
    ask("stty size", "33 111")
    child.setwinsize(40, 100)
    ask('until [[ $(stty size) == "40 100" ]]; do sleep 0.1; done; echo res""ized', "resized")
    child.sendline(job)
    child.expect("ready", timeout=30)
    child.sendintr()
    ask("echo status=$?", "status=130")
    child.sendline(job)
    child.expect("ready", timeout=30)
    child.send("\x1a")
    child.expect("Stopped", timeout=30)
    ask("kill %1; wait %1; echo on''ward", "onward")
    child.sendline("exit 5")
    child.expect("exit 5", timeout=30)
    child.expect(pexpect.EOF, timeout=60)  # by then it is restored
    after = termios.tcgetattr(child.child_fd)
    child.close()

    assert child.exitstatus == 5
    assert after == before


@pytest.mark.parametrize(("end", "status"), [("exit", 7), ("signal", 129)])
def test_in_tmux_who_detaches_is_attached_again_and_the_status_is_the_agents(
    vm: Machine, end: str, status: int
) -> None:
    flags = ("--tmux", *given(vm))
    script = 'tmux display -p "session #S:#W"; read -r word; echo "$word"; exit 7'
    argv = (*vm.program, *flags, "-c", script)
    child = pexpect.spawn(
        argv[0], list(argv[1:]), env={**vm.environ, "TERM": "xterm"}, cwd=str(vm.home), dimensions=(33, 111)
    )
    name = f"session sandbox:{vm.project.name}"
    before = termios.tcgetattr(child.child_fd)
    child.expect("ends with this terminal", timeout=120)
    child.expect(name, timeout=60)
    child.send("\x02d")
    child.expect("detached", timeout=30)
    child.expect(name, timeout=30)
    if end == "signal":
        child.kill(signal.SIGTERM)
    else:
        child.sendline("onward")
        child.expect("onward", timeout=30)
    child.expect(pexpect.EOF, timeout=60)
    after = termios.tcgetattr(child.child_fd)
    child.close()

    assert child.exitstatus == status
    assert after == before


def test_two_at_once(vm: Machine) -> None:
    both = [vm.start(*given(vm), "-c", f"echo {n} >{n}; cat {n}") for n in (1, 2)]
    outs = [process.communicate(timeout=120)[0] for process in both]

    assert outs == [b"1\n", b"2\n"]


@pytest.mark.parametrize(
    ("flags", "what"),
    [
        pytest.param(("--memory", "99999999"), "--memory 99999999 cannot be", id="memory"),
        pytest.param(("--memory", "4000000"), "is more than the", id="more memory than there is"),
        pytest.param(("--kernel", "/etc/passwd"), "is no kernel", id="kernel"),
        pytest.param(("--qmp-socket", "/tmp/" + "x" * 110), "--qmp-socket", id="long socket"),
        pytest.param(("--display", "big"), "--display big", id="display"),
    ],
)
def test_bad_input_is_two_lines(vm: Machine, flags: tuple[str, str], what: str) -> None:
    ended = shell(vm, "true", *flags)

    assert ended.status in (2, 125), ended
    assert len(ended.said) == 2, ended
    assert re.match(r"claude-sandbox-vm: .*" + re.escape(what), ended.said[0]), ended


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def _gone(pidfd: int) -> bool:
    import select

    return bool(select.select([pidfd], [], [], 0)[0])
