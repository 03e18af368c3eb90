"""How fast `mountable load` takes a CSV file, beside DuckDB writing the same Parquet.

    python integration/bench_load.py --binary target/release/mountable --bytes 1000000000

Both read the same file with as many processors, find the column types themselves, and write
Parquet with zstd level 1 in row groups of 122,880 rows; rounds alternate. What was loaded is
compared with the source: rows, and sums over every column. Prints a JSON object; `compare` is the
same for other programs.
"""

import argparse
import contextlib
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

ROW_GROUP_ROWS = 122_880
DUCKDB = """
import sys, duckdb
source, target, threads = sys.argv[1:]
con = duckdb.connect(config={"threads": int(threads)})
con.execute("SET enable_progress_bar = false")
con.execute(f"COPY (FROM read_csv('{source}')) TO '{target}' "
            "(FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, ROW_GROUP_SIZE %d)")
""" % ROW_GROUP_ROWS
# The columns of the benches in benches/: about 62 bytes a row, values spread by a hash.
GENERATE = """
COPY (SELECT i AS id, 'customer-' || lpad((h % 9999999)::text, 7, '0') AS name,
             round((h % 10000000) / 100, 2) AS amount,
             make_timestamp((1700000000000000 + h % 31536000000000)::bigint) AS ts,
             ['Berlin','Lisbon','Oslo','New York','Sao Paulo','Rome'][1 + (h % 6)::int] AS city
      FROM (SELECT i, hash(i) // 2 AS h FROM range(0, {rows}) t(i)))
TO '{path}' (FORMAT csv, HEADER)
"""
CHECK = ("SELECT count(*), sum(id), round(sum(amount), 2), sum(length(name)), "
         "sum(epoch_us(ts)::hugeint), sum(length(city)) FROM {}")
BYTES_PER_ROW = 66


def generate(path, size_bytes):
    """A CSV file of about that size."""
    import duckdb

    con = duckdb.connect()
    con.execute("SET enable_progress_bar = false")
    con.execute(GENERATE.format(rows=size_bytes // BYTES_PER_ROW, path=path))


def measure(command, processors, environment=None):
    """Seconds, processor seconds and peak resident megabytes of a process on some processors."""
    child = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        preexec_fn=lambda: os.sched_setaffinity(0, processors))
    with contextlib.closing(child.stderr):
        start = os.times().elapsed
        message = child.stderr.read()
        _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise RuntimeError(f"{command[0]} failed: {message.decode(errors='replace')[-500:]}")
    return {"wall_s": os.times().elapsed - start, "cpu_s": usage.ru_utime + usage.ru_stime,
            "peak_mb": usage.ru_maxrss / 1024}


def check(source, parquet):
    """Compares rows and sums of the source with those of Parquet files."""
    import duckdb

    con = duckdb.connect()
    expected = con.execute(CHECK.format(f"read_csv('{source}')")).fetchone()
    loaded = con.execute(CHECK.format(f"read_parquet('{parquet}')")).fetchone()
    # Sums of floats depend on the order of the rows.
    near = all(abs(a - b) <= 1e-6 * abs(a) for a, b in zip(expected, loaded))
    if not near:
        raise RuntimeError(f"loaded rows differ: {expected} {loaded}")
    return expected[0]


def compare(binary, work, size_bytes, threads, rounds, log=lambda text: None):
    """Medians of both programs over alternating rounds, and their ratio."""
    work = pathlib.Path(work)
    processors = sorted(os.sched_getaffinity(0))[:threads]
    source = work / "load.csv"
    if not source.exists():
        generate(source, size_bytes)
    environment = {**os.environ, "MOUNTABLE_STATE": str(work / "state"),
                   "MOUNTABLE_CONFIG": os.devnull}
    lake, parquet = work / "lake", work / "duckdb.parquet"
    results = {"mountable": [], "duckdb": []}
    rows = None
    for _ in range(rounds):
        shutil.rmtree(lake, ignore_errors=True)
        parquet.unlink(missing_ok=True)
        start = [str(binary), "--lake", str(lake), "--quiet", "init"]
        subprocess.run(start, env=environment, check=True, stdout=subprocess.DEVNULL)
        load = [str(binary), "--lake", str(lake), "--quiet", "load", "bench/load/t", str(source)]
        results["mountable"].append(measure(load, processors, environment))
        log(f"mountable {results['mountable'][-1]}")
        copy = [sys.executable, "-c", DUCKDB, str(source), str(parquet), str(len(processors))]
        results["duckdb"].append(measure(copy, processors))
        log(f"duckdb {results['duckdb'][-1]}")
        if rows is None:
            rows = check(source, lake / "bench/load/tables/t/data/**/*.parquet")
    medians = {name: {key: statistics.median(one[key] for one in runs) for key in runs[0]}
               for name, runs in results.items()}
    data = sum(file.stat().st_size for file in lake.rglob("*.parquet"))
    return {"rows": rows, "csv_bytes": source.stat().st_size, "threads": len(processors),
            "rounds": rounds, **medians, "parquet_bytes": data,
            "duckdb_parquet_bytes": parquet.stat().st_size,
            "wall_ratio": medians["mountable"]["wall_s"] / medians["duckdb"]["wall_s"],
            "cpu_ratio": medians["mountable"]["cpu_s"] / medians["duckdb"]["cpu_s"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default="target/release/mountable")
    parser.add_argument("--bytes", type=int, default=1_000_000_000, dest="size_bytes")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", help="directory for the files; default: a temporary one")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        work = options.work or stack.enter_context(tempfile.TemporaryDirectory(dir="/var/tmp"))
        report = compare(options.binary, work, options.size_bytes, options.threads,
                         options.rounds, lambda text: print(text, file=sys.stderr))
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
