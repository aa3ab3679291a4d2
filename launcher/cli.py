"""argv in, exit status out: the only place that prints errors and picks a status."""

from __future__ import annotations

import io
import os
import sys

from launcher.errors import HostError, LauncherError, SandboxError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from launcher.host.model import Bwrap, Host
    from launcher.missing import Missing
    from launcher.request import Request

PROGRAMS = {
    "bubblewrap": "claude-sandbox",
    "container": "claude-sandbox-container",
    "vm": "claude-sandbox-vm",
}


def program(backend: str) -> None:
    """What the installed programs call. Neither collects garbage nor tears the interpreter down: 3 ms."""
    import gc

    gc.disable()  # some thousand values are made, and live until the end
    os._exit(main(sys.argv, backend))


def main(argv: list[str], backend: str) -> int:
    """Run one command line; the exit status is the agent's, 2 for a user's mistake, 125 when it could not be
    started.
    """
    from launcher.run.spawn import secure_stdio

    secure_stdio()
    name = PROGRAMS[backend]
    try:
        return _main(argv[1:], backend, name)
    except LauncherError as error:
        quoted = error.quoted if isinstance(error, SandboxError) else ()
        say(*quoted, f"{name}: {error.what}", f"  {error.hint}")
        return error.status
    except BrokenPipeError:
        return 141  # 128 + SIGPIPE, as a program that `| head` ends
    except KeyboardInterrupt:
        return 130


def _main(arguments: list[str], backend: str, name: str) -> int:
    from launcher import flags

    request = flags.parse(arguments, backend=backend, program=name)
    if request.action == "help":
        out(flags.help_text(name, backend))
    elif request.action == "version":
        from launcher import __version__

        out(f"{name} {__version__}")
    elif request.action == "completion":
        from launcher.completion import script

        out(script(request.project))
    else:
        return _with_host(request)
    return 0


def _with_host(request: Request) -> int:
    if request.backend == "container":
        from launcher import elevate

        elevate.enter(request, sys.argv)  # first: on the way to sudo nothing more is needed
    from launcher import launch, project
    from launcher.host.environment import given
    from launcher.host.probe import probe

    host = probe(given(os.environ), writable=project.writable(request))
    if request.backend == "vm":
        from launcher.vm.look import look

        host = look(request.machine, host)
    if request.action == "check":
        return _check(request, host)
    context = launch.context(request, host)
    if request.action == "restore":
        from launcher import runs, state

        state.project_dir(host.state, context.subject.path)
        out(*runs.restore(context.subject.state, context.subject.path))
        return 0
    if request.action == "explain":
        from launcher import explain

        plan = launch.plan(context)
        coloured = os.isatty(1) and "NO_COLOR" not in host.environ
        out(explain.as_json(plan) if request.json else explain.text(plan, colour=coloured))
        return 0
    if request.tmux:
        from launcher import state, tmux

        state.project_dir(host.state, context.subject.path)
        return tmux.run(context, say)
    return launch.execute(context, launch.plan(context), say)


def _check(request: Request, host: Host) -> int:
    """Print what is missing. Status 0 when nothing that is required is."""
    from launcher.missing import report

    found = report(host, request.backend, shell=request.shell, network=request.network)
    if host.bwrap and request.backend == "bubblewrap" and not any(m.program == "bwrap" for m in found):
        found = [*_unbuildable(host.bwrap, host.environ), *found]
    if request.json:
        import json

        out(json.dumps([m.as_json() for m in found], indent=2))
        return 125 if any(m.required for m in found) else 0
    lines = [f"{'missing' if m.required else 'optional'}: {m.what}: {m.why}\n  {m.fix}" for m in found]
    out(*lines or ("nothing is missing here",))
    return 125 if any(m.required for m in found) else 0


def _unbuildable(bwrap: Bwrap, environ: dict[str, str]) -> list[Missing]:
    """What no look at files tells: whether a sandbox can be built here."""
    from launcher.missing import Missing
    from launcher.run.trial import trial

    failed = trial(bwrap.path, nested="disable-userns" in bwrap.options)
    if failed is None:
        return []
    from launcher import diagnosis
    from launcher.host.confinement import confinement

    cause = diagnosis.explain(failed, confinement(environ), "/") or failed
    return [Missing(what="a sandbox", program="", why=cause.what, required=True, mend=cause.hint)]


def out(*lines: str) -> None:
    """Lines on stdout, at once; none when it was closed (None to Python) by who wants the status alone.

    Raises BrokenPipeError, and HostError for a disk that is full.
    """
    if sys.stdout is None:
        return
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a locale may have no arrows
    try:
        print(*lines, sep="\n", flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise HostError(
            f"stdout cannot be written: {error.strerror}", "free some space there, or send it elsewhere"
        ) from error


def say(*lines: str) -> bool:
    """Lines on stderr, each cleaned of what would command a terminal; a closed stderr is no reason
    to fail. False when they could not be written: the terminal is gone.
    """
    if sys.stderr is None:
        return True
    try:
        for line in lines:
            sys.stderr.write("".join(c if c.isprintable() else "?" for c in line) + "\n")
        sys.stderr.flush()
    except OSError:
        return False
    return True
