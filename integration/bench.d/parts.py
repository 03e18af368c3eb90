"""The processes that take part: gateway, memory server, clients, Redis, DuckDB."""

import json
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

READY_SECONDS_MAX = 30
SELECT = """SELECT i AS id, 'customer-' || lpad(CAST(hash(i) % 9999999 AS VARCHAR), 7, '0') AS name,
    CAST(hash(i + 1) % 10000000 AS DOUBLE) / 100 AS amount,
    make_timestamp(1700000000000000 + CAST(hash(i + 2) % 31536000000000 AS BIGINT)) AS ts,
    ['Berlin', 'Lisbon', 'Oslo', 'New York', 'Sao Paulo', 'Rome'][CAST(1 + hash(i + 3) % 6 AS BIGINT)] AS city
    FROM range({rows}) AS r(i)"""
THREADS = os.cpu_count()


def cpu_seconds():
    """CPU time of this process with all its threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def free_port():
    """A TCP port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port, process):
    """Waits until something answers at a port."""
    deadline = time.monotonic() + READY_SECONDS_MAX
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{process.args[0]} does not listen") from None
            time.sleep(0.005)


class Bench:
    """Places, programs and how much is measured."""

    def __init__(self, options):
        self.root, self.work = Path(options.root), Path(options.work)
        self.release = Path(options.release)
        self.rounds, self.short, self.large = options.rounds, options.short, options.large
        self.mountable = self.release / "mountable"
        self.client = self.release / "examples" / "nfs_client"
        self.lab = self.release / "examples" / "bench_lab"
        self.base_rows = 20_000 if self.short else 1_000_000

    def parquet(self, rows):
        """The test table as DuckDB writes it."""
        import duckdb

        path = self.work / f"source-{rows}.parquet"
        if not path.exists():
            duckdb.sql(f"COPY ({SELECT.format(rows=rows)}) TO '{path}.new' (FORMAT parquet)")
            Path(f"{path}.new").rename(path)
        return path

    def lake(self, rows):
        """A lake whose bench/read/t has this many rows of the test table."""
        lake = self.work / f"lake-{rows}"
        if not (lake / "loaded").exists():
            shutil.rmtree(lake, ignore_errors=True)
            source = self.parquet(rows)
            self.run(self.mountable, "init", lake)
            self.run(self.mountable, "--lake", lake, "load", "bench/read/t", source)
            (lake / "loaded").touch()
        return lake

    def data_files(self, lake, table="bench/read/t"):
        """The Parquet files of a table as an SQL list."""
        files = sorted((lake / table.rsplit("/", 1)[0]).rglob("*_data.parquet"))
        files = files or sorted(lake.rglob("*.parquet"))
        return "[" + ", ".join(f"'{file}'" for file in files) + "]"

    def environment(self):
        """A home of its own and nothing of the caller's settings."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("MOUNTABLE", "SUPERTABLE"))}
        return {**kept, "HOME": str(self.work)}

    def run(self, *words, **options):
        """Runs a program to its good end; what it printed."""
        done = subprocess.run([str(word) for word in words], env=self.environment(),
                              capture_output=True, **options)  # fmt: skip
        if done.returncode:
            raise SystemExit(f"{' '.join(map(str, words))}: {done.stderr.decode()[-2000:]}")
        return done.stdout

    def client_run(self, port, *words):
        """The raw client's answer."""
        return json.loads(self.run(self.client, f"127.0.0.1:{port}", *words))

    def nfs_cat(self, port, path):
        """Seconds that libnfs' cat takes, from its start to its end."""
        url = f"nfs://127.0.0.1/{path}?nfsport={port}&mountport={port}"
        before = time.perf_counter()
        subprocess.run(["nfs-cat", url], stdout=subprocess.DEVNULL, check=True)
        return time.perf_counter() - before


class Gateway:
    """`mountable serve` on a lake."""

    def __init__(self, bench, lake, catalog=None, state=None, **settings):
        self.bench = bench
        self.state = state or bench.work / "state"
        self.port = free_port()
        words = [bench.mountable, "--lake", lake, "serve", "--nfs", f"127.0.0.1:{self.port}",
                 "--state", self.state]  # fmt: skip
        words += ["--catalog", catalog] if catalog else []
        for name, value in settings.items():
            words += ["--set", f"{name}={value}"]
        self.log = open(bench.work / "gateway.log", "ab")
        self.process = subprocess.Popen([str(word) for word in words], env=bench.environment(),
                                        stdout=subprocess.DEVNULL, stderr=self.log)  # fmt: skip
        wait_for(self.port, self.process)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        self.log.close()

    def resident_mib(self, peak=True):
        """Resident memory, highest or now."""
        wanted = "VmHWM:" if peak else "VmRSS:"
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(wanted):
                return int(line.split()[1]) / 1024
        raise SystemExit("no memory figures in /proc")

    def cpu_seconds(self):
        """CPU time so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def counter(self, name):
        """A counter of the gateway."""
        url = f"nfs://127.0.0.1/.mountable/stats.json?nfsport={self.port}&mountport={self.port}"
        return json.loads(self.bench.run("nfs-cat", url))[name]


class Memory:
    """The same NFS service on a file in memory."""

    def __init__(self, bench, path):
        words = [str(bench.lab), "serve", str(path)]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.port = int(self.process.stdout.readline().decode().rsplit(":", 1)[1])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()


class Redis:
    """A Redis of our own, without persistence."""

    def __init__(self, bench):
        self.port = free_port()
        words = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
                 "--dir", str(bench.work)]  # fmt: skip
        self.process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        wait_for(self.port, self.process)
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


class Duck:
    """DuckDB in this process, so that its start is not measured."""

    def __init__(self, threads=THREADS):
        import duckdb

        self.connection = duckdb.connect(config={"threads": threads})

    def copy(self, files, clock=time.perf_counter):
        """Seconds of writing Parquet files as CSV to nowhere."""
        # The columns that tables keep for themselves are not shown by either side.
        columns = "SELECT id, name, amount, ts, city"
        before = clock()
        self.connection.execute(
            f"COPY ({columns} FROM read_parquet({files})) TO '/dev/null' (FORMAT csv)"
        )
        return clock() - before


def write_by_library(bench, lake, redis, source):
    """bench/foreign/t by the SuperTable Python library."""
    script = Path(__file__).resolve().parent / "foreign.py"
    python = Path(f"{sys.prefix}-supertable/bin/python")
    environment = {**bench.environment(), "TZ": "UTC", "STORAGE_TYPE": "LOCAL",
                   "SUPERTABLE_HOME": str(lake), "SUPERTABLE_REDIS_HOST": "127.0.0.1",
                   "SUPERTABLE_REDIS_PORT": str(redis.port), "SUPERTABLE_LOG_LEVEL": "ERROR"}  # fmt: skip
    done = subprocess.run([python, "-B", script, "bench", "foreign", "t", source],
                          env=environment, capture_output=True, cwd=bench.work)  # fmt: skip
    if done.returncode:
        raise SystemExit(f"the SuperTable library: {done.stderr.decode()[-2000:]}")


def offsets(size, count, span, seed):
    """Places for reads of `span` bytes in a file of `size` bytes."""
    dice = random.Random(seed)
    return [dice.randrange(max(size - span, 1)) for _ in range(count)]
