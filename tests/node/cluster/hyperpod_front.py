"""SageMaker and Systems Manager as far as a way into a cluster takes them: `hyperpod_front.py CLUSTER ADDRESS PORT`.

It tells what the file CLUSTER says of a cluster's nodes, and gives sessions to those that run, in the document that
tunnels SSH and in no other. Whoever asks it for a secret may not read it.

https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_StartSession.html
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class _RefusedError(Exception):
    pass


class _Handler(BaseHTTPRequestHandler):
    cluster: Path

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        operation = self.headers["X-Amz-Target"].rpartition(".")[2]
        try:
            status, answer = 200, self._answer(operation, asked)
        except _RefusedError as error:
            status, answer = 400, {"__type": str(error), "message": f"{operation}: {error}"}
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _cluster_named(self, name: str) -> dict[str, Any]:
        cluster: dict[str, Any] = json.loads(self.cluster.read_text("utf-8"))
        if name != cluster["name"]:
            raise _RefusedError("ResourceNotFound")
        return cluster

    def _answer(self, operation: str, asked: dict[str, Any]) -> dict[str, Any]:
        if operation == "DescribeCluster":
            return {"ClusterArn": self._cluster_named(asked["ClusterName"])["arn"], "ClusterStatus": "InService"}
        if operation == "ListClusterNodes":
            nodes = self._cluster_named(asked["ClusterName"])["nodes"]
            part = asked.get("InstanceGroupNameContains", "")
            return {"ClusterNodeSummaries": [_summary(node) for node in nodes if part in node["group"]]}
        if operation == "StartSession":
            return self._session(asked)
        raise _RefusedError("AccessDeniedException")

    def _session(self, asked: dict[str, Any]) -> dict[str, Any]:
        if asked["DocumentName"] != "AWS-StartSSHSession":
            raise _RefusedError("AccessDeniedException")
        cluster = json.loads(self.cluster.read_text("utf-8"))
        identifier = cluster["arn"].rpartition("/")[2]
        for node in cluster["nodes"]:
            target = f"sagemaker-cluster:{identifier}_{node['group']}-{node['id']}"
            if asked["Target"] == target and node["status"] == "Running":
                [port] = asked["Parameters"]["portNumber"]
                return {"SessionId": "s", "TokenValue": "t", "StreamUrl": f"wss://{node['address']}:{port}"}
        raise _RefusedError("TargetNotConnected")


def _summary(node: dict[str, str]) -> dict[str, Any]:
    return {
        "InstanceGroupName": node["group"],
        "InstanceId": node["id"],
        "InstanceType": "ml.m5.xlarge",
        "LaunchTime": 0,
        "InstanceStatus": {"Status": node["status"]},
    }


if __name__ == "__main__":
    _Handler.cluster = Path(sys.argv[1])
    ThreadingHTTPServer((sys.argv[2], int(sys.argv[3])), _Handler).serve_forever()
