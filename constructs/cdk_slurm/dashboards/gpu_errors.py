"""The parts of GPU Health about errors, and about the links between GPUs and to the host."""

from cdk_slurm.dashboards.page import Line
from cdk_slurm.dashboards.panels import time_series
from cdk_slurm.dashboards.queries import NODES, lines, per_gpu, rate, rows
from cdk_slurm.dashboards.styles import BAD_FROM_ONE, WORSE_FROM_ONE
from cdk_slurm.dashboards.tables import Column, listing

NOT_REPORTED = "Not reported by these GPUs"

NODE = Column(field="instance", title="Node", node=True, width_pixels=150)


def errors() -> list[Line]:
    """XID errors and errors of memory."""
    counts = (
        ("Corrected", "DCGM_FI_DEV_ECC_SBE_VOL_TOTAL", WORSE_FROM_ONE),
        ("Uncorrected", "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL", BAD_FROM_ONE),
        ("Rows, corr.", "DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS", WORSE_FROM_ONE),
        ("Rows, uncorr.", "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS", BAD_FROM_ONE),
        ("Remap failed", "DCGM_FI_DEV_ROW_REMAP_FAILURE", BAD_FROM_ONE),
    )
    bad = " or ".join(f"{per_gpu(metric)} > 0" for _, metric, _ in counts)
    return [
        Line(
            7,
            listing(
                "XID errors",
                "GPUs whose driver reports an error, with the last one's number (XID), which NVIDIA's list explains.",
                rows(f"max by (instance, gpu, err_msg) (DCGM_FI_DEV_XID_ERRORS{{{NODES}}}) > 0"),
                width=7,
                columns=[
                    NODE,
                    Column(field="gpu", title="GPU", width_pixels=50),
                    Column(field="Value", title="XID", unit="none", thresholds=BAD_FROM_ONE, width_pixels=60),
                    Column(field="err_msg", title="Meaning"),
                ],
                sort_by="Node",
                descending=False,
                absent="No XID error",
            ),
            listing(
                "Memory errors",
                "GPUs with memory errors since their driver was loaded, or with remapped rows: how many.",
                *(rows(f"{per_gpu(metric)} and on (instance, gpu) ({bad})") for _, metric, _ in counts),
                width=11,
                columns=[
                    NODE,
                    Column(field="gpu", title="GPU", width_pixels=50),
                    *(
                        Column(field=f"Value #{query}", title=title, decimals=0, thresholds=thresholds)
                        for query, (title, _, thresholds) in zip("ABCDE", counts, strict=True)
                    ),
                ],
                sort_by="Uncorrected",
                absent="No memory error",
            ),
            time_series(
                "Memory errors over time",
                "Memory errors of all GPUs, corrected and not, an hour.",
                "suffix: /h",
                lines(f"sum({rate(f'DCGM_FI_DEV_ECC_SBE_VOL_TOTAL{{{NODES}}}')}) * 3600", "corrected"),
                lines(f"sum({rate(f'DCGM_FI_DEV_ECC_DBE_VOL_TOTAL{{{NODES}}}')}) * 3600", "uncorrected"),
                width=6,
                at_least=1,
                colours={"corrected": "orange", "uncorrected": "red"},
                absent=NOT_REPORTED,
            ),
        )
    ]


def links() -> list[Line]:
    """NVLink and PCIe."""
    # These are rates already, in spite of their names.
    directions = (("received", "RX"), ("sent", "TX"))
    return [
        Line(
            7,
            *(
                time_series(
                    f"{link}: busiest nodes",
                    f"Bytes a second over {link} {where}, of all GPUs of a node together: the five busiest nodes.",
                    "Bps",
                    *(
                        lines(
                            f"topk(5, sum by (instance) ({per_gpu(f'DCGM_FI_PROF_{field}_{way}_BYTES')}))",
                            f"{{{{instance}}}} {name}",
                        )
                        for name, way in directions
                    ),
                    width=12,
                    legend="table",
                    by_node=True,
                )
                for link, field, where in (("NVLink", "NVLINK", "between GPUs"), ("PCIe", "PCIE", "to the host"))
            ),
        )
    ]
