"""`python -m local_aws DIRECTORY`: serve, and keep every file in a directory that is its alone."""

import argparse
import os
import shutil
import signal
import sys
import threading
from pathlib import Path

from local_aws.certificate import trusted_certificate
from local_aws.server import serve

_HERE = Path(__file__).resolve().parent


def main() -> None:
    """Set up the environment that MiniStack and the functions it runs read, and serve."""
    parser = argparse.ArgumentParser(prog="python -m local_aws")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--region", required=True)
    parser.add_argument("--account", required=True, help="12 digits")
    parser.add_argument("--enforce-iam", action="store_true", help="judge every call, over TLS")
    parser.add_argument("--while-stdin-is-open", action="store_true", help="stop when whoever started it is gone")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: _stop(arguments.directory))
    if arguments.while_stdin_is_open:
        threading.Thread(target=_follow, args=[arguments.directory], daemon=True).start()
    os.environ |= {
        "AWS_ACCESS_KEY_ID": arguments.account,  # the account's root user
        "AWS_REGION": arguments.region,
        "AWS_DEFAULT_REGION": arguments.region,
        "BIND_HOST": "127.0.0.1",
        "IOT_MTLS_ENABLED": "0",
        "LAMBDA_EXECUTOR": "local",
        "LOG_LEVEL": os.environ.get("LOG_LEVEL", "INFO"),
        "MINISTACK_ACCOUNT_ID": arguments.account,
        "MINISTACK_HOST": "127.0.0.1",
        "MINISTACK_REGION": arguments.region,
        "S3_DATA_DIR": str(arguments.directory / "s3"),
        "STATE_DIR": str(arguments.directory / "state"),
        # Functions run as processes here: a layer lies beside the function, not in /opt.
        "PYTHONPATH": str(_HERE / "lambda_runtime"),
    }
    trusted = trusted_certificate(arguments.directory)
    if arguments.enforce_iam:
        os.environ |= {"AUTH": "true", "USE_SSL": "1", **trusted}
    else:
        os.environ["SSL_CERT_FILE"] = trusted["SSL_CERT_FILE"]  # functions speak to Grafana over TLS in any case
    serve(tls=arguments.enforce_iam, directory=arguments.directory)


def _follow(directory: Path) -> None:
    sys.stdin.buffer.read()
    _stop(directory)


def _stop(directory: Path) -> None:
    """Take everything along: the functions that run, and the directory. There is nothing to save."""
    shutil.rmtree(directory, ignore_errors=True)
    os.killpg(os.getpid(), signal.SIGKILL)


main()
