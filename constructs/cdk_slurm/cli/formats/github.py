"""For GitHub Actions: a workflow command a finding, which becomes an annotation of the line.

https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands
"""

from cdk_slurm.cli.formats import Found
from cdk_slurm.spec import Finding


def render(found: Found) -> str:
    """Return one line for each finding; silenced ones are notices."""
    return "".join(f"{_command(finding)}\n" for findings in found.values() for finding in findings)


def _command(finding: Finding) -> str:
    properties = {"file": finding.file, "line": finding.line, "col": finding.column, "title": finding.rule}
    texts = [finding.text]
    if finding.silenced is not None:
        texts.append(f"silenced: {finding.silenced}")
    if finding.reference:
        texts.append(finding.reference)
    name = finding.level if finding.silenced is None else "notice"
    listed = ",".join(f"{key}={_property(str(value))}" for key, value in properties.items() if value is not None)
    message = "\n".join(texts)
    return f"::{name} {listed}::{_data(message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
