"""`python -m launcher.replay [flags] PROJECT`: the rendered Launch as JSON, for the benchmark and for replaying by hand.

{"argv": [...], "environment": {...}, "data": {name: base64}}. It prints secrets: the environment is the sandbox's own.
"""

from __future__ import annotations

import base64
import json
import os
import sys

from launcher import cli, flags, prepare
from launcher.backends import bubblewrap
from launcher.host.probe import probe
from launcher.plan.resolve import resolve


def main(arguments: list[str]) -> None:
    """Print the Launch that the same arguments would start. Raises what the launcher would."""
    request = flags.parse(arguments, backend="bubblewrap", program="claude-sandbox")
    context = cli.context(request, probe(os.environ))
    plan = resolve(context)
    prepare.prepare(context, plan)
    launch = bubblewrap.render(plan, context.host, tty=os.isatty(0))
    data = {name: base64.b64encode(content).decode() for name, content in launch.data}
    json.dump({"argv": launch.argv, "environment": dict(launch.environment), "data": data}, sys.stdout, indent=1)


if __name__ == "__main__":
    main(sys.argv[1:])
