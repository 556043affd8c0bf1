"""What people are told of: alert rules and the alert manager, for Amazon Managed Service for Prometheus.

Pure Python: no CDK, no AWS call. Every alert has its page in `docs/runbooks.md`.
"""

from cdk_slurm.alerts.alert import SEVERITIES, Alert, Severity
from cdk_slurm.alerts.alert_manager import alert_manager_yaml
from cdk_slurm.alerts.rule_groups import alerts, rule_groups_yaml

__all__ = ["SEVERITIES", "Alert", "Severity", "alert_manager_yaml", "alerts", "rule_groups_yaml"]
