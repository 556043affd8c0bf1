"""Exporters of metrics that run on the nodes: `python3 -m exporters.slurm` and `python3 -m exporters.fabric`.

They need prometheus_client and the `lifecycle` package beside this one, and nothing else.
"""
