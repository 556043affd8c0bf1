"""Real systemd nodes with a real Slurm on one machine: an imitation of what HyperPod hands to the lifecycle scripts.

What is real: systemd, Slurm, MUNGE, MariaDB, apt and dpkg, sshd, the network between nodes. What stands in: the two
file systems (directories that `mount.lustre` and `mount.nfs` bind), docker, and HyperPod's agent (`platform.py`).
"""
