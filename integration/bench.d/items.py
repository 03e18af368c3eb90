"""The measurements, one function for each target of docs/PERFORMANCE.md."""

import re
import shutil
import subprocess

from measure import in_turn
from parts import (
    THREADS,
    Duck,
    Gateway,
    Memory,
    Redis,
    cpu_seconds,
    offsets,
    write_by_library,
)

KERNEL_READ = 128 << 10
LARGE_READ = 1 << 20
PATH = "bench/read/t.csv"
MIB_MAX = 400


def fresh(bench, lake, measure, **settings):
    """Measures on a gateway that was started a moment ago: nothing is cached but on disk."""
    with Gateway(bench, lake, **settings) as gateway:
        return measure(gateway)


def render(bench, report):
    """Item 1, and what of item 9 is no commit: by `benches/ratios.rs`, whose sides take turns."""
    words = ["cargo", "bench", "--bench", "ratios", "--", "--rounds", "3" if bench.short else "200"]
    out = subprocess.run(words, cwd=bench.root, capture_output=True, check=True).stdout.decode()
    row = r"^(\S+ \S+) +([\d.]+) us +([\d.]+) us +[\d.]+(?: +>= ([\d.]+))?"
    peers = {"render": "beside arrow", "lengths": "beside rendering", "parse": "beside arrow-csv",
             "compare": "unchanged, beside memcmp"}
    for name, ours, peer, target in re.findall(row, out, re.MULTILINE):
        what = f"{name}, {peers[name.split()[0]]}"
        ours, peer = float(ours) * 1e-6, float(peer) * 1e-6
        report.compare("render", what, [ours], [peer], float(target) if target else None)


def cat(bench, report):
    """Item 2: local Parquet to bytes at the client; the index is known, nothing is rendered."""
    lake = bench.lake(bench.base_rows)
    duck, files = Duck(), bench.data_files(lake)

    def raw(size, depth):
        words = ("cat", PATH, size, depth)
        return lambda: fresh(bench, lake, lambda g: g.bench.client_run(g.port, *words)["seconds"])

    def processor(gateway):
        before = gateway.cpu_seconds()
        bench.client_run(gateway.port, "cat", PATH, LARGE_READ, 1)
        return gateway.cpu_seconds() - before

    got = in_turn(
        bench.rounds,
        duck=lambda: duck.copy(files),
        nfs_cat=lambda: fresh(bench, lake, lambda g: bench.nfs_cat(g.port, PATH)),
        kernel=raw(KERNEL_READ, 1),
        large=raw(LARGE_READ, 1),
        deep=raw(LARGE_READ, 4),
        duck_cpu=lambda: duck.copy(files, cpu_seconds),
        cpu=lambda: fresh(bench, lake, processor),
    )
    what = "cold cat, the gateway's CPU time, beside DuckDB's"
    report.compare("cat", what, got["cpu"], got["duck_cpu"], None)
    for side, what in (
        ("nfs_cat", "cold cat by nfs-cat"),
        ("kernel", "cold cat, one READ of 128 KiB in flight"),
        ("large", "cold cat, one READ of 1 MiB in flight"),
        ("deep", "cold cat, four READs of 1 MiB in flight"),
    ):
        what = f"{what}, beside DuckDB, {THREADS} threads"
        report.compare("cat", what, got[side], got["duck"], 2.0)


def warm(bench, report):
    """Item 3: rendered blocks are cached; beside the same service on a file in memory."""
    lake = bench.lake(bench.base_rows)
    copy = bench.work / "copy.csv"
    with Gateway(bench, lake) as gateway:
        with open(copy, "wb") as out:
            url = f"nfs://127.0.0.1/{PATH}?nfsport={gateway.port}&mountport={gateway.port}"
            subprocess.run(["nfs-cat", url], stdout=out, check=True)
        size = copy.stat().st_size
        with Memory(bench, copy) as memory:

            def raw(port, path, size, depth):
                return lambda: bench.client_run(port, "cat", path, size, depth)["seconds"]

            got = in_turn(
                bench.rounds * 3,
                cat_ours=lambda: bench.nfs_cat(gateway.port, PATH),
                cat_peer=lambda: bench.nfs_cat(memory.port, "/file"),
                kernel_ours=raw(gateway.port, PATH, KERNEL_READ, 1),
                kernel_peer=raw(memory.port, "file", KERNEL_READ, 1),
                deep_ours=raw(gateway.port, PATH, LARGE_READ, 4),
                deep_peer=raw(memory.port, "file", LARGE_READ, 4),
            )
    for side, what in (
        ("cat", "warm cat by nfs-cat, beside memory"),
        ("kernel", "warm cat, one READ of 128 KiB, beside memory"),
        ("deep", "warm cat, four READs of 1 MiB, beside memory"),
    ):
        report.compare("warm", what, got[f"{side}_ours"], got[f"{side}_peer"], 0.8)
        rate = size / min(got[f"{side}_ours"]) / 1e9
        report.value("warm", f"{what}: rate", rate, None, f"{rate:.2f} GB/s")


def glance(bench, report):
    """Item 4: what a look at an end or into the middle costs, by size of the table."""
    rows = [bench.base_rows, bench.base_rows * 10] + [100_000_000] * bench.large
    samples = {count: {"tail": [], "head": [], "random": [], "again": []} for count in rows}
    sizes, rounds = {}, max(bench.rounds, 5)
    for count in rows:
        lake = bench.lake(count)
        with Gateway(bench, lake) as gateway:
            sizes[count] = bench.client_run(gateway.port, "stat", PATH)["bytes"]
    for turn in range(1 if bench.short else rounds):
        for count in rows:
            size, lake = sizes[count], bench.lake(count)
            places = offsets(size, 8, 64 << 10, turn)
            for name, length, where in (("tail", 8192, [max(size - 8192, 0)]), ("head", 4096, [0]),
                                        ("random", 64 << 10, places)):  # fmt: skip
                words = ("at", PATH, length, *where)
                got = fresh(bench, lake, lambda g: bench.client_run(g.port, *words))["seconds"]
                samples[count][name].append(got[0])
                samples[count]["again"].extend(got[1:])
    for name, what in (("tail", "tail -1, cold"), ("head", "head -1, cold"),
                       ("random", "64 KiB at a random place, cold"),
                       ("again", "64 KiB at a random place, then")):  # fmt: skip
        small = samples[rows[0]][name]
        for count in rows[1:]:
            here = samples[count][name]
            report.compare("glance", f"{what}: {count:,} beside {rows[0]:,} rows", here, small, 0.5)
        report.value("glance", f"{what}: ms, {rows[-1]:,} rows", min(here) * 1e3, 30,
                     f"{min(here) * 1e3:.2f} ms")  # fmt: skip


def stat(bench, report):
    """Item 5: the first look at a table that the Python library wrote."""
    lake = bench.work / "lake-foreign"
    shutil.rmtree(lake, ignore_errors=True)
    lake.mkdir()
    with Redis(bench) as redis:
        write_by_library(bench, lake, redis, bench.parquet(bench.base_rows))
        duck, files = Duck(), bench.data_files(lake, "bench/foreign/t")
        state = bench.work / "state-foreign"

        def look(first):
            if first:
                shutil.rmtree(state, ignore_errors=True)
            with Gateway(bench, lake, redis.url, state) as gateway:
                return bench.client_run(gateway.port, "stat", "bench/foreign/t.csv")["seconds"]

        got = in_turn(bench.rounds, duck=lambda: duck.copy(files), first=lambda: look(True),
                      again=lambda: look(False))  # fmt: skip
    what = f"first stat of another writer's table, beside DuckDB, {THREADS} threads"
    report.compare("stat", what, got["first"], got["duck"], 1.5)
    again = min(got["again"]) * 1e3
    report.value("stat", "the same after a restart: ms", again, None, f"{again:.1f} ms")


def listing(bench, report):
    """Item 6: `ls -l` of a SuperTable with many tables."""
    count = 100 if bench.short else 3000
    with Redis(bench) as redis:
        for name, catalog in (("embedded", None), ("Redis", redis.url)):
            lake = bench.work / f"lake-many-{name}"
            shutil.rmtree(lake, ignore_errors=True)
            bench.run(bench.lab, "tables", lake, catalog or "", count)
            passes = 3 if bench.short else max(bench.rounds, 5)
            with Gateway(bench, lake, catalog) as gateway:
                # The way to the directory costs round trips, too: they are in both counts.
                trips = [gateway.counter("catalog_round_trips_total")]
                for count_of_passes in (1, 1 + passes):
                    got = bench.client_run(gateway.port, "list", "bench/many", count_of_passes)
                    trips.append(gateway.counter("catalog_round_trips_total"))
                assert got["names"] >= count * 2, got
            trips = ((trips[2] - trips[1]) - (trips[1] - trips[0])) / passes
            what = f"ls -l of {count:,} tables, {name}"
            report.value("list", f"{what}: round trips", trips, 3, f"{trips:.1f}")
            warm_ms = min(got["seconds"][1:]) * 1e3
            report.value("list", f"{what}: ms, warm", warm_ms, 100, f"{warm_ms:.1f} ms",
                         note=f"{got['calls']} calls")  # fmt: skip


def memory(bench, report):
    """Item 7: eight clients in different parts of a large table, default settings."""
    lake = bench.lake(bench.base_rows * 10)
    with Gateway(bench, lake) as gateway:
        got = bench.client_run(gateway.port, "cat", PATH, LARGE_READ, 4, 8)
        peak = gateway.resident_mib()
        bench.client_run(gateway.port, "cat", PATH, KERNEL_READ, 1, 8)
        later = gateway.resident_mib()
    rate = got["bytes"] / got["seconds"] / 1e6
    what = f"peak memory, 8 clients, {bench.base_rows * 10:,} rows"
    report.value("memory", f"{what}: MiB", later, MIB_MAX, f"{later:.0f} MiB",
                 note=f"{peak:.0f} first")  # fmt: skip
    report.value("memory", "8 clients together", rate, None, f"{rate:.0f} MB/s")


ITEMS = {
    "render": render,
    "cat": cat,
    "warm": warm,
    "glance": glance,
    "stat": stat,
    "list": listing,
    "memory": memory,
}
