"""Small stacks, made without the CDK command line."""

import itertools
import json
import time
from typing import Any

from cdk_slurm.rehearsal import LocalAws

_NAMES = (f"stack-{number}" for number in itertools.count())


class Stack:
    """A stack of a test's own."""

    def __init__(self, aws: LocalAws, resources: dict[str, Any], outputs: dict[str, Any] | None = None) -> None:
        self._client = aws.client("cloudformation")
        self.name = next(_NAMES)
        self.status = self._run(self._client.create_stack, resources, outputs)

    def update(self, resources: dict[str, Any], outputs: dict[str, Any] | None = None) -> str:
        self.status = self._run(self._client.update_stack, resources, outputs)
        return self.status

    def delete(self) -> str:
        self._client.delete_stack(StackName=self.id)
        self.status = self._ended()
        return self.status

    def _run(self, call: Any, resources: dict[str, Any], outputs: dict[str, Any] | None) -> str:
        template = {"Resources": resources, "Outputs": outputs or {}}
        capabilities = ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"]
        made = call(StackName=self.name, TemplateBody=json.dumps(template), Capabilities=capabilities)
        self.id = made["StackId"]
        return self._ended()

    def _ended(self) -> str:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            [stack] = self._client.describe_stacks(StackName=self.id)["Stacks"]
            if not stack["StackStatus"].endswith("_IN_PROGRESS"):
                return stack["StackStatus"]
            time.sleep(0.02)
        raise TimeoutError(self.name)

    @property
    def failures(self) -> str:
        """Why its resources failed."""
        events = self._client.describe_stack_events(StackName=self.id)["StackEvents"]
        return "\n".join(one["ResourceStatusReason"] for one in events if one["ResourceStatus"].endswith("_FAILED"))

    def physical_id(self, logical_id: str) -> str:
        detail = self._client.describe_stack_resource(StackName=self.name, LogicalResourceId=logical_id)
        return detail["StackResourceDetail"]["PhysicalResourceId"]
