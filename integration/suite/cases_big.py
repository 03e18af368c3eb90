"""Ten million rows: sizes exact, ends at once, memory bounded."""

import os
import subprocess
import time

from lab import difference
from runner import case

ROWS = 10_000_000
GATEWAY_KIB_MAX = 400 * 1024
GLANCE_SECONDS_MAX = 3.0


def source_file(env):
    """About 600 MB of CSV whose text is canonical, so that the table must show the same bytes."""
    import duckdb

    path = env.work / "events.csv"
    if not path.exists():
        duckdb.sql(
            f"""COPY (SELECT i AS id, DATE '2020-01-01' + CAST(i % 2000 AS INTEGER) AS day,
                'customer-' || lpad(CAST(i * 7919 % 1000003 AS VARCHAR), 7, '0') AS customer,
                i % 97 AS quantity, (i % 1000) + 0.5::DOUBLE AS price,
                CASE WHEN i % 10 = 0 THEN NULL ELSE 'remark no. ' || (i % 1013) END AS note
                FROM range({ROWS}) AS r(i)) TO '{path}' (HEADER, DELIMITER ',')"""
        )
    return path


def loaded(env):
    """The lab with the big table, loaded and served once for all cases here."""
    lab = getattr(env, "big_lab", None)
    if lab is None or not lab.alive():
        path = source_file(env)
        from lab import Lab

        lab = Lab(env, "big").init()
        before = time.monotonic()
        words = [str(env.binary), *lab.lake_options(), "load", "acme/big/events", str(path)]
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE, env=lab.environment())  # fmt: skip
        error = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0, f"load: exit {process.returncode}: {error[-1500:]!r}"
        seconds = time.monotonic() - before
        size = path.stat().st_size
        env.note(f"load of {ROWS:,} rows, {size / 1e6:.0f} MB: {seconds:.1f} s, "
                 f"peak {usage.ru_maxrss // 1024} MiB")  # fmt: skip
        env.big_lab = lab
        env.at_end.append(lab.close)
        lab.start()
    return lab, f"{lab.mount()}/acme/big/events.csv"


@case(seconds_max=300)
def stat_gives_the_exact_size(env):
    _, here = loaded(env)
    before = time.monotonic()
    size = int(env.guest.check(f"stat -c %s {here}", 90).text)
    env.note(f"first stat after the start: {time.monotonic() - before:.2f} s")
    assert size == source_file(env).stat().st_size, (size, source_file(env).stat().st_size)


@case(seconds_max=120)
def head_and_tail_at_once(env):
    _, here = loaded(env)
    env.guest.drop_caches()
    for command, wanted in (
        (f"head -1 {here}", "id,day,customer,quantity,price,note\n"),
        (f"tail -1 {here}", last_line(source_file(env))),
        (f"tail -c +300000001 {here} | head -c 200", middle(source_file(env), 300_000_000, 200)),
    ):
        before = time.monotonic()
        text = env.guest.run(command, 60).text
        seconds = time.monotonic() - before
        env.note(f"{command.split()[0]} {command.split()[1]}: {seconds:.2f} s")
        assert text == wanted, (command, text, wanted)
        assert seconds < GLANCE_SECONDS_MAX, f"{command}: {seconds:.1f} s"


def last_line(path):
    """The last line of a file, with its end."""
    with open(path, "rb") as source:
        source.seek(-200, os.SEEK_END)
        return source.read().splitlines(keepends=True)[-1].decode()


def middle(path, offset, size):
    """Some bytes of a file."""
    with open(path, "rb") as source:
        source.seek(offset)
        return source.read(size).decode()


@case(seconds_max=240)
def every_byte_is_right_and_memory_is_bounded(env):
    lab, here = loaded(env)
    env.guest.drop_caches()
    before = time.monotonic()
    got = env.guest.check(f"cat {here} | sha256sum", 200).text.split()[0]
    seconds = time.monotonic() - before
    wanted = subprocess.run(["sha256sum", source_file(env)], capture_output=True, text=True,
                            check=True).stdout.split()[0]  # fmt: skip
    size = source_file(env).stat().st_size
    peak = lab.peak_rss_kib()
    env.note(f"cat of {size / 1e6:.0f} MB: {seconds:.1f} s ({size / 1e6 / seconds:.0f} MB/s with "
             f"sha256sum in the guest), gateway's peak memory {peak // 1024} MiB")  # fmt: skip
    assert got == wanted, "the bytes differ"
    assert peak < GATEWAY_KIB_MAX, f"peak memory {peak // 1024} MiB"


@case(seconds_max=180)
def an_append_costs_what_it_adds(env):
    lab, here = loaded(env)
    row = f"{ROWS},2026-11-21,customer-last,1,2.5,appended"
    before = time.monotonic()
    env.guest.check(f"echo {row} >> {here}", 90)
    seconds = time.monotonic() - before
    last = env.guest.check(f"tail -1 {here}", 30).text
    assert last == row + "\n", last
    env.note(f"append of a row to {ROWS:,}: {seconds:.2f} s")
    assert seconds < 10, f"{seconds:.1f} s"
    size = int(env.guest.check(f"sleep 1.1; stat -c %s {here}").text)
    assert size == source_file(env).stat().st_size + len(row) + 1, size
    peak = lab.peak_rss_kib()
    assert peak < GATEWAY_KIB_MAX, f"peak memory {peak // 1024} MiB"


@case(seconds_max=240)
def the_engine_reads_it_back(env):
    lab, here = loaded(env)
    text = env.guest.check(f"tail -n +9999990 {here} | tail -3", 120).out
    words = [str(env.binary), *lab.lake_options(), "cat", "acme/big/events"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, env=lab.environment()) as process:
        tail, size = b"", 0
        while block := process.stdout.read(1 << 20):
            size += len(block)
            tail = (tail + block)[-400:]
    assert process.returncode == 0, process.returncode
    lines = b"".join(tail.splitlines(keepends=True)[-3:])
    assert lines == text, difference(lines, text)
    assert size == int(env.guest.check(f"stat -c %s {here}").text), size
