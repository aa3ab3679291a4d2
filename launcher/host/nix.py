"""What of the host's Nix a store of a VM's own is made from; looked for by the VM alone."""

from __future__ import annotations

import os

from launcher.host.model import Entry, Offer
from launcher.host.paths import kind_of
from launcher.untrusted import read

MOST = 1 << 20  # bytes of a nix.conf


def own(nix: str = "/nix", configuration: str = "/etc/nix/nix.conf") -> Offer:
    """The store, the directory of the database that says which of its paths are valid, and nix.conf's text.

    Without a database that we may read there is the store alone, with a note.
    """
    store, database = f"{nix}/store", f"{nix}/var/nix/db"
    if kind_of(store) != "dir":
        return Offer(reason=f"there is no {store}")
    entries = [Entry(name="/nix/store", kind="dir", source=store)]
    content = read(configuration, MOST, follow=True)
    if content is not None:
        entries.append(Entry(name="/etc/nix/nix.conf", kind="content", content=content))
    if os.access(f"{database}/db.sqlite", os.R_OK):
        entries.append(Entry(name="/nix/var/nix/db", kind="dir", source=database))
        return Offer(entries=tuple(entries), shown="/nix")
    note = f"nix knows none of the host's store paths inside: {database}/db.sqlite cannot be read"
    return Offer(entries=tuple(entries), shown=store, note=note)
