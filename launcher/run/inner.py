"""The inner stage: the last few lines of bash before the agent, inside every backend's sandbox.

What the launcher and the stage say to each other, a line each, over one socket:

    stage     ready                 the sandbox is built
    launcher  go | go background    only a living launcher answers: end of file means it is dead, exit 125
    stage     agent NUMBER          written by the agent's own process just before it becomes the agent
    stage     stopped STATUS        the agent was stopped (128 + signal); with a terminal only
    launcher  fg | bg               go on, with the terminal or without

The kernel notes the writer's process id with each line (SCM_CREDENTIALS), in the launcher's own numbers.
"""

from __future__ import annotations

# Names with an underscore: any other could be in the agent's environment, and assigning to an exported
# variable changes it.
# SHLVL as an array is not exported again by `exec`. bash -p takes neither BASH_ENV nor functions from the
# environment.
# Non-interactive job control sets the terminal's process group through descriptor 2, where bash also writes
# how a job died ("Segmentation fault"). Opened read-only it does the one and not the other; and opened
# through /proc,
# without O_NOCTTY, by a session leader, it becomes the controlling terminal, wherever stdin leads.
# Descriptors are closed by an `exec` of their own: one with a command keeps copies of them to undo it.
# A function that calls itself: bash leaves a loop in which a job is stopped.
STAGE = r"""
unset SHLVL OLDPWD
export -n PWD
declare -a SHLVL
if [[ $3 != - ]]; then
  read -r _ _ _ _ _ _session _ </proc/self/stat
  [[ $_session == "$$" ]] || exec setsid --wait "$BASH" -p -c "$BASH_EXECUTION_STRING" "$0" "$@"
fi
_control=$1 _stderr=$2 _terminal=$3 _environment=$4 _orders=$5
[[ $_orders != - ]] || _orders=$_control
for _limit in $7; do
  ulimit "-${_limit:0:1}" "${_limit:1}"
done
[[ -z $6 ]] || cd -- "$6" || exit 125
shift 7
unset OLDPWD
printf 'ready\n' >&"$_control"
read -r -u "$_orders" _order || exit 125
[[ $_order == go* ]] || exit 125
_become() {
  if [[ $_orders != "$_control" ]]; then
    exec {_orders}<&-
  fi
  exec {_control}>&-
  if [[ $_environment != - ]]; then
    mapfile -t -d '' _taken <&"$_environment"
    exec {_environment}<&-
    export -- "${_taken[@]}"
  fi
  exec "$@"
}
if [[ $_terminal == - ]]; then
  printf 'agent %d\n' "$BASHPID" >&"$_control"
  exec 2>&"$_stderr" {_stderr}>&-
  _become "$@"
fi
exec {_log}>&2 2<"/proc/self/fd/$_terminal" {_terminal}>&-
trap : INT QUIT TERM HUP TSTP USR1 USR2
trap 'exit "$_status"' EXIT
_status=130
set -m
_agent() {
  printf 'agent %d\n' "$BASHPID" >&"$_control"
  exec 2>&"$_stderr" {_stderr}>&- {_log}>&-
  _become "$@"
}
if [[ $_order == go ]]; then
  (_agent "$@")
else
  (_agent "$@") &
  wait %1
fi
_status=$?
_stopped() {
  ((_status > 128)) && [[ $(jobs -s) ]] || return
  printf 'stopped %d\n' "$_status" >&"$_control"
  _status=125
  read -r -u "$_orders" _order || exit 125
  _status=130
  if [[ $_order == fg ]]; then
    fg %1 >&"$_log"
  else
    bg %1 >&"$_log"
    wait %1
  fi
  _status=$?
  _stopped
}
_stopped
exit "$_status"
"""

CONTROL, STDERR, TERMINAL, ENVIRONMENT = "{control}", "{stderr}", "{terminal}", "{environment}"
ORDERS = "{orders}"  # from where the launcher's lines come, when that is not {control}


# What the stage takes from descriptor {environment}, NUL-separated, it sets last of all: an IFS or a LC_ALL
# is the agent's.


def command(
    agent: tuple[str, ...], *, tty: bool, cwd: str = "", limits: tuple[str, ...] = ()
) -> tuple[str, ...]:
    """What a backend puts at the end of its argv to have `agent` started by the stage.

    `tty`: one of the launcher's descriptors 0 to 2 is a terminal. Without it the stage becomes the agent;
    with it the stage
    stays as the leader of a session of its own (backends that can should make it one: it then needs no
    `setsid`). `cwd`: the directory to start in, when the backend leaves that to the stage. `limits`: an
    option of bash's ulimit and its value, as in "u4096": hard and soft; a lower one of the caller's stays.
    """
    ends = (CONTROL, STDERR, TERMINAL if tty else "-", ENVIRONMENT, ORDERS)
    return ("bash", "-p", "-c", STAGE, "claude-sandbox", *ends, cwd, " ".join(limits), *agent)
