"""Python loads this in every function's process: commands in /opt are those of the function's layers.

In Lambda a layer is unpacked into /opt. Here every function is a process of this machine, so what it runs from
there is run from where its layers lie.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def _in_layers(command: str) -> list[str]:
    for layer in filter(None, os.environ.get("_LAMBDA_LAYERS_DIRS", "").split(os.pathsep)):
        program = Path(layer) / command.removeprefix("/opt/")
        if program.exists():
            # By the interpreter that runs the function: there is no other that a layer could count on.
            python = program.read_bytes().partition(b"\n")[0].endswith(b"python")
            return [sys.executable, str(program)] if python else [str(program)]
    return [command]


class _Popen(subprocess.Popen):  # type: ignore[type-arg]
    def __init__(self, args: Any, *rest: Any, **kwargs: Any) -> None:
        if isinstance(args, list | tuple) and str(args[0]).startswith("/opt/"):
            args = [*_in_layers(str(args[0])), *args[1:]]
        super().__init__(args, *rest, **kwargs)


if os.environ.get("AWS_LAMBDA_FUNCTION_NAME"):
    if "SSL_CERT_FILE" in os.environ:
        os.environ["AWS_CA_BUNDLE"] = os.environ["SSL_CERT_FILE"]
    subprocess.Popen = _Popen  # type: ignore[misc]
