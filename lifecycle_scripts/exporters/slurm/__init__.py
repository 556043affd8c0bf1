"""What Slurm is doing, as metrics: jobs, how long they wait and run, nodes by instance group, GPUs.

It asks slurmctld once for the jobs and once for the nodes at each look, through `squeue` and `scontrol`.
"""
