"""PROJECT/.tmux, and the shell scripts that run tmux inside.

What the launcher itself does there follows no link: a former agent may have left one.
"""

from __future__ import annotations

import os
import stat

from launcher.errors import HostError, UserError
from launcher.untrusted import DIRECTORY, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from launcher.plan.context import Context

DEFAULT_CONF = """\
# tmux inside claude-sandbox: made once, yours to edit.
# Attach with `claude-sandbox --tmux PROJECT`, never with `tmux -S .tmux/socket`: a tmux client runs what its
# server tells it to, and this server is the agent's.
set -g default-terminal "tmux-256color"
if-shell "! infocmp tmux-256color >/dev/null 2>&1" 'set -g default-terminal "screen-256color"'
set -ga terminal-overrides ",*:Tc"
set -g history-limit 50000
set -g mouse on
set -s escape-time 10
set -g focus-events on
# The window keeps the project's name: it reads sandbox:NAME.
set -g automatic-rename off
set -g allow-rename off
set -g set-titles on
set -g set-titles-string "#S:#W"
# Orange: not a tmux of the host.
set -g status-style "bg=colour208,fg=colour16"
set -g status-left "[#{@sandbox}] "
set -g status-left-length 60
"""

# The pane's first process: runs the agent as a job, continues it when it was stopped (tmux would do so with a
# process of its own), and tells SERVE its number, its status, and what a failed one had on its screen, but
# nothing when the pane was killed. Not by tmux's hooks and #{pane_dead_status}: built with libutempter, tmux
# misses every tenth SIGCHLD (tmux issue 311).
# A function that calls itself, for bash leaves a loop in which a job is stopped; a status set beforehand and
# an EXIT trap, for it leaves everything when a job is killed by SIGINT.
LEADER = r"""
mapfile -d "" -t _words </tmp/.agent
exec {_ends}>/tmp/.ends
unset OLDPWD
export -n PWD
declare -a SHLVL
_tell() {
  [[ -t 0 ]] || exit
  printf '%d\n' "$_status" >&"$_ends"
  ((_status == 0)) || tmux capture-pane -p -t "$TMUX_PANE" >&"$_ends"
}
_agent() {
  printf '%d\n' "$BASHPID" >&"$_ends"
  exec {_ends}>&-
  exec "${_words[@]}"
}
_continue() {
  ((_status > 128)) && [[ $(jobs -s) ]] || return
  _status=130
  fg %1 >/dev/null
  _status=$?
  _continue
}
trap : INT QUIT TSTP
trap _tell EXIT
set -m
_status=130
(_agent)
_status=$?
_continue
exit
"""

# $1 socket, $2 configuration, $3 LEADER, $4 the name as status lines draw it, $5 as a window's, the agent's
# argv, which goes by a file: a command given to tmux ends at a `;`, and at 16 KiB.
# Stdin ends with the launcher that starts us, unless it has seen that the session is up.
# The server's end is SIGHUP for the agent and a farewell for clients: the sandbox waits a little for them.
SERVE = r"""
_socket=$1 _conf=$2 _leader=$3 _drawn=$4 _window=$5
shift 5
{ read -r _ || kill -KILL "$$"; } <&0 >/dev/null 2>&1 &
exec </dev/null
rm -rf -- "$_socket"
printf '%s\0' "$@" >/tmp/.agent
mkfifo /tmp/.ends
exec {_hold}<>/tmp/.ends {_ends}</tmp/.ends
tmux -u -S "$_socket" -f "$_conf" set-option -g @sandbox "$_drawn" \; \
  new-session -d -s sandbox -n "$_window" -P -F '#{pid}' bash -p -c "$_leader" \; \
  set-option -s exit-empty on {_hold}>&- {_ends}<&- >/tmp/.server || exit
read -r _server </tmp/.server || exit
read -r -t 10 -u "$_ends" _agent || exit
exec {_hold}>&-
rm /tmp/.agent /tmp/.ends /tmp/.server
_leave() {
  trap '' TERM HUP INT QUIT
  kill "$_server"
  for ((_turn = 0; _turn < 200; _turn++)); do
    kill -0 "$_agent" || kill -0 "$_server" || break
    sleep 0.01
  done
  exit "$1"
} 2>/dev/null
trap '_leave 129' TERM HUP INT QUIT
echo up
exec >/dev/null
read -r -u "$_ends" _status || _status=129
cat <&"$_ends" >&2
_leave "$_status"
"""

# $1 SERVE, $2 ATTACH, then SERVE's own: server and client side by side, where no second sandbox reaches the
# socket. Who detaches is attached again, for nobody else could be. What the server's side says comes when the
# client has left the screen. It is not in the foreground of this shell, which heeds signals in `wait` alone.
TOGETHER = r"""
_serve=$1 _attach=$2 _socket=$3
shift 2
exec {_tty}<&0
coproc _server { exec bash -p -c "$_serve" claude-sandbox "$@" 2>/tmp/.said; }
_pid=$_server_PID _status=0
_end() {
  [[ -z $1 ]] || kill -TERM "$_pid" 2>/dev/null
  wait "$_pid"
  _status=$?
  wait
  cat /tmp/.said >&2
  exit "$_status"
}
trap '_end now' TERM HUP INT QUIT
read -r _ <&"${_server[0]}" || _end ""
echo seen >&"${_server[1]}"
while kill -0 "$_pid" 2>/dev/null; do
  bash -p -c "$_attach" tmux "$_socket" <&"$_tty" &
  wait "$!" || sleep 0.1
done
_end ""
"""

# Asked first: `attach-session` alone would start a server. -E: what the client's environment lacks stays in
# the session's.
ATTACH = r"""
infocmp "${TERM:-none}" >/dev/null 2>&1 || export TERM=xterm-256color
tmux -S "$1" list-sessions >/dev/null 2>&1 || exit 3
exec tmux -u -S "$1" attach-session -E
"""
NOT_THERE = 3
# A client with a terminal wants to know it, whatever it is asked.
RUNS = 'tmux -S "$1" list-sessions </dev/null >/dev/null 2>&1'


def make_directory(context: Context) -> None:
    """P/.tmux and its tmux.conf, made once. Raises UserError when something else has their names."""
    path = f"{context.subject.path}/.tmux"
    try:
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            pass
        try:
            directory = os.open(path, DIRECTORY)
        except NotADirectoryError:  # what O_NOFOLLOW with O_DIRECTORY says of a symlink, too
            raise UserError(
                f"{printable(path)} is not a directory", "remove it: --tmux keeps its state there"
            ) from None
        try:
            if not _regular(directory, "tmux.conf"):
                raise UserError(
                    f"{printable(path)}/tmux.conf is not a regular file", "remove it, or put a copy there"
                )
            _make(directory, ".gitignore", "*\n")
            _make(directory, "tmux.conf", DEFAULT_CONF)
        finally:
            os.close(directory)
    except OSError as error:
        raise HostError(
            f"{printable(path)} cannot be made: {error.strerror}", "free space there, or mend its mode"
        ) from error
    _exclude(context)


def _regular(directory: int, name: str) -> bool:
    """Whether it is a regular file, or nothing."""
    try:
        return stat.S_ISREG(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return True


def _make(directory: int, name: str, content: str) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        file = os.open(name, flags, 0o644, dir_fd=directory)
    except FileExistsError:
        return
    try:
        os.write(file, content.encode())
    finally:
        os.close(file)


def _exclude(context: Context) -> None:
    """Keep .tmux out of the user's commits, in PROJECT's repository or the one around it."""
    from launcher.exclude import exclude

    found = context.subject.git
    if found and not found.common_dir and found.enclosing:
        from launcher import git

        found = git.layout(found.enclosing, home=context.host.home)
    if found:
        exclude(found, ".tmux/")
