"""Git layouts as the real git makes them, and as a hostile agent would leave them."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from launcher import gitconfig
from launcher.errors import UserError
from launcher.git import MAX_MODULES, GitLayout, layout, make_missing

PATTERNS = (
    "config",
    "config.worktree",
    "worktrees/*/config.worktree",
    "modules/**/config",
    "info/attributes",
)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with an identity, beside which the projects stand."""
    made = tmp_path / "home"
    made.mkdir()
    (made / ".gitconfig").write_text(
        "[user]\nname = n\nemail = n@example.org\n"
        '[init]\ndefaultBranch = main\n[protocol "file"]\nallow = always\n'
    )
    return made


def git(home: Path, where: Path, *arguments: str) -> str:
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C"}
    done = subprocess.run(
        ["git", "-C", str(where), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def repository(home: Path, where: Path) -> Path:
    where.mkdir(parents=True, exist_ok=True)
    git(home, where, "init", "-q")
    git(home, where, "commit", "-q", "--allow-empty", "-m", "first")
    return where


def look(project: Path, home: Path, shared: tuple[str, ...] = ()) -> GitLayout:
    found = layout(str(project), home=str(home), patterns=PATTERNS, shared=shared)
    assert found is not None
    return found


def test_no_repository_near_gives_no_layout(home: Path, tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()

    assert layout(str(tmp_path / "p"), home=str(home)) is None


def test_a_subdirectory_of_a_repository_names_the_one_around_it(home: Path, tmp_path: Path) -> None:
    outer = repository(home, tmp_path / "outer")
    (outer / "a/b").mkdir(parents=True)

    found = look(outer / "a/b", home)

    assert (found.enclosing, found.dot_git, found.outside) == (str(outer), "", ())


@pytest.mark.parametrize(
    "name", ["plain", "with space", "quote'\"", "new\nline", "[x]*", os.fsdecode(b"\xff\xfe"), "comma,é"]
)
def test_a_plain_repository_has_its_hooks_and_its_own_directory_protected(
    home: Path, tmp_path: Path, name: str
) -> None:
    project = repository(home, tmp_path / name)

    found = look(project, home)

    dot = f"{project}/.git"
    assert (found.kind, found.git_dir, found.common_dir, found.outside) == ("dir", dot, dot, ())
    assert found.hooks == (f"{dot}/hooks",)
    assert found.pins == ((dot, "rw"),)
    assert f"{dot}/config" in found.triggers
    assert found.refused == found.notes == ()


@pytest.mark.parametrize("place", ["beside", "main/below"])
def test_a_worktree_brings_the_main_git_directory_along(home: Path, tmp_path: Path, place: str) -> None:
    main = repository(home, tmp_path / "main")
    git(home, main, "worktree", "add", "-q", str(tmp_path / place))
    project = tmp_path / place

    found = look(project, home)

    common = f"{main}/.git"
    name = Path(place).name
    assert (found.kind, found.common_dir, found.git_dir) == ("file", common, f"{common}/worktrees/{name}")
    assert found.outside == (common,)
    assert f"{common}/hooks" in found.hooks
    assert (f"{project}/.git", "ro") in found.pins
    assert (f"{common}/worktrees/{name}/commondir", "ro") in found.pins
    assert (f"{common}/worktrees/{name}", "rw") in found.pins
    assert f"{common}/worktrees/{name}/gitdir" in found.triggers


def test_the_main_repository_of_worktrees_watches_their_pointers(home: Path, tmp_path: Path) -> None:
    main = repository(home, tmp_path / "main")
    git(home, main, "worktree", "add", "-q", str(tmp_path / "wt"))

    found = look(main, home)

    assert {f"{main}/.git/worktrees/wt/{n}" for n in ("commondir", "gitdir")} <= set(found.triggers)


def test_a_worktree_inside_its_own_bare_repository_works(home: Path, tmp_path: Path) -> None:
    main = repository(home, tmp_path / "main")
    git(home, tmp_path, "clone", "-q", "--bare", str(main), str(tmp_path / "bare.git"))
    git(home, tmp_path / "bare.git", "worktree", "add", "-q", "wt", "main")

    found = look(tmp_path / "bare.git/wt", home)

    assert found.outside == (str(tmp_path / "bare.git"),)


def submodules(home: Path, tmp_path: Path) -> Path:
    """super/lib/mid (with deep/inner in it), all in super/.git/modules."""
    inner, mid = repository(home, tmp_path / "inner"), repository(home, tmp_path / "mid")
    git(home, mid, "submodule", "--quiet", "add", str(inner), "deep/inner")
    git(home, mid, "commit", "-q", "-m", "inner")
    whole = repository(home, tmp_path / "super")
    git(home, whole, "submodule", "--quiet", "add", str(mid), "lib/mid")
    git(home, whole, "submodule", "--quiet", "update", "--init", "--recursive")
    return whole


def test_hooks_of_nested_submodules_are_protected_and_all_above_them_pinned(
    home: Path, tmp_path: Path
) -> None:
    whole = submodules(home, tmp_path)

    found = look(whole, home)

    modules = f"{whole}/.git/modules"
    nested = f"{modules}/lib/mid/modules/deep/inner"
    assert set(found.hooks) == {f"{whole}/.git/hooks", f"{modules}/lib/mid/hooks", f"{nested}/hooks"}
    chain = {
        "",
        "/lib",
        "/lib/mid",
        "/lib/mid/modules",
        "/lib/mid/modules/deep",
        "/lib/mid/modules/deep/inner",
    }
    assert {(modules + c, "rw") for c in chain} <= set(found.pins)
    assert {f"{modules}/lib/mid/config", f"{nested}/config"} <= set(found.triggers)
    assert [p for p, _ in found.pins] == sorted(p for p, _ in found.pins), "parents are mounted first"


def test_a_submodule_as_project_brings_only_its_own_module_along(home: Path, tmp_path: Path) -> None:
    whole = submodules(home, tmp_path)

    found = look(whole / "lib/mid", home)

    module = f"{whole}/.git/modules/lib/mid"
    assert found.outside == (module,)
    assert f"{module}/modules/deep/inner/hooks" in found.hooks


def test_a_submodule_of_a_worktree_is_protected_too(home: Path, tmp_path: Path) -> None:
    whole = submodules(home, tmp_path)
    git(home, whole, "commit", "-q", "-m", "modules")
    git(home, whole, "worktree", "add", "-q", str(tmp_path / "wt"))
    git(home, tmp_path / "wt", "submodule", "--quiet", "update", "--init")

    found = look(tmp_path / "wt", home)

    assert f"{whole}/.git/worktrees/wt/modules/lib/mid/hooks" in found.hooks


def test_a_separate_git_dir_comes_along_when_it_names_the_project(home: Path, tmp_path: Path) -> None:
    project, separate = tmp_path / "p", tmp_path / "separate.git"
    git(home, tmp_path, "init", "-q", "--separate-git-dir", str(separate), str(project))

    before = look(project, home)
    git(home, project, "config", "core.worktree", str(project))
    after = look(project, home)

    assert (before.outside, before.refused[0]) == ((), str(separate))
    assert f"--share {separate}:rw" in before.refused[1]
    assert (after.outside, after.refused) == ((str(separate),), ())
    assert after.hooks == (f"{separate}/hooks",)


def test_what_the_user_shares_need_not_point_back_but_is_protected(home: Path, tmp_path: Path) -> None:
    project, separate = tmp_path / "p", tmp_path / "separate.git"
    git(home, tmp_path, "init", "-q", "--separate-git-dir", str(separate), str(project))

    found = look(project, home, shared=(str(separate),))

    assert (found.outside, found.refused, found.hooks) == ((), (), (f"{separate}/hooks",))


def test_a_symlinked_git_directory_outside_comes_along_only_when_it_names_the_project(
    home: Path, tmp_path: Path
) -> None:
    project = repository(home, tmp_path / "p")
    (project / ".git").rename(tmp_path / "moved.git")
    (project / ".git").symlink_to(tmp_path / "moved.git")

    before = look(project, home)
    git(home, project, "config", "core.worktree", str(project))
    after = look(project, home)

    assert (before.kind, before.outside, before.refused[0]) == ("symlink", (), str(tmp_path / "moved.git"))
    assert after.outside == (str(tmp_path / "moved.git"),)
    assert any("symlink" in n for n in after.notes)
    assert f"{project}/.git" in after.triggers


@pytest.mark.parametrize("pointer", ["symlink", "file"])
def test_a_git_directory_elsewhere_in_the_project_is_pinned_with_its_parents(
    home: Path, tmp_path: Path, pointer: str
) -> None:
    project = repository(home, tmp_path / "p")
    (project / "deep").mkdir()
    (project / ".git").rename(project / "deep/.bare")
    if pointer == "symlink":
        (project / ".git").symlink_to("deep/.bare")
    else:
        (project / ".git").write_text("gitdir: ./deep/.bare\n")

    found = look(project, home)

    real = f"{project}/deep/.bare"
    assert (found.git_dir, found.outside, found.hooks) == (real, (), (f"{real}/hooks",))
    assert {(f"{project}/deep", "rw"), (real, "rw")} <= set(found.pins)


def test_a_bare_repository_as_project_has_its_hooks_protected(home: Path, tmp_path: Path) -> None:
    git(home, tmp_path, "init", "-q", "--bare", "b.git")

    found = look(tmp_path / "b.git", home)

    assert (found.kind, found.hooks, found.outside) == ("bare", (f"{tmp_path}/b.git/hooks",), ())
    assert f"{tmp_path}/b.git/config" in found.triggers


# -- forged pointers


def forged(where: Path, content: bytes) -> Path:
    where.mkdir()
    (where / ".git").write_bytes(content)
    return where


@pytest.mark.parametrize("target", ["other/.git", "home", ".", "/", "other/.git/worktrees/wt", "nowhere"])
def test_a_pointer_to_what_does_not_point_back_brings_nothing(
    home: Path, tmp_path: Path, target: str
) -> None:
    other = repository(home, tmp_path / "other")
    git(home, other, "worktree", "add", "-q", str(tmp_path / "wt"))
    project = forged(tmp_path / "p", f"gitdir: {tmp_path / target}\n".encode())

    found = look(project, home)

    assert found.refused, "said, not silently left out"
    assert found.outside == found.hooks == ()
    assert found.git_dir == ""
    assert found.pins == ((f"{project}/.git", "ro"),)


@pytest.mark.parametrize("target", ["other/.git", "home", "/", "/dev/zero"])
def test_a_symlink_to_what_does_not_point_back_brings_nothing(
    home: Path, tmp_path: Path, target: str
) -> None:
    repository(home, tmp_path / "other")
    (tmp_path / "p").mkdir()
    (tmp_path / "p/.git").symlink_to(tmp_path / target)

    found = look(tmp_path / "p", home)

    assert found.refused
    assert found.outside == ()


def test_a_home_that_is_a_repository_itself_is_not_granted(home: Path, tmp_path: Path) -> None:
    for name in ("objects", "refs"):
        (home / name).mkdir()
    (home / "HEAD").write_text("ref: refs/heads/main\n")
    (home / "config").write_text(f"[core]\nworktree = {tmp_path}/p\n")
    project = forged(tmp_path / "p", f"gitdir: {home}\n".encode())

    found = look(project, home)

    assert found.refused == (str(home), "it is or contains the home")


def test_a_worktree_entry_planted_in_the_project_cannot_name_a_foreign_common_directory(
    home: Path, tmp_path: Path
) -> None:
    other = repository(home, tmp_path / "other")
    project = tmp_path / "p"
    (project / "fake/worktrees/x").mkdir(parents=True)
    (project / ".git").write_text("gitdir: fake/worktrees/x\n")
    (project / "fake/worktrees/x/commondir").write_text(f"{other}/.git\n")
    (project / "fake/worktrees/x/gitdir").write_text(f"{project}/.git\n")

    found = look(project, home)

    assert found.refused
    assert found.outside == ()


@pytest.mark.as_root
def test_another_users_git_directory_is_not_granted(home: Path, tmp_path: Path) -> None:
    project, separate = tmp_path / "p", tmp_path / "separate.git"
    git(home, tmp_path, "init", "-q", "--separate-git-dir", str(separate), str(project))
    git(home, project, "config", "core.worktree", str(project))
    os.chown(separate, 65534, 65534)

    assert look(project, home).refused == (str(separate), "it belongs to another user")


def test_a_fifo_or_a_huge_file_as_git_pointer_costs_no_time(home: Path, tmp_path: Path) -> None:
    for name in ("fifo", "huge", "inner"):
        (tmp_path / name).mkdir()
    os.mkfifo(tmp_path / "fifo/.git")
    with open(tmp_path / "huge/.git", "wb") as file:
        file.write(b"gitdir: ")
        file.truncate(1 << 30)
    os.mkfifo(tmp_path / "inner/gitdir")
    repository(home, tmp_path / "conf")
    (tmp_path / "conf/.git/config").unlink()
    os.mkfifo(tmp_path / "conf/.git/config")

    start = time.monotonic()
    refused = [look(tmp_path / name, home).refused[0] for name in ("fifo", "huge")]
    unread = look(tmp_path / "conf", home)

    assert time.monotonic() - start < 1
    assert refused == [f"{tmp_path}/fifo/.git", f"{tmp_path}/huge/.git"]
    assert any("not examined" in n for n in unread.notes)


def test_pointers_in_a_circle_end(home: Path, tmp_path: Path) -> None:
    project = forged(tmp_path / "p", b"gitdir: .git\n")
    loop = tmp_path / "loop"
    loop.mkdir()
    (loop / ".git").symlink_to(".git")
    around = tmp_path / "around"
    (around / ".git").mkdir(parents=True)
    (around / ".git/config").write_text("[include]\npath = config\n[include]\npath = other\n")
    (around / ".git/other").write_text("[include]\npath = config\n")

    assert look(project, home).refused
    assert look(loop, home).refused
    assert f"{around}/.git/other" in look(around, home).triggers


def test_a_planted_commondir_is_said_and_watched(home: Path, tmp_path: Path) -> None:
    project = repository(home, tmp_path / "p")
    (project / ".git/commondir").write_text("../evil\n")

    found = look(project, home)

    assert any("commondir" in n for n in found.notes)
    assert f"{project}/.git/commondir" in found.triggers


def test_a_head_planted_among_modules_leaves_none_of_them_unprotected(home: Path, tmp_path: Path) -> None:
    project = repository(home, tmp_path / "p")
    modules = project / ".git/modules"
    for name in ("info", "vendor/lfs"):
        (modules / name / "hooks").mkdir(parents=True)
        (modules / name / "HEAD").touch()
        (modules / name / "config").touch()
    (modules / "HEAD").touch()

    found = look(project, home)

    assert {f"{modules}/info/hooks", f"{modules}/vendor/lfs/hooks"} < set(found.hooks)

    (modules / "vendor/HEAD").touch()

    assert str(modules) in look(project, home).hooks


@pytest.mark.parametrize(
    "name", ["vendor/lfs/x", "vendor/info/deep/er/x", "vendor/objects/ab/x", "a/refs/b/x"]
)
def test_a_head_planted_far_above_a_module_makes_all_of_them_read_only(
    home: Path, tmp_path: Path, name: str
) -> None:
    project = repository(home, tmp_path / "p")
    modules = project / ".git/modules"
    git(home, tmp_path, "init", "-q", "--bare", str(modules / name))
    (modules / name / "hooks").mkdir(exist_ok=True)

    assert f"{modules}/{name}/hooks" in look(project, home).hooks

    (modules / name.partition("/")[0] / "HEAD").touch()

    assert str(modules) in look(project, home).hooks


def test_what_is_in_an_ordinary_module_is_no_git_directory(home: Path, tmp_path: Path) -> None:
    project = repository(home, tmp_path / "p")
    module = project / ".git/modules/lib"
    git(home, tmp_path, "init", "-q", "--bare", str(module))
    for name in (
        *(
            "objects/ab/cdef",
            "objects/pack/one.pack",
            "objects/info/commit-graphs/chain",
            "lfs/objects/ab/cd/ef",
        ),
        *("refs/remotes/origin/HEAD", "refs/remotes/origin/config", "refs/heads/config/commondir"),
        *("logs/refs/remotes/origin/HEAD", "logs/HEAD", "rr-cache/1/preimage", "hooks/HEAD", "hooks/lib/run"),
    ):
        (module / name).parent.mkdir(parents=True, exist_ok=True)
        (module / name).touch()

    found = look(project, home)

    assert f"{module}/hooks" in found.hooks
    assert f"{project}/.git/modules" not in found.hooks


def test_too_many_modules_or_a_symlink_among_them_make_all_of_them_read_only(
    home: Path, tmp_path: Path
) -> None:
    many, linked = repository(home, tmp_path / "many"), repository(home, tmp_path / "linked")
    for number in range(MAX_MODULES + 1):
        (many / f".git/modules/{number}").mkdir(parents=True)
        (many / f".git/modules/{number}/HEAD").touch()
    (linked / ".git/modules").mkdir()
    (linked / ".git/modules/x").symlink_to(home)

    for project in (many, linked):
        found = look(project, home)

        assert f"{project}/.git/modules" in found.hooks
        assert not any(p.startswith(f"{project}/.git/modules") for p, _ in found.pins), (
            "a pin would reopen it"
        )
        assert any("read-only as a whole" in n for n in found.notes)


def test_borrowed_objects_are_said(home: Path, tmp_path: Path) -> None:
    main = repository(home, tmp_path / "main")
    git(home, tmp_path, "clone", "-q", "--shared", str(main), "p")

    assert any(f"{main}/.git/objects" in n for n in look(tmp_path / "p", home).notes)


# -- core.hooksPath


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("config", "tools/hooks"),
        ("config", "{project}/tools/hooks"),
        ("home", "tools/hooks"),
        ("worktree", "./tools//hooks/"),
    ],
)
def test_a_hooks_path_inside_the_project_is_protected_and_its_parents_pinned(
    home: Path, tmp_path: Path, where: str, value: str
) -> None:
    project = repository(home, tmp_path / "p")
    (project / "tools/hooks").mkdir(parents=True)
    files = {"config": ".git/config", "worktree": ".git/config.worktree", "home": str(home / ".gitconfig")}
    with open(project / files[where], "a") as file:
        file.write(f'[core]\n\tHooksPath = "{value.format(project=project)}" # ours\n')

    found = look(project, home)

    assert set(found.hooks) == {f"{project}/.git/hooks", f"{project}/tools/hooks"}
    assert (f"{project}/tools", "rw") in found.pins
    assert not any(p == f"{project}/tools/hooks" for p, _ in found.pins)


def test_a_hooks_path_from_an_included_file_is_protected_and_that_file_watched(
    home: Path, tmp_path: Path
) -> None:
    project = repository(home, tmp_path / "p")
    git(home, project, "config", "include.path", "../.gitconfig.shared")
    (project / ".gitconfig.shared").write_text("[core]\nhooksPath = my-hooks\n")

    found = look(project, home)

    assert f"{project}/my-hooks" in found.missing_hooks
    assert f"{project}/.gitconfig.shared" in found.triggers
    assert (str(project), ".gitconfig.shared") in found.watched


def test_the_stubs_of_husky_protect_the_scripts_beside_them(home: Path, tmp_path: Path) -> None:
    project = repository(home, tmp_path / "p")
    (project / ".husky/_").mkdir(parents=True)
    git(home, project, "config", "core.hooksPath", ".husky/_")

    found = look(project, home)

    assert {f"{project}/.husky", f"{project}/.husky/_"} <= set(found.hooks)
    assert found.pins == ((f"{project}/.git", "rw"),), "a writable pin would reopen .husky"


@pytest.mark.parametrize("value", [".", ".git", "..", ".git/objects", "/"])
def test_a_hooks_path_that_would_make_work_impossible_is_not_made_read_only(
    home: Path, tmp_path: Path, value: str
) -> None:
    project = repository(home, tmp_path / "p")
    git(home, project, "config", "core.hooksPath", value)

    found = look(project, home)

    assert found.hooks == (f"{project}/.git/hooks",)
    assert any("cannot be read-only" in n for n in found.notes) == (value not in ("..", "/"))


@pytest.mark.parametrize("value", ["/dev/null", "~/hooks", "../elsewhere"])
def test_a_hooks_path_outside_the_project_needs_nothing(home: Path, tmp_path: Path, value: str) -> None:
    project = repository(home, tmp_path / "p")
    git(home, project, "config", "core.hooksPath", value)

    found = look(project, home)

    assert (found.hooks, found.missing_hooks, found.notes) == ((f"{project}/.git/hooks",), (), ())


def test_a_hooks_path_that_is_a_symlink_is_protected_where_it_leads_and_watched(
    home: Path, tmp_path: Path
) -> None:
    project = repository(home, tmp_path / "p")
    (project / "real/hooks").mkdir(parents=True)
    (project / "inward").symlink_to("real/hooks")
    (project / "outward").symlink_to(home)
    git(home, project, "config", "core.hooksPath", "inward")
    inward = look(project, home)
    git(home, project, "config", "core.hooksPath", "outward")
    outward = look(project, home)

    assert f"{project}/real/hooks" in inward.hooks
    assert f"{project}/inward" in inward.triggers
    assert f"{project}/outward" in outward.triggers
    assert outward.hooks == (f"{project}/.git/hooks",)
    assert outward.outside == ()
    assert all(any("symlink" in n for n in f.notes) for f in (inward, outward))


def test_a_hook_that_is_a_symlink_into_the_project_has_its_target_watched(home: Path, tmp_path: Path) -> None:
    project = repository(home, tmp_path / "p")
    (project / "check.sh").write_text("#!/bin/sh\n")
    (project / ".git/hooks/pre-commit").symlink_to("../../check.sh")

    assert f"{project}/check.sh" in look(project, home).triggers


# -- what the mounts hold, with the real bubblewrap


def boxed(found: GitLayout, home: Path, script: str) -> subprocess.CompletedProcess[str]:
    """`script` with the project, what comes along, the pins and the hooks mounted as the layout says."""
    argv = ["bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--tmpfs", str(home.parent), "--die-with-parent"]
    argv += ["--ro-bind", str(home), str(home)]
    for path in sorted((found.project, *found.outside), key=len):
        argv += ["--bind", path, path]
    inner = [*found.pins, *((h, "ro") for h in found.hooks)]
    for path, mode in sorted(inner, key=lambda m: m[0].count("/")):
        argv += ["--bind" if mode == "rw" else "--ro-bind", path, path]
    argv += ["--chdir", found.project, "sh", "-c", script]
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C"}
    return subprocess.run(argv, env=environment, capture_output=True, text=True, check=False, timeout=30)


@pytest.fixture
def bwrap(tmp_path: Path) -> None:
    done = subprocess.run(
        ["bwrap", "--ro-bind", "/", "/", "--bind", str(tmp_path), str(tmp_path), "true"],
        check=False,
        timeout=10,
    )
    if done.returncode:
        pytest.skip("bwrap does not work here")


def project_of(kind: str, home: Path, tmp_path: Path) -> Path:
    if kind in ("submodule", "super"):
        whole = submodules(home, tmp_path)
        return whole if kind == "super" else whole / "lib/mid"
    main = repository(home, tmp_path / "main")
    if kind == "worktree":
        git(home, main, "worktree", "add", "-q", str(tmp_path / "wt"))
        os.utime(main / ".git/worktrees/wt/gitdir", (0, 0))  # git would rewrite it now
        return tmp_path / "wt"
    if kind == "hooks path":
        (main / "tools/hooks").mkdir(parents=True)
        git(home, main, "config", "core.hooksPath", "tools/hooks")
    return main


ATTACKS = """
try() { "$@" 2>/dev/null && echo "DONE: $*"; }
try mv .git git2; try rm -f .git; try ln -sfnT /tmp .git
for d in {dirs}; do
  try touch "$d/pre-commit"; try rmdir "$d"; try mv "$d" "$d.2"; try rm -rf "$d"
  p=$(dirname "$d"); try mv "$p" "$p.2"
done
echo over
"""


@pytest.mark.usefixtures("bwrap")
@pytest.mark.parametrize("kind", ["plain", "worktree", "submodule", "super", "hooks path"])
def test_inside_commits_work_and_no_hook_can_be_planted(home: Path, tmp_path: Path, kind: str) -> None:
    project = project_of(kind, home, tmp_path)
    found = look(project, home)
    make_missing(found)
    dirs = " ".join(f"'{h}'" for h in found.hooks)

    unprotected = found.replace(pins=(), hooks=())
    control = boxed(
        unprotected, home, f"touch '{found.hooks[0]}/control' && rm '{found.hooks[0]}/control' && echo can"
    )
    attacked = boxed(found, home, ATTACKS.replace("{dirs}", dirs))
    committed = boxed(
        found, home, "echo x > f && git add f && git commit -q -m inside && git log -1 --format=%s"
    )

    assert control.stdout == "can\n", control.stderr
    assert attacked.stdout == "over\n", attacked.stderr
    assert committed.stdout == "inside\n", committed.stderr
    assert git(home, project, "log", "-1", "--format=%s") == "inside\n"


# -- make_missing


def test_missing_hook_directories_are_made_empty(home: Path, tmp_path: Path) -> None:
    project = repository(home, tmp_path / "p")
    for file in (project / ".git/hooks").iterdir():
        file.unlink()
    (project / ".git/hooks").rmdir()
    git(home, project, "config", "core.hooksPath", "a/b/c")
    found = look(project, home)
    assert set(found.missing_hooks) == {f"{project}/.git/hooks", f"{project}/a/b/c"}

    make_missing(found)

    assert list((project / "a/b/c").iterdir()) == list((project / ".git/hooks").iterdir()) == []
    assert look(project, home).missing_hooks == ()
    make_missing(found)


def test_a_symlink_planted_on_the_way_to_a_missing_directory_is_refused(home: Path, tmp_path: Path) -> None:
    project = repository(home, tmp_path / "p")
    git(home, project, "config", "core.hooksPath", "a/b")
    found = look(project, home)
    (project / "a").symlink_to(home)

    with pytest.raises(UserError) as caught:
        make_missing(found)

    assert caught.value.hint
    assert not (home / "b").exists()


def test_a_worktrees_pointer_is_kept_young_so_that_git_does_not_rewrite_it(
    home: Path, tmp_path: Path
) -> None:
    main = repository(home, tmp_path / "main")
    git(home, main, "worktree", "add", "-q", str(tmp_path / "wt"))
    pointer = main / ".git/worktrees/wt/gitdir"
    os.utime(pointer, (0, 0))

    make_missing(look(tmp_path / "wt", home))

    assert time.time() - pointer.stat().st_mtime < 60


def test_looking_is_cheap(home: Path, tmp_path: Path) -> None:
    project = repository(home, tmp_path / "p")
    took = []
    for _ in range(20):
        start = time.perf_counter()
        look(project, home)
        took.append(time.perf_counter() - start)

    assert min(took) < 0.002


# -- the configuration reader against git itself

word = st.text(alphabet="abc \t\"\\#;=]~/.'é-", max_size=12)


@settings(max_examples=60, deadline=None)
@given(value=word, subsection=st.text(alphabet='ab "\\].:~/', min_size=1, max_size=8))
def test_what_git_writes_is_read_as_git_reads_it(
    value: str, subsection: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.getbasetemp() / "written.config"
    file.unlink(missing_ok=True)
    for key in ("core.hookspath", f"includeif.{subsection}.path"):
        subprocess.run(["git", "config", "--file", str(file), key, value], check=True, timeout=10)

    found = dict(gitconfig.values(file.read_text()))

    assert found == {"core.hookspath": value, f"includeif.{subsection}.path": value}


@settings(max_examples=150, deadline=None)
@example(lines=["[core]\n\thooksPath = \\\n", " =\n"])
@given(
    lines=st.lists(
        st.one_of(word.map("[core]\n\thooksPath = {}\n".format), word.map("{}\n".format)), max_size=5
    )
)
def test_whatever_file_git_accepts_is_read_as_git_reads_it(
    lines: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.getbasetemp() / "any.config"
    file.write_text("".join(lines))
    listed = subprocess.run(
        ["git", "config", "--file", str(file), "--null", "--get-all", "core.hookspath"],
        capture_output=True,
        check=False,
        timeout=10,
    )

    found = [v for k, v in gitconfig.values(file.read_text()) if k == "core.hookspath"]

    if listed.returncode in (0, 1):
        # Until version 2.45 git reads an unquoted tab within a value as a space.
        assert [v.replace("\t", " ") for v in found] == listed.stdout.decode().replace("\t", " ").split("\0")[
            :-1
        ]
