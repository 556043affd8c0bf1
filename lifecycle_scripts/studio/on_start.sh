#!/usr/bin/env bash
# SageMaker Studio runs this, as the space's user, whenever the space starts, and starts nothing else before it has
# ended, for 5 minutes at most. So it only puts down what the space needs, and leaves the work to the background.
# Whatever happens there, Studio starts.
set -u
directory=$HOME/.cdk-slurm
mkdir -p "$directory"
# Of the time before.
rm -f "$directory"/slurm-ready "$directory"/slurm-failed
cat >"$directory/settings.json" <<'SETTINGS'
@SETTINGS@
SETTINGS
# A program of Python, packed: Studio takes no more than 12 KiB of script.
base64 --decode <<'PROGRAM' | gzip --decompress --stdout >"$directory/slurm_client.py"
@PROGRAM@
PROGRAM
setsid nohup python3 "$directory/slurm_client.py" </dev/null >>"$directory/slurm.log" 2>&1 &
echo "Slurm is being set up in the background: see ~/.cdk-slurm/slurm.log, and slurm-ready or slurm-failed beside it"
exit 0
