"""From YAML text to a `ClusterSpec`, with the line of every value and all errors at once."""

from dataclasses import dataclass
from pathlib import Path as FilePath

from pydantic import ValidationError

from cdk_slurm.spec.cluster import ClusterSpec, spec_of
from cdk_slurm.spec.errors import findings_of
from cdk_slurm.spec.finding import Finding, Path
from cdk_slurm.spec.yaml_text import Position, YamlError, read_yaml

#: A description is a few kilobytes; what is larger was named by mistake.
MAX_FILE_BYTES = 1024 * 1024


class UnreadableError(Exception):
    """The file is not there, is no text, or is far too large to be a description.

    `findings` holds the one that says so.
    """

    def __init__(self, file: str | FilePath, reason: str) -> None:
        self.findings = (Finding(rule="FILE_UNREADABLE", level="error", path=(), message=reason, file=str(file)),)
        super().__init__(f"{file}: {reason}")


class SpecError(Exception):
    """The text is not a description; `findings` holds everything wrong with it."""

    def __init__(self, findings: tuple[Finding, ...]) -> None:
        self.findings = findings
        super().__init__("\n".join(str(finding) for finding in findings))


@dataclass(frozen=True)
class LoadedSpec:
    """A description and where its values stand."""

    spec: ClusterSpec
    file: str
    positions: dict[Path, Position]

    def position(self, path: Path) -> Position:
        """Line and column of a value, or of the nearest value around it that the file holds."""
        while path not in self.positions:
            path = path[:-1]
        return self.positions[path]


def load(file: str | FilePath) -> LoadedSpec:
    """Read a description from a file.

    Raises `UnreadableError` when there is no such file, it is a directory or a device, not UTF-8 or larger
    than 1 MiB, and `SpecError` when its text is not a description.
    """
    path = FilePath(file)
    try:
        if path.is_dir():
            raise UnreadableError(file, "is a directory; name a YAML file in it")
        if path.exists() and not path.is_file():  # a pipe without a writer would be waited for without end
            raise UnreadableError(file, "is not a regular file")
        with path.open("rb") as stream:
            raw = stream.read(MAX_FILE_BYTES + 1)
        if len(raw) > MAX_FILE_BYTES:
            raise UnreadableError(file, "is larger than 1 MiB; a cluster file is a few kilobytes")
        return loads(raw.decode("utf-8-sig"), file=str(file))
    except UnicodeDecodeError as error:
        raise UnreadableError(file, f"is not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise UnreadableError(file, f"cannot be read: {error.strerror}") from None


def loads(text: str, *, file: str = "<text>") -> LoadedSpec:
    """Read a description from YAML text; `file` is what errors call it. Raises `SpecError`."""
    try:
        value, positions = read_yaml(text)
    except YamlError as error:
        raise SpecError(
            (
                Finding(
                    rule="YAML_SYNTAX",
                    level="error",
                    path=(),
                    message=error.message,
                    file=file,
                    line=error.line,
                    column=error.column,
                ),
            )
        ) from None
    try:
        return LoadedSpec(spec_of(value).model_validate(value), file, positions)
    except ValidationError as error:
        raise SpecError(findings_of(error, value, positions, file)) from None
