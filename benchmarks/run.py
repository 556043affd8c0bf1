"""Measure validation, synthesis and the Slurm exporter: `python benchmarks/run.py [--json]`, about three minutes.

Seconds depend on the machine, so most targets are ratios of two things measured in the same run. Growth
is judged by seconds of CPU, which other work on the machine disturbs least, and without the rule engine
that CDK starts at every synthesis: its start takes more than a hundred instance groups do.
"""

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
EXAMPLE = "clusters/hyperpod-cpu.yaml"
CLUSTERS = (1, 10, 50)
GROUPS = (3, 20, 100)

MAX_VALIDATE_SECONDS = 0.5
MAX_RATIO_TO_EMPTY = 1.5
# A unit more may cost half as much again in a large app as in a small one: noise, but not a square law.
MAX_GROWTH = 1.5
# Of a scrape to squeue alone, which is one of the two commands that it takes; and what it takes of the controller.
MAX_RATIO_TO_SQUEUE = 3
MAX_SCRAPE_PERCENT = 3
SCRAPE_INTERVAL_SECONDS = 15


@dataclass(frozen=True)
class Run:
    """One process with its children."""

    seconds: float
    cpu_seconds: float
    """Of all its processes."""

    peak_mib: float | None
    """Sum of the peaks of its processes, Node among them; known on Linux only."""

    output: str
    stacks: int = 0


@dataclass(frozen=True)
class Result:
    """A line of the report."""

    measure: str
    value: str
    target: str = ""
    met: bool | None = None
    peak_mib: float | None = None


def main() -> None:
    """Measure everything and print a table, or JSON."""
    results = [*validation(), *synthesis(), *growth("clusters", CLUSTERS), *growth("groups", GROUPS), *slurm_exporter()]
    if "--json" in sys.argv[1:]:
        print(json.dumps({"machine": machine(), "results": [asdict(one) for one in results]}, indent=2))
        return
    table = Table(title="cdk-slurm", caption=", ".join(f"{key} {value}" for key, value in machine().items()))
    for column in ("Measure", "Result", "Target", "Verdict", "Peak memory"):
        table.add_column(column, justify="left" if column == "Measure" else "right", no_wrap=True)
    for one in results:
        verdict = {None: "", True: "[green]met[/]", False: "[bold red]missed[/]"}[one.met]
        memory = f"{one.peak_mib:.0f} MiB" if one.peak_mib else ""
        table.add_row(one.measure, one.value, one.target, verdict, memory)
    console = Console()
    console.width = max(console.width, 115)
    console.print(table)


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    node = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True, env=environment()).stdout
    return {
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
        "Node": node.strip().lstrip("v"),
        "aws-cdk-lib": version("aws-cdk-lib"),
    }


def validation() -> list[Result]:
    """Checking the largest example, as a whole process; and whether it does without the CDK."""
    file = str(max((ROOT / "clusters").glob("*.yaml"), key=lambda path: path.stat().st_size))
    command = [sys.executable, "-m", "cdk_slurm.cli", "validate", file]
    runs = [run(command) for _ in range(10)][1:]
    seconds = statistics.median(one.seconds for one in runs)
    script = (
        "import sys; from cdk_slurm.cli import main; main(sys.argv[1:], standalone_mode=False);"
        "print(sorted({'aws_cdk', 'jsii', 'constructs'} & set(sys.modules)))"
    )
    loaded = run([sys.executable, "-c", script, "validate", file]).output.splitlines()[-1]
    return [
        Result(
            f"cdk-slurm validate {Path(file).name}",
            f"{seconds:.2f} s",
            f"< {MAX_VALIDATE_SECONDS} s",
            seconds < MAX_VALIDATE_SECONDS,
            peak([runs[0]]),
        ),
        Result("  what it loads of the CDK", "nothing" if loaded == "[]" else loaded, "nothing", loaded == "[]"),
    ]


def synthesis() -> list[Result]:
    """app.py beside an app of empty stacks, one after the other, as the CDK's command line runs them."""
    ours, empty = [], []
    for _ in range(6):
        ours.append(synthesise("app.py", cluster=EXAMPLE))
        empty.append(synthesise("benchmarks/empty_app.py", STACKS=str(ours[0].stacks)))
    # The first round fills caches.
    ours, empty = ours[1:], empty[1:]
    pairs = list(zip(ours, empty, strict=True))
    ratio = statistics.median(a.seconds / b.seconds for a, b in pairs)
    cpu_ratio = statistics.median(a.cpu_seconds / b.cpu_seconds for a, b in pairs)
    return [
        Result(f"app.py of {Path(EXAMPLE).name}", f"{median(ours):.2f} s", peak_mib=peak(ours)),
        Result(f"an app of {ours[0].stacks} empty stacks", f"{median(empty):.2f} s", peak_mib=peak(empty)),
        Result("  ratio of the two", f"{ratio:.2f}", f"≤ {MAX_RATIO_TO_EMPTY}", ratio <= MAX_RATIO_TO_EMPTY),
        Result("  ratio of their CPU seconds", f"{cpu_ratio:.2f}"),
    ]


def growth(what: str, sizes: tuple[int, ...]) -> list[Result]:
    """Synthesis of a growing app without its imports; what a unit more costs when it is small, and when large."""
    results, cpu_seconds = [], []
    for size in sizes:
        runs = [synthesise("benchmarks/growth.py", what, str(size), CDK_VALIDATION="false") for _ in range(3)]
        cpu_seconds.append(min(one.cpu_seconds for one in runs))
        results.append(Result(f"app of {size} {what}", f"{shortest(runs):.2f} s", peak_mib=peak(runs)))
    runs = [synthesise("benchmarks/growth.py", what, str(sizes[-1]))]
    results.append(Result("  with CDK's rule engine", f"{shortest(runs):.2f} s", peak_mib=peak(runs)))
    few, some, many = sizes
    # Less than a millisecond cannot be told from noise.
    small = max(0.001, (cpu_seconds[1] - cpu_seconds[0]) / (some - few))
    large = (cpu_seconds[2] - cpu_seconds[1]) / (many - some)
    value = f"{large / small:.2f} ({1000 * small:.3g}, then {1000 * large:.3g} ms of CPU)"
    return [
        *results,
        Result("  growth of the cost of one more", value, f"≤ {MAX_GROWTH}", large / small <= MAX_GROWTH),
    ]


def slurm_exporter() -> list[Result]:
    """A scrape of the largest cluster, beside the command that lists its jobs."""
    figures = json.loads(run([sys.executable, "benchmarks/slurm_exporter.py"]).output)
    if "impossible" in figures:
        return [Result("Slurm exporter", f"not measured: {figures['impossible']}")]
    real, changing = figures["real"], figures["changing"]
    ratio = real["scrape_seconds"] / real["squeue_seconds"]
    cpu_seconds = real["own_cpu_seconds"] + real["commands_cpu_seconds"]
    percent = 100 * cpu_seconds / SCRAPE_INTERVAL_SECONDS
    more = changing["own_cpu_seconds"] / real["own_cpu_seconds"]
    return [
        Result(f"squeue of {real['jobs']:,} jobs", f"{real['squeue_seconds']:.2f} s"),
        Result("a scrape of these and 1,000 nodes", f"{real['scrape_seconds']:.2f} s", peak_mib=real["peak_mib"]),
        Result("  ratio of the two", f"{ratio:.2f}", f"≤ {MAX_RATIO_TO_SQUEUE}", ratio <= MAX_RATIO_TO_SQUEUE),
        Result("  ratio of their CPU seconds", f"{cpu_seconds / real['squeue_cpu_seconds']:.2f}"),
        Result(
            f"  of a processor, every {SCRAPE_INTERVAL_SECONDS} s",
            f"{percent:.1f} %",
            f"< {MAX_SCRAPE_PERCENT} %",
            percent < MAX_SCRAPE_PERCENT,
        ),
        Result("  its own CPU seconds, all running, to all waiting", f"{more:.2f}", peak_mib=changing["peak_mib"]),
    ]


def shortest(runs: list[Run]) -> float:
    """Seconds of the run that was disturbed least, as the app itself took them."""
    return min(json.loads(one.output)["all"] for one in runs)


def synthesise(script: str, *arguments: str, cluster: str | None = None, **more: str) -> Run:
    """Run an app with the environment that the CDK's command line gives it."""
    context = json.loads((ROOT / "cdk.json").read_text("utf-8"))["context"] | {
        "aws:cdk:enable-path-metadata": True,
        "aws:cdk:enable-asset-metadata": True,
        "aws:cdk:version-reporting": True,
        "aws:cdk:bundling-stacks": ["**"],
    }
    if cluster:
        context["cluster"] = cluster
    with tempfile.TemporaryDirectory() as outdir:
        given = {"CDK_OUTDIR": outdir, "CDK_CONTEXT_JSON": json.dumps(context), **more}
        done = run([sys.executable, script, *arguments], **given)
        return replace(done, stacks=len(list(Path(outdir).glob("*.template.json"))))


def environment(**more: str) -> dict[str, str]:
    """With this environment's Node, this checkout's stacks, and compiled bytecode as `make` has it."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return inherited | {"PATH": path, "PYTHONPATH": str(ROOT)} | more


def run(command: list[str], **more: str) -> Run:
    """Run a process to its end; raises when it fails."""
    start, cpu_start = time.perf_counter(), cpu_of_children()
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment(**more), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    peaks: dict[int, float] = {}
    watcher = threading.Thread(target=watch, args=(process, peaks))
    watcher.start()
    output, errors = process.communicate()
    seconds = time.perf_counter() - start
    watcher.join()
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{errors}")
    return Run(seconds, cpu_of_children() - cpu_start, sum(peaks.values()) or None, output)


def cpu_of_children() -> float:
    """Seconds of CPU that all processes started from here, and theirs, have taken so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def watch(process: subprocess.Popen[str], peaks: dict[int, float]) -> None:
    """Note the peaks of a process and of all below it. `getrusage` knows the largest of them only."""
    while process.returncode is None:
        for pid in family(process.pid):
            try:
                status = Path(f"/proc/{pid}/status").read_text("utf-8")
            except OSError:  # it has ended
                continue
            if "VmHWM:" in status:
                peaks[pid] = int(status.partition("VmHWM:")[2].split()[0]) / 1024
        time.sleep(0.05)


def family(pid: int) -> list[int]:
    """A process and all below it."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text("utf-8").split()
    except OSError:
        children = []
    return [pid, *(one for child in children for one in family(int(child)))]


def median(runs: list[Run]) -> float:
    """Median of the seconds."""
    return statistics.median(one.seconds for one in runs)


def peak(runs: list[Run]) -> float | None:
    """Largest of the peaks."""
    return max((one.peak_mib for one in runs if one.peak_mib), default=None)


if __name__ == "__main__":
    main()
