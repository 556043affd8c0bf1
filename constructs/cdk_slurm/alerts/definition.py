"""What the two files of Amazon Managed Service for Prometheus have in common."""

from typing import Any

import yaml

#: Of a rules file and of an alert manager definition, and not adjustable:
#: https://docs.aws.amazon.com/prometheus/latest/userguide/AMP_quotas.html
MAX_BYTES = 1024 * 1024


class _Dumper(yaml.SafeDumper):
    """Writes text of several lines as it is, which a person can read where it is deployed."""

    def represent_mapping(self, *arguments: Any, **keywords: Any) -> yaml.MappingNode:
        node = super().represent_mapping(*arguments, **keywords)
        for key, _ in node.value:
            key.style = None
        return node


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    # Quoted, since what takes the place of a token at deployment is not known here.
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else "'")


_Dumper.add_representer(str, _represent_text)


def yaml_text(value: Any) -> str:
    """Return a value as YAML. Texts are never folded, so that CDK's tokens in them stay in one piece."""
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=float("inf"))
    return text


def checked_size(text: str) -> str:
    """Return the text of a file. Raises `ValueError` where it is larger than the service takes."""
    if (size := len(text.encode())) > MAX_BYTES:
        raise ValueError(f"found {size} bytes; Amazon Managed Service for Prometheus takes {MAX_BYTES} at most")
    return text
