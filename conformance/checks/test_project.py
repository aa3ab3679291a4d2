"""Rows about the project and who owns what is made in it."""

from __future__ import annotations

import pytest

from conformance.harness.covers import covers
from conformance.harness.inside import Inside
from conformance.harness.world import World
from fixtures.listeners import canary


@covers("project", "read-write")
@pytest.mark.parametrize("by", ["host path", "/project"])
def test_project_is_written_by_both_sides(inside: Inside, host: World, by: str) -> None:
    """What either side writes, the other reads; at the project's host path and at /project."""
    there = str(host.path) if by == "host path" else "/project"
    from_host, from_inside = canary(), canary()
    host.write(host.path / "from-host", from_host)

    read = inside.run("cat %s", f"{there}/from-host")
    done = inside.write(f"{there}/from-inside", from_inside)

    assert read.stdout == from_host, read.stderr
    assert done.rc == 0, done.stderr
    assert (host.path / "from-inside").read_text() == from_inside


@covers("uid", "same")
def test_uid_is_the_users_own(inside: Inside, host: World) -> None:
    """Files made inside belong to the user outside, those of the user to whoever looks inside."""
    host.write(host.path / "of-host", "x")

    inside.output("umask 022; echo x > /project/of-inside; mkdir -p /project/dir-of-inside")
    uid = int(inside.output("id -u"))
    seen = inside.file("/project/of-host").uid

    assert uid == host.user.uid
    assert seen == host.user.uid
    for name in ("of-inside", "dir-of-inside"):
        assert (host.path / name).stat().st_uid == host.user.uid
        assert (host.path / name).stat().st_gid == host.user.gid
