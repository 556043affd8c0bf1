#!/usr/bin/env bash
# Makes Debian what HyperPod's AMI is: runs in the root of a node, with the files of `base` already there.
set -euo pipefail
# Whoever relies on Slurm's programs being on PATH finds none, as on the AMI.
mkdir -p /opt/slurm/{bin,sbin,include} /opt/ml/config
mv /usr/bin/{sacct,sacctmgr,salloc,sattach,sbatch,sbcast,scancel,scontrol,sdiag,sinfo,sprio,squeue,sreport,srun} \
  /usr/bin/{sshare,sstat,strigger} /opt/slurm/bin/
ln -s /usr/sbin/{slurmctld,slurmd,slurmdbd,slurmstepd} /opt/slurm/sbin/
ln -s /usr/lib/x86_64-linux-gnu /opt/slurm/lib
mv /usr/include/slurm /opt/slurm/include/
rm -r /etc/slurm
ln -s /opt/slurm/etc /etc/slurm
install --directory --owner=slurm --group=slurm /var/spool/slurmctld /var/log/slurm
install --directory /var/spool/slurmd
systemctl enable --quiet docker
groupadd --system docker
useradd --create-home --uid=1000 --shell=/bin/bash --groups=sudo,docker ubuntu
echo 'ubuntu ALL=(ALL) NOPASSWD:ALL' >/etc/sudoers.d/ubuntu
rm /etc/ssh/ssh_host_*
