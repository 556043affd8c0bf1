"""The lifecycle configuration of a SageMaker Studio space, written without CDK."""

import base64
import gzip
import json
from collections.abc import Mapping
from typing import Any

from cdk_slurm.parts import lifecycle_scripts

#: What opens tunnels to nodes.
_TUNNELS = "session-manager-plugin"


def studio_script(settings: Mapping[str, Any]) -> str:
    """Return the script that a space runs when it starts: what it needs to know of its cluster, and a program.

    `settings` say which cluster, which secret, whose space and what it mounts; strings in them may be CDK's tokens.
    """
    directory = lifecycle_scripts()
    lock = json.loads((directory / "parts.lock.json").read_text("utf-8"))
    plugin = next(part for part in lock["studio"] if part["name"] == _TUNNELS)
    known = {**settings, "session_manager_plugin": {"url": plugin["url"], "sha256": plugin["sha256"]}}
    program = (directory / "studio" / "slurm_client.py").read_bytes()
    # mtime=0: the same program is the same text.
    packed = base64.encodebytes(gzip.compress(program, mtime=0)).decode("ascii").rstrip("\n")
    script = (directory / "studio" / "on_start.sh").read_text("utf-8")
    return script.replace("@SETTINGS@", json.dumps(known, indent=1)).replace("@PROGRAM@", packed)
