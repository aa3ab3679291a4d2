"""Real terminals (pexpect): sizes, keys, job control, and the terminal as it was, whatever happens."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import termios
import time
import uuid

import pexpect
import pytest

from fixtures.terminal import hang_up
from tests.launcher.run.harness import CHILD, alive, gone

LAUNCH = " ".join(CHILD)


def spawn(*command: str, **environment: str) -> pexpect.spawn[str]:
    """COMMAND in a sandbox on a fresh terminal of 33 rows and 77 columns."""
    env = {**os.environ, **environment}
    return pexpect.spawn(
        CHILD[0], [*CHILD[1:], *command], encoding="utf-8", timeout=10, dimensions=(33, 77), env=env
    )


def shell() -> pexpect.spawn[str]:
    """An interactive bash of the host on a fresh terminal."""
    env = {**os.environ, "PS1": "HOST> "}
    child = pexpect.spawn("/bin/bash", ["--norc", "--noprofile", "-i"], encoding="utf-8", timeout=10, env=env)
    child.expect("HOST> ")
    return child


def sent(child: pexpect.spawn[str], line: str, expected: str) -> re.Match[str]:
    """Type a line, wait for what must come of it."""
    child.sendline(line)
    child.expect(expected)
    assert isinstance(child.match, re.Match)
    return child.match


def modes(child: pexpect.spawn[str]) -> list[object]:
    """Attributes of the terminal that the child was given."""
    return termios.tcgetattr(child.child_fd)


def until(condition: object, seconds: float = 5) -> bool:
    """`condition()` became true in time."""
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def test_size_and_every_resize_arrive_and_ctrl_c_reaches_the_program_alone() -> None:
    child = spawn("/usr/bin/python3", "-q")
    child.expect(">>> ")
    sent(child, "import os, time; print(os.get_terminal_size())", "columns=77, lines=33")
    child.expect(">>> ")
    child.setwinsize(40, 100)
    sent(child, "time.sleep(0.2); print(os.get_terminal_size())", "columns=100, lines=40")
    child.expect(">>> ")
    sent(child, "print('now'); time.sleep(60)", "\nnow")
    child.sendintr()
    child.expect("KeyboardInterrupt")
    child.expect(">>> ")
    child.sendline("exit(5)")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 5


def test_ctrl_z_and_fg_work_as_with_any_program_however_often() -> None:
    host = shell()
    before = modes(host)
    sent(host, f"{LAUNCH} cat", "cat\r\n")
    sent(host, "one", "one\r\none\r\n")
    for word in ("two", "three", "four"):
        host.send("\x1a")
        host.expect("Stopped")
        host.expect("HOST> ")
        sent(host, "jobs", "Stopped")
        sent(host, "fg", "cat\r\n")
        sent(host, word, f"{word}\r\n{word}\r\n")
    host.send("\x04")
    host.expect("HOST> ")
    sent(host, "echo status=$?", "status=0")
    assert modes(host) == before
    hang_up(host)


def test_job_control_of_a_shell_inside_works() -> None:
    child = spawn("bash", "--norc", "--noprofile", "-i")
    child.expect("[#$] ")
    sent(child, "sh -c 'echo be\"\"gin; exec sleep 100'", "begin")
    child.send("\x1a")
    child.expect("Stopped")
    sent(child, "jobs; echo li''sted", "Stopped.*sleep 100.*listed")
    sent(child, "fg", "sh -c .*exec sleep")
    time.sleep(0.1)
    child.sendintr()
    sent(child, "echo st''atus=$?", "status=130")
    child.sendline("exit 9")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 9


def test_in_the_background_it_runs_and_stops_only_to_read() -> None:
    host = shell()
    sent(host, f"{LAUNCH} sh -c 'echo out''put; read x; echo got=$x' &", "[\r\n]output|> output")
    assert until(lambda: sent(host, "jobs", "(Stopped|Running)")[1] == "Stopped")
    sent(host, "fg", "sh -c")
    sent(host, "word", "got=word")
    hang_up(host)


def test_beside_a_pager_keys_are_left_alone_until_the_agent_reads() -> None:
    host = shell()
    sent(host, f"{LAUNCH} sh -c 'sleep 0.5; echo do''ne >&2' | (read k </dev/tty; echo k=$k)", "\n")
    sent(host, "key", "k=key")
    hang_up(host)


def test_lines_and_end_of_file_arrive_when_only_stdin_is_a_terminal() -> None:
    host = shell()
    sent(host, f"{LAUNCH} cat | tr a-z A-Z", "\n")
    sent(host, "mixed", "MIXED\r\n")
    host.send("end\x04")
    time.sleep(0.2)
    host.send("\x04")
    host.expect("END")
    host.expect("HOST> ")
    hang_up(host)


def test_without_a_terminal_for_stdin_output_looks_as_on_the_host() -> None:
    host = shell()
    sent(
        host,
        # Short sleeps: a signal between "set" and the start of a long one would wait for its end.
        f"echo word | {LAUNCH} sh -c"
        " 'cat; tty <&1; trap \"exit 130\" INT; echo set; while :; do sleep 0.1; done'",
        "[\r\n]word\r\n[^\n]*(pts|console)[^\r\n]*\r\nset\r\n",
    )
    host.sendintr()
    sent(host, "echo status=$?", "status=130")
    hang_up(host)


@pytest.mark.parametrize("end", ["exit", "TERM", "KILL", "exception"])
def test_the_terminal_is_as_it_was(end: str) -> None:
    master, slave = os.openpty()
    before = termios.tcgetattr(slave)
    marker = uuid.uuid4().hex
    script = "stty raw -echo; echo up; " + ("exit 0" if end == "exit" else f"sleep 100; : {marker}")
    env = {**os.environ, **({"RAISE": "1"} if end == "exception" else {})}
    with subprocess.Popen(
        [*CHILD, "sh", "-c", script], stdin=slave, stdout=slave, stderr=slave, env=env
    ) as child:
        if end in ("TERM", "KILL"):
            assert b"up" in os.read(master, 100)
            assert termios.tcgetattr(slave) != before  # the control: it was raw
            child.send_signal(signal.SIGTERM if end == "TERM" else signal.SIGKILL)
        else:
            assert select.select([master], [], [], 10)[0]
        child.wait(10)
        assert until(lambda: termios.tcgetattr(slave) == before)
    assert gone(marker), alive(marker)
    os.close(master)
    os.close(slave)


def test_a_pasted_megabyte_and_a_flood_of_output_do_not_block_each_other() -> None:
    script = """
import os, threading, tty
tty.setraw(0)
print("READY", flush=True)
def read():
    n = 0
    while n < 1_000_000:
        n += len(os.read(0, 65536))
reader = threading.Thread(target=read)
reader.start()
while reader.is_alive():
    os.write(1, b"o" * 4096)
os.write(1, b"ALL")
"""
    child = spawn("/usr/bin/python3", "-c", script)
    child.expect("READY")
    os.set_blocking(child.child_fd, False)
    paste, tail, deadline = b"y" * 1_000_000, b"", time.monotonic() + 20
    while not tail.endswith(b"ALL"):
        assert time.monotonic() < deadline
        readable, writable, _ = select.select([child.child_fd], [child.child_fd] if paste else [], [], 5)
        assert readable or writable, "both directions are blocked"
        if readable:
            tail = (tail + os.read(child.child_fd, 65536))[-3:]
        if writable:
            try:
                paste = paste[os.write(child.child_fd, paste[:65536]) :]
            except BlockingIOError:
                continue
    assert not paste
    hang_up(child)
