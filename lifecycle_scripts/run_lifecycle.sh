#!/usr/bin/env bash
# Runs the lifecycle for the entry named by the argument: one run at a time, and everything logged.
set -euo pipefail

# A script that fails and exits at once takes its log with it: HyperPod needs about a minute to upload it.
wait_on_failure() {
  local code=$?
  ((code == 0)) || sleep "${CDK_SLURM_FAILURE_WAIT_SECONDS:-60}"
  exit "$code"
}
trap wait_on_failure EXIT

cd "$(dirname "${BASH_SOURCE[0]}")"
# CDK_SLURM_ROOT is a directory that stands for the node, in tests.
log_directory="${CDK_SLURM_ROOT:-}/var/log/provision"
mkdir -p "$log_directory"

# The directory itself is the lock: a log file may be rotated away, and a lock file would be one file more.
exec {lock}<"$log_directory"
flock --nonblock "$lock" || { echo "another run holds $log_directory: waiting for it" >&2; flock "$lock"; }

# HyperPod starts this with next to no environment, and Slurm is where no default path leads.
export PATH="/opt/slurm/bin:/opt/slurm/sbin:${PATH:-/usr/bin}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# -B keeps the bundle as it was deployed, without __pycache__. pipefail hands on Python's exit code.
python3 -B -m lifecycle --entry "$@" 2>&1 | tee -a "$log_directory/provisioning.log"
