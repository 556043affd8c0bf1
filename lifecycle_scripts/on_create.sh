#!/usr/bin/env bash
# HyperPod's OnCreate: the node comes as it is, and the lifecycle does everything.
set -euo pipefail
exec bash "$(dirname "${BASH_SOURCE[0]}")/run_lifecycle.sh" on_create "$@"
