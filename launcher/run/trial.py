"""The smallest sandbox there is, built and left: whether this machine lets bubblewrap make one at all."""

from __future__ import annotations

from launcher.errors import SandboxError

SECONDS = 10.0


def trial(bwrap: str, *, nested: bool) -> SandboxError | None:
    """What kept `bwrap` (a path) from running itself in the namespaces that every sandbox has, or None.

    `nested`: it knows --disable-userns, which takes a second user namespace.
    """
    import subprocess  # `--check` alone comes here

    argv = (
        *(bwrap, "--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-net"),
        *(("--disable-userns",) if nested else ()),
        *("--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--", bwrap, "--version"),
    )
    try:
        ended = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, check=False, cwd="/"
        )
    except (OSError, subprocess.SubprocessError) as error:
        return SandboxError(f"{bwrap} does not run: {error}", "install bubblewrap again", argv=argv)
    if ended.returncode == 0:
        return None
    log = ended.stderr.decode("utf-8", "replace").strip()
    said = log.splitlines()[-1] if log else f"status {ended.returncode}"
    return SandboxError(
        f"no sandbox can be made here: {said}",
        f"to see it again: {' '.join(argv)}",
        argv=argv,
        ended=ended.returncode,
        log=log,
    )
