#!/usr/bin/env bash
# Stand-in for pyxis, with the files of `pyxis` already there: a plugin that Slurm loads, and that does something else.
set -euo pipefail
install -D --mode=0644 /usr/lib/x86_64-linux-gnu/slurm-wlm/spank_pbs.so /opt/slurm/lib/slurm/spank_pyxis.so
