"""Runs the measurements that integration/bench asks for."""

import argparse
import datetime
import os
import time

from items import ITEMS
from measure import HEAD, Report, cells
from parts import Bench


def main():
    """One run."""
    parser = argparse.ArgumentParser()
    for name in ("root", "work", "release", "json"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", action="append", choices=list(ITEMS))
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--large", action="store_true")
    options = parser.parse_args()
    if options.short:
        options.rounds = 1
    bench, report = Bench(options), Report(judge=not options.short)
    today = datetime.date.today()
    load = " ".join(f"{load:.1f}" for load in os.getloadavg())
    print(f"{today}, {os.cpu_count()} cores, load average {load} before, {options.rounds} rounds; "
          "ratios are peer's time by ours unless the row says otherwise")  # fmt: skip
    print(cells(HEAD))
    for name in options.only or ITEMS:
        before = time.monotonic()
        ITEMS[name](bench, report)
        print(f"{'':7} ({name}: {time.monotonic() - before:.0f} s)", flush=True)
    if options.json:
        report.write(options.json)
    missed = [line.what for line in report.lines if line.verdict == "MISSED"]
    print(f"{len(report.lines)} rows, {len(missed)} targets missed"
          + "".join(f"\n  missed: {what}" for what in missed))  # fmt: skip


main()
