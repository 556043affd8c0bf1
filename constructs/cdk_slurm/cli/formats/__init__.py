"""The forms in which `cdk-slurm validate` says what it found: one module, one function `render`."""

from cdk_slurm.spec import Finding

#: Findings by the file that they were found in; a file without any is there too.
Found = dict[str, tuple[Finding, ...]]


def counts(found: Found) -> dict[str, int]:
    """How many errors and warnings stand, and how many findings are silenced."""
    levels = [
        "silenced" if finding.silenced is not None else f"{finding.level}s"
        for findings in found.values()
        for finding in findings
    ]
    return {level: levels.count(level) for level in ("errors", "warnings", "silenced")}
