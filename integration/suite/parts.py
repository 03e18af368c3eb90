"""Runs both parts of the suite at the same time, each in namespaces and with a guest of its own, and
puts their summaries together: cases mostly wait for what they test."""

import argparse
import json
import subprocess
import sys
import threading
from pathlib import Path

HERE = Path(__file__).resolve().parent
# Namespaces of network, mounts and processes; none of it outlives the first process.
NAMESPACES = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc")
PARTS = ("1", "2")


def start(part, options, rest):
    """Starts a part; it, and where its summary will be."""
    work = Path(options.work) / f"part-{part}"
    work.mkdir()
    summary = work / "summary.json"
    words = [*NAMESPACES, sys.executable, str(HERE), "--part", part, "--work", str(work),
             "--summary", str(summary), *rest]  # fmt: skip
    process = subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    return process, summary


def show(process):
    """Prints what a part says, whole lines at a time."""
    for line in process.stdout:
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()


def main():
    parser = argparse.ArgumentParser(prog="both parts of the suite", description=__doc__)
    parser.add_argument("--work", required=True)
    parser.add_argument("--summary", required=True, help="file for the counts, JSON")
    options, rest = parser.parse_known_args()
    parts = [start(part, options, rest) for part in PARTS]
    readers = [threading.Thread(target=show, args=(process,)) for process, _ in parts]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    codes = [process.wait() for process, _ in parts]
    if not all(summary.is_file() for _, summary in parts):
        return 2
    found = [json.loads(summary.read_text()) for _, summary in parts]
    whole = {
        "passed": sum(one["passed"] for one in found),
        "failed": [name for one in found for name in one["failed"]],
        "seconds": max(one["seconds"] for one in found),
        "notes": [note for one in found for note in one["notes"]],
    }
    Path(options.summary).write_text(json.dumps(whole, indent=1))
    return max(codes)


sys.exit(main())
