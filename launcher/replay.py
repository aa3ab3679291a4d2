"""`python -m launcher.replay [flags] PROJECT`: the rendered Launch as JSON, for the benchmark and for
replaying by hand.

{"argv": [...], "environment": {...}, "data": {name: base64}}. It prints secrets: the environment is the
sandbox's own.
"""

from __future__ import annotations

import base64
import json
import os
import sys

from launcher import flags, launch, prepare, project
from launcher.backends import bubblewrap
from launcher.host.environment import given
from launcher.host.probe import probe


def main(arguments: list[str]) -> None:
    """Print the Launch that the same arguments would start. Raises what the launcher would."""
    request = flags.parse(arguments, backend="bubblewrap", program="claude-sandbox")
    context = launch.context(request, probe(given(os.environ), writable=project.writable(request)))
    plan = launch.plan(context)
    prepare.prepare(context, plan)
    rendered = bubblewrap.render(plan, context.host, tty=os.isatty(0))
    data = {name: base64.b64encode(content).decode() for name, content in rendered.data}
    json.dump(
        {"argv": rendered.argv, "environment": dict(rendered.environment), "data": data}, sys.stdout, indent=1
    )


if __name__ == "__main__":
    main(sys.argv[1:])
