"""For programs: one JSON object.

{
  "version": 1,                             raised when a field changes its meaning or goes
  "files": ["clusters/x.yaml"],             what was checked
  "errors": 1, "warnings": 0, "silenced": 0,
  "findings": [
    {
      "rule": "LUSTRE_CAPACITY_STEP",       an id that `cdk-slurm rules explain` knows
      "level": "error",                     or "warning"
      "file": "clusters/x.yaml",
      "line": 9, "column": 13,              from 1; null when the file cannot be read
      "field": "storage.lustre.capacity_gib",   "" for the file as a whole
      "path": ["storage", "lustre", "capacity_gib"],
      "message": "found 1300; allowed: ...",
      "reference": "https://...",           or null
      "silenced": null                      or the reason; then the finding counts as silenced only
    }
  ]
}
"""

import json

from cdk_slurm.cli.formats import Found, counts


def render(found: Found) -> str:
    """Return the object, and a newline."""
    findings = [
        {
            "rule": finding.rule,
            "level": finding.level,
            "file": finding.file,
            "line": finding.line,
            "column": finding.column,
            "field": finding.field,
            "path": finding.path,
            "message": finding.message,
            "reference": finding.reference,
            "silenced": finding.silenced,
        }
        for findings in found.values()
        for finding in findings
    ]
    return json.dumps({"version": 1, "files": list(found), **counts(found), "findings": findings}, indent=2) + "\n"
