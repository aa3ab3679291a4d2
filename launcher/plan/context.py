"""What the functions that plan a row are given."""

from __future__ import annotations

from launcher.git import GitLayout
from launcher.host.model import Host
from launcher.plan import places
from launcher.record import Record
from launcher.request import Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from launcher.host.model import Offer


class Subject(Record):
    """The project as found: its real path, git's layout, where its state is kept, the host-triggers that
    exist.
    """

    path: str
    git: GitLayout | None
    state: str  # this project's state directory, on the host, the launcher's own
    triggers: tuple[str, ...] = ()  # for --protect: absolute paths that become read-only


class Context(Record):
    """Request, Host and project: all that a Plan is made of."""

    request: Request
    host: Host
    subject: Subject

    @property
    def runtime(self) -> str:
        """XDG_RUNTIME_DIR inside."""
        return places.runtime(self.host.uid)

    def offer(self, row: str) -> Offer:
        """What the host has for `row`."""
        return self.host.offer(row)

    def both(self, path: str) -> tuple[str, ...]:
        """The two names that a path of the project has inside; one for a path outside it."""
        project = self.subject.path
        if path == project or path.startswith(project + "/"):
            return (path, places.PROJECT + path[len(project) :])
        return (path,)
