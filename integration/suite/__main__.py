"""Runs the integration cases against a built binary. Started by ../run inside namespaces of its own
(network, mounts, processes), so that whatever is left over ends with it."""

import argparse
import importlib
import json
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from runner import Env, run_all, select  # noqa: E402

MODULES = (
    "read", "write", "refused", "matrix", "clients", "tables", "compact", "fuse", "tree", "restart",
    "bad", "redis", "redis_access", "redis_faults", "ops", "branches", "powers", "s3", "azure",
    "conformance", "fleet", "real", "big", "spool", "python", "python_v1", "mirrors", "docs",
)  # fmt: skip
# What the first of two parts runs (parts.py); the second one runs the rest.
FIRST_PART = {"read", "write", "refused", "matrix", "clients", "tables", "tree", "docs", "real"}


def main():
    parser = argparse.ArgumentParser(prog="integration suite", description=__doc__)
    parser.add_argument("--bin", help="the mountable binary")
    parser.add_argument("--work", required=True, help="directory for everything that is written")
    parser.add_argument("--only", action="append", default=[], help="part of a name, or a pattern")
    parser.add_argument("--part", choices=("1", "2"), help="one half of the cases")
    parser.add_argument("--list", action="store_true", help="prints the names of the cases")
    parser.add_argument("--oracle-only", action="store_true", help="scripts on the kernel's server")
    parser.add_argument("--no-oracle", action="store_true", help="skips the kernel's server")
    parser.add_argument("--guest", choices=("auto", "uml", "native"), default="auto")
    parser.add_argument("--keep", action="store_true", help="leaves lakes and logs")
    parser.add_argument("--summary", help="file for the counts, JSON")
    options = parser.parse_args()

    for module in MODULES:
        importlib.import_module(f"cases_{module}")
    chosen = [c for c in select(options.only) if c.oracle_only == options.oracle_only]
    if options.part:
        chosen = [c for c in chosen if (c.group in FIRST_PART) == (options.part == "1")]
    if options.list:
        print("\n".join(c.name for c in chosen))
        return 0
    if not chosen:
        print(f"no case matches {options.only}", file=sys.stderr)
        return 2
    if not options.oracle_only and not (options.bin and Path(options.bin).is_file()):
        print(f"no binary at {options.bin}", file=sys.stderr)
        return 2

    # As first process of its namespace the driver gets no signal that it does not ask for.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(143))
    env = Env(options.bin, Path(options.work).resolve(), options.guest, options.keep)
    env.use_oracle = not options.no_oracle
    before = time.monotonic()
    try:
        env.guest.prepare_network()
        if any(c.group != "fuse" for c in chosen):
            env.guest.start()
            ready = time.monotonic() - before
            print(f"guest: {env.guest.kind}, ready after {ready:.1f} s", flush=True)
        passed, failed = run_all(env, chosen)
    finally:
        env.close()
    seconds = time.monotonic() - before
    if failed:
        print("failed: " + " ".join(failed))
    print(f"integration: {passed} passed, {len(failed)} failed in {seconds:.0f} s", flush=True)
    if options.summary:
        summary = {"passed": passed, "failed": failed, "seconds": seconds, "notes": env.notes}
        Path(options.summary).write_text(json.dumps(summary, indent=1))
    return 1 if failed else 0


sys.exit(main())
