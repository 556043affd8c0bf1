"""Draws the dashboards as pictures, with Grafana's own components and what a Prometheus really answers.

    python docs/dashboards/draw.py http://127.0.0.1:9090 [options]

    --end SECONDS       end of the time shown, in seconds since 1970; the default is now
    --hours HOURS       length of it; the default is 1
    --only UID ...      these dashboards
    --set UID:NAME=VALUE  choose at the top of a dashboard, as `--set cdk-slurm-node:node=ip-10-1-2-3`; else everything
                        is chosen, or the first
    --out DIRECTORY     where the pictures go, <uid>.png; the default is docs/dashboards

It needs the package cdk_slurm, Node.js with npm, and Chromium (`apt-get install chromium`). Components are installed
into docs/dashboards/node_modules once, as package-lock.json pins them. Folded sections are drawn folded, and nothing
asks CloudWatch. Heatmaps and status histories are drawn by code of our own, since Grafana does not publish theirs.
A query that fails ends the program; where queries return nothing, the panel says what it has for that.
"""

import argparse
import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from answers import Prometheus, answers, chosen

from cdk_slurm.dashboards import dashboards

HERE = Path(__file__).parent
WIDTH = 1600

CHROMIUM = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--force-device-scale-factor=1",
    "--virtual-time-budget=20000",
    "--enable-logging=stderr",
]


def main() -> None:
    """Draw what the command line asks for."""
    options = _options()
    bundle = _bundle()
    prometheus = Prometheus(options.address.rstrip("/"), options.end - int(options.hours * 3600), options.end)
    options.out.mkdir(parents=True, exist_ok=True)
    for dashboard in dashboards():
        if options.only and dashboard.uid not in options.only:
            continue
        wishes = dict(
            wish.removeprefix(f"{dashboard.uid}:").split("=", 1)
            for wish in options.set
            if wish.startswith(f"{dashboard.uid}:")
        )
        page = _page(json.loads(dashboard.json), prometheus, wishes)
        picture = options.out / f"{dashboard.uid}.png"
        _draw(page, bundle, picture)
        print(picture)


def _page(dashboard: dict[str, Any], prometheus: Prometheus, wishes: dict[str, str]) -> dict[str, Any]:
    values = chosen(dashboard, prometheus, wishes)
    shown = {
        variable["label"]: "All" if value == variable.get("allValue") else value
        for variable in dashboard["templating"]["list"]
        if variable.get("hide") != 2 and (value := values.get(variable["name"]))
    }
    return {
        "dashboard": dashboard,
        "variables": shown,
        "from": prometheus.start,
        "to": prometheus.end,
        "answers": answers(dashboard, prometheus, values),
    }


def _draw(page: dict[str, Any], bundle: Path, picture: Path) -> None:
    bottom = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in page["dashboard"]["panels"])
    text = json.dumps(page).replace("<", "\\u003c")
    with tempfile.TemporaryDirectory() as directory:
        html = Path(directory) / "page.html"
        html.write_text(
            '<!doctype html><meta charset="utf-8">'
            "<style>* { box-sizing: border-box } body { margin: 0; background: #111217 }</style>"
            f'<link rel="stylesheet" href="{bundle.with_suffix(".css").as_uri()}"><div id="root"></div>'
            f'<script>window.PAGE = {text}</script><script src="{bundle.as_uri()}"></script>',
            "utf-8",
        )
        size = f"--window-size={WIDTH},{56 + 38 * bottom + 8}"
        profile = f"--user-data-dir={directory}/profile"
        command = [_program("chromium"), *CHROMIUM, size, profile, f"--screenshot={picture.resolve()}", html.as_uri()]
        said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stderr
    if wrong := [line for line in said.splitlines() if "CONSOLE" in line and "Error" in line]:
        raise SystemExit("\n".join(wrong))


def _bundle() -> Path:
    """The page's program, made of `src` and of Grafana's components."""
    if not (HERE / "node_modules/@grafana/ui").exists():
        subprocess.run([_program("npm"), "ci", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=HERE, check=True)
    subprocess.run([_program("npm"), "run", "--silent", "build"], cwd=HERE, check=True)
    return HERE / "build/page.js"


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise SystemExit(f"{name} is needed and was not found")
    return found


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address")
    parser.add_argument("--end", type=int, default=int(time.time()))
    parser.add_argument("--hours", type=float, default=1)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--set", action="append", default=[], metavar="UID:NAME=VALUE")
    parser.add_argument("--out", type=Path, default=HERE)
    return parser.parse_args()


if __name__ == "__main__":
    main()
