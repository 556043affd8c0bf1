"""Names by which Grafana knows the data sources, the folder and the dashboards. They are parts of addresses."""

#: The data source that asks Amazon Managed Service for Prometheus.
AMP_UID = "cdk-slurm-amp"

#: The data source that asks Amazon CloudWatch.
CLOUDWATCH_UID = "cdk-slurm-cloudwatch"

#: The folder that the dashboards are in.
FOLDER_UID = "cdk-slurm"

OVERVIEW = "cdk-slurm-overview"
GPU_HEALTH = "cdk-slurm-gpu-health"
JOBS = "cdk-slurm-jobs"
NETWORK = "cdk-slurm-network"
NODE = "cdk-slurm-node"
LUSTRE = "cdk-slurm-lustre"

#: Titles by uid, in the order of the links at the top of each dashboard.
TITLES = {
    OVERVIEW: "Cluster Overview",
    GPU_HEALTH: "GPU Health",
    JOBS: "Slurm Jobs",
    NETWORK: "Network Performance",
    NODE: "Node",
    LUSTRE: "Lustre",
}
