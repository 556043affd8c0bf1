"""What other tests are given in the place of hardware."""

import subprocess

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.exporters.recorded_metrics import dcgm_exposition, efa_exposition, lustre_exposition
from tests.prometheus_programs import program

CSV = """\
# Format: field, Prometheus metric type, help
DCGM_FI_DEV_GPU_TEMP, gauge, GPU temperature (in C).
DCGM_FI_DEV_XID_ERRORS,          gauge,   Value of the last XID error encountered.
DCGM_FI_DEV_ECC_DBE_VOL_TOTAL, counter, Total number of double-bit volatile ECC errors.

# DCGM_FI_DEV_SM_CLOCK, gauge, SM clock frequency (in MHz).
DCGM_FI_DRIVER_VERSION, label, Driver Version
"""


@pytest.mark.parametrize("text", [efa_exposition(), lustre_exposition()])
def test_promtool_has_nothing_to_say(text):
    checked = subprocess.run([program("promtool"), "check", "metrics"], input=text, capture_output=True, text=True)
    # Counters of EFA have the names that AWS's exporter gives them.
    said = [line for line in (checked.stdout + checked.stderr).splitlines() if not line.startswith("node_amazonefa_")]
    assert said == []


def test_efa_and_lustre_are_told():
    assert efa_exposition().count("node_amazonefa_rx_bytes{") == 32
    assert 'lustre_client_read_bytes_total{file_system="abcdefgh"} 8.589934592e+10' in lustre_exposition()


def test_dcgm_has_the_fields_of_the_file_for_eight_gpus():
    families = {family.name: family for family in text_string_to_metric_families(dcgm_exposition(CSV))}
    assert {name: family.type for name, family in families.items()} == {
        "DCGM_FI_DEV_GPU_TEMP": "gauge",
        "DCGM_FI_DEV_XID_ERRORS": "gauge",
        "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL": "counter",
    }
    samples = families["DCGM_FI_DEV_GPU_TEMP"].samples
    assert [sample.labels["gpu"] for sample in samples] == [f"{number}" for number in range(8)]
    assert [sample.labels.get("hpc_job") for sample in samples] == [None] * 3 + ["42"] + [None] * 4
    assert {sample.labels["DCGM_FI_DRIVER_VERSION"] for sample in samples} == {"580.105.08"}
    assert len({sample.labels["UUID"] for sample in samples}) == 8
    assert len({sample.labels["pci_bus_id"] for sample in samples}) == 8
