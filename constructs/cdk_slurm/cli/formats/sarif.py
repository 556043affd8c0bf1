"""For code scanning: SARIF 2.1.0.

https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
"""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cdk_slurm.cli.catalogue import Entry, catalogue
from cdk_slurm.cli.formats import Found
from cdk_slurm.spec import Finding


def render(found: Found) -> str:
    """Return a log of one run, and a newline."""
    entries = catalogue()
    indices = {id_: index for index, id_ in enumerate(entries)}
    driver = {
        "name": "cdk-slurm",
        "version": version("cdk-slurm"),
        "rules": [_descriptor(entry) for entry in entries.values()],
    }
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_result(finding, indices) for findings in found.values() for finding in findings],
    }
    log = {"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": [run]}
    return json.dumps(log, indent=2) + "\n"


def _descriptor(entry: Entry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "shortDescription": {"text": entry.title},
        "fullDescription": {"text": entry.explanation or entry.title},
        **({"helpUri": entry.reference} if entry.reference else {}),
        "defaultConfiguration": {"level": entry.level},
    }


def _result(finding: Finding, indices: dict[str, int]) -> dict[str, Any]:
    silenced = finding.silenced is not None
    return {
        "ruleId": finding.rule,
        "ruleIndex": indices[finding.rule],
        "level": finding.level,
        "message": {"text": finding.text},
        "locations": [_location(finding)],
        **({"suppressions": [{"kind": "inSource", "justification": finding.silenced}]} if silenced else {}),
    }


def _location(finding: Finding) -> dict[str, Any]:
    physical: dict[str, Any] = {"artifactLocation": {"uri": _uri(finding.file or "")}}
    if finding.line is not None:
        physical["region"] = {"startLine": finding.line, "startColumn": finding.column}
    return {"physicalLocation": physical}


def _uri(file: str) -> str:
    path = Path(file)
    return path.as_uri() if path.is_absolute() else quote(path.as_posix())
