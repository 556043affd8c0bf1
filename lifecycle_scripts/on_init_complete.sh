#!/usr/bin/env bash
# HyperPod's OnInitComplete: AWS has set up Slurm, and the lifecycle adds to it.
set -euo pipefail
exec bash "$(dirname "${BASH_SOURCE[0]}")/run_lifecycle.sh" on_init_complete "$@"
