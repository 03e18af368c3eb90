"""Mirrors in Delta, Iceberg and Parquet, read by the readers of others."""

import csv
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from cases_python import HERE, both
from lab import LabError
from runner import case
from s3_lab import ACCESS_KEY, SECRET_KEY, bucket, s3_lab
from tools import START

FORMATS = ("delta", "iceberg", "parquet")
TABLE = "acme/shop/t"
# Every column type that `create` knows.
TYPES = (
    "id:int64,i8:int8,i16:int16,i32:int32,u8:uint8,u16:uint16,u32:uint32,f32:float32,"
    "f64:float64,b:bool,s:text,d:date,ts:timestamp,tz:timestamptz,de:decimal(12,3),"
    "wide:decimal(38,6),ti:time,bi:binary"
)
ROWS = """\
id,i8,i16,i32,u8,u16,u32,f32,f64,b,s,d,ts,tz,de,wide,ti,bi
1,-128,-32768,-2147483648,255,65535,4294967295,0.5,0.1,true,"a ""b"", c",\
2026-11-21,2026-11-21T10:00:00.123456,2026-11-21T10:00:00.123456Z,123456789.123,\
12345678901234567890123456789012.123456,10:00:00.123,AAEC
9223372036854775807,127,32767,2147483647,0,0,0,-1.5,1.5,false,"two
lines",1969-12-31,1969-12-31T23:59:59,1969-12-31T23:59:59Z,-0.001,-0.000001,23:59:59.999999,/w==
-9223372036854775808,,,,,,,,,,,,,,,,,
"""


class Readers:
    """A process with the readers; loading them takes longer than most cases."""

    def __init__(self, env):
        home = env.work / "readers"
        home.mkdir(exist_ok=True)
        named = os.environ.get("MOUNTABLE_MIRRORS_PYTHON")
        python = Path(named or f"{sys.prefix}-mirrors/bin/python")
        self.errors = home / "readers.log"
        with open(self.errors, "ab") as errors:
            self.process = subprocess.Popen(
                [str(python), "-B", str(Path(__file__).with_name("mirror_agent.py"))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={"PATH": os.environ.get("PATH", ""), "HOME": str(home), "TZ": "UTC"},
                cwd=home,
                start_new_session=True,
            )

    def ask(self, do, path, **request):
        """(rows by reader, facts) of a mirror."""
        line = json.dumps({"do": do, "path": str(path), **request}).encode() + b"\n"
        try:
            self.process.stdin.write(line)
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BaseException:
            # A case whose time is over: the answer must not be taken for that to the next one.
            self.stop()
            raise
        if not line:
            raise LabError(f"the readers ended: {self.errors.read_text()[-2000:]}")
        answer = json.loads(line)
        if "error" in answer:
            raise LabError(f"{do} of {path}: {answer['trace']}")
        return answer["readers"], answer["facts"]

    def stop(self):
        """Ends them."""
        self.process.kill()
        self.process.wait()


def readers_of(env):
    """The readers, started by the first case that asks for them; they end with the suite."""
    running = getattr(env, "readers", None)
    if running is None or running.process.poll() is not None:
        env.readers = running = Readers(env)
        env.at_end.append(running.stop)
    return running


def folder(lab, form, name=TABLE):
    """Where a mirror is."""
    organization, sup, table = name.split("/")
    return lab.lake / organization / sup / form / table


def wanted(text):
    """Columns and sorted rows of a CSV text; without quotes, nothing is NULL."""
    rows = list(csv.reader(io.StringIO(text, newline="")))
    body = [[cell or None for cell in row] for row in rows[1:]]
    body.sort(key=lambda row: [(cell is None, cell) for cell in row])
    return {"columns": rows[0], "rows": body}


def agree(lab, readers, what, name=TABLE, formats=FORMATS):
    """Every reader finds in every mirror what the table holds; the facts by format."""
    want, facts = wanted(lab.cat(name).decode()), {}
    for form in formats:
        found, facts[form] = readers.ask(form, folder(lab, form, name))
        for reader, got in found.items():
            assert got == want, f"{what}: {reader} reads {form} as {got}, wanted {want}"
    return facts


def enabled(lab, *formats, place="acme/shop"):
    """Switches mirrors on."""
    for form in formats or FORMATS:
        lab.cli("mirror", "enable", place, form)


def refreshed(lab, place="acme/shop"):
    """Brings all mirrors up to date; status must then agree."""
    lab.cli("mirror", "refresh", place)
    lab.cli("mirror", "status", place)


@case(seconds_max=300)
def independent_readers_find_the_live_rows_after_every_change(env):
    lab = env.own_lab("mirrors_changes").init()
    lab.load(TABLE, START, "id")
    enabled(lab)
    readers = readers_of(env)
    refreshed(lab)
    agree(lab, readers, "after the load")
    for what, words in (
        ("an append", ("load", TABLE, "-", "--mode", "append")),
        ("an update", ("update", TABLE, "--set", "name = 'BOB'", "--where", "id = 2")),
        ("a delete", ("delete", TABLE, "--where", "id = 3")),
        ("a compaction", ("compact", TABLE)),
    ):
        lab.cli(*words, stdin=b"id,name,qty\n6,fay,60\n7,,70\n" if "-" in words else None)
        refreshed(lab)
        agree(lab, readers, f"after {what}")
    more = lab.base / "more.csv"
    more.write_text("id,name,qty,note\n8,hal,80,new\n")
    lab.cli("load", TABLE, str(more), "--mode", "append", "--add-columns")
    refreshed(lab)
    agree(lab, readers, "after a new column")
    lab.cli("restore", TABLE, "--to", "1")
    refreshed(lab)
    facts = agree(lab, readers, "after going back")
    log = json.loads(lab.cli("--json", "log", TABLE, "-n", "100").out)
    assert facts["delta"]["version"] == log[0]["version"], (facts, log)
    # Every version of the table since the mirror began is one of the Delta table.
    for version in range(1, log[0]["version"] + 1):
        want = wanted(lab.cat(f"{TABLE}@{version}").decode())
        found, _ = readers.ask("delta", folder(lab, "delta"), version=version)
        for reader, got in found.items():
            assert got == want, f"{reader} reads version {version} as {got}, wanted {want}"
    # Iceberg's own history reads, too.
    for snapshot in facts["iceberg"]["snapshots"]:
        readers.ask("iceberg", folder(lab, "iceberg"), snapshot=snapshot)


@case(seconds_max=300)
def every_type_reaches_every_reader(env):
    lab = env.own_lab("mirrors_types").init()
    lab.cli("create", TABLE, "--columns", TYPES)
    rows = lab.base / "rows.csv"
    rows.write_text(ROWS)
    lab.cli("load", TABLE, str(rows), "--mode", "append")
    enabled(lab)
    refreshed(lab)
    readers = readers_of(env)
    agree(lab, readers, "every type")
    lab.cli("delete", TABLE, "--where", "id = 1")
    refreshed(lab)
    agree(lab, readers, "every type, rewritten")


@case(seconds_max=300)
def types_that_others_lack_lose_nothing(env):
    lab = env.own_lab("mirrors_odd").init()
    rows = {
        "id": pa.array([1, 2], pa.int64()),
        "ms": pa.array([1_795_253_675_123, None], pa.timestamp("ms")),
        "zone": pa.array([1_795_253_675_123_456, None], pa.timestamp("us", "Europe/Vienna")),
        "tags": pa.array([["a", None, "c"], []], pa.list_(pa.string())),
        "who": pa.array([{"name": "ann", "age": 3}, None]),
        "kind": pa.array(["x", None]).dictionary_encode(),
    }
    made = lab.base / "odd.parquet"
    pq.write_table(pa.table(rows), made)
    lab.cli("load", TABLE, str(made))
    enabled(lab)
    refreshed(lab)
    facts = agree(lab, readers_of(env), "odd types")
    assert facts["delta"]["files"] == 1, facts


@case(seconds_max=300)
def a_lake_in_a_bucket_is_mirrored_there(env):
    with bucket(env, "mirrors_s3") as (s3, redis):
        lab = s3_lab(env, "mirrors_s3", s3, redis).init()
        lab.load(TABLE, START, "id")
        enabled(lab)
        refreshed(lab)
        lab.cli("load", TABLE, "-", "--mode", "append", stdin=b"id,name,qty\n6,fay,60\n")
        lab.cli("delete", TABLE, "--where", "id = 2")
        refreshed(lab)
        want = wanted(lab.cat(TABLE).decode())
        options = {
            "AWS_ENDPOINT_URL": s3.endpoint,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
        }
        for form in ("delta", "iceberg"):
            place = f"{lab.lake}/acme/shop/{form}/t"
            found, _ = readers_of(env).ask(form, place, options=options)
            for reader, got in found.items():
                assert got == want, f"{reader} reads {form} as {got}, wanted {want}"


@case(seconds_max=300)
def files_without_deleted_rows_are_not_stored_twice(env):
    lab = env.own_lab("mirrors_place").init()
    lab.load(TABLE, START, "id")
    enabled(lab, "delta", "iceberg")
    refreshed(lab)
    data = {p.stat().st_ino: p for p in (lab.lake / "acme/shop/tables/t/data").rglob("*.parquet")}
    copies = list((folder(lab, "delta") / "data").glob("*.parquet"))
    assert copies and all(copy.stat().st_ino in data for copy in copies), (data, copies)
    readers = readers_of(env)
    facts = agree(lab, readers, "in place", formats=("delta", "iceberg"))
    here = sorted(f"file://{path}" for path in data.values())
    assert facts["iceberg"]["paths"] == here, (facts, here)
    # What a vacuum takes is not what a mirror shows.
    lab.cli("update", TABLE, "--set", "qty = 1", "--where", "id > 0")
    lab.cli("vacuum", TABLE, "--older-than", "1h")
    agree(lab, readers, "after a vacuum", formats=("delta", "iceberg"))


@case(seconds_max=300)
def a_gateway_mirrors_saves_in_the_background(env):
    lab = env.own_lab("mirrors_serve").init()
    lab.load(TABLE, START, "id")
    enabled(lab)
    lab.start()
    directory = f"{lab.mount()}/acme/shop"
    env.guest.check(f"echo 6,fay,60 >> {directory}/t.csv")
    env.guest.check(f"sed -i -e s/bob/BOB/ -e /cid/d {directory}/t.csv")
    # A table that did not exist when the mirrors were enabled.
    env.guest.check(f"printf 'a,b\\n1,2\\n' > /tmp/new.csv; cp /tmp/new.csv {directory}/new.csv")
    env.guest.check(f"cat {directory}/new.csv")
    caught_up(lab, {"acme/shop/t", "acme/shop/new"})
    readers = readers_of(env)
    agree(lab, readers, "in the background")
    agree(lab, readers, "a new table", "acme/shop/new")
    # A gateway that was killed goes on where it was.
    env.guest.check(f"echo 7,gil,70 >> {directory}/t.csv")
    lab.kill9()
    lab.start()
    env.guest.check(f"sed -i /gil/d {directory}/t.csv")
    caught_up(lab, {"acme/shop/t", "acme/shop/new"})
    agree(lab, readers, "after a restart")
    stats = json.loads(env.guest.check(f"cat {directory}/../../.mountable/stats.json").text)
    assert stats["mirrors"]["acme/shop/t"]["DELTA"]["version"] > 1, stats
    lab.unmount()
    lab.stop()


def caught_up(lab, names, seconds=150):
    """Waits until no mirror of these tables lags."""
    until = time.monotonic() + seconds
    while True:
        done = lab.command(*lab.lake_options(), "--json", "mirror", "status", "acme/shop")
        assert done.rc in (0, 1), done
        mirrors = json.loads(done.out)["mirrors"]
        current = {m["table"] for m in mirrors if m["lag"] == 0 and not m["error"]}
        behind = [m for m in mirrors if m["lag"] != 0 or m["error"]]
        if names <= current and not behind:
            return
        assert time.monotonic() < until, f"mirrors lag: {mirrors}"
        time.sleep(0.2)


@case(seconds_max=300)
def mirrors_that_the_python_library_enabled_and_wrote_are_put_right(env):
    readers = readers_of(env)
    with both(env, "mirrors") as (lab, library):
        name = f"{HERE}/t"
        lab.load(name, START, "id")
        enabled(lab, place=HERE)
        # The library sees that mirrors are enabled and writes them itself, deleted rows included.
        library.write("t", [["2", "BOB", "21"], ["6", "fay", "60"]], keys=["id"])
        assert list((folder(lab, "delta", name) / "files").iterdir()), "the library wrote none"
        refreshed(lab, HERE)
        agree(lab, readers, "after the library's write", name)
        library.write("t", [["3", "CID", "31"]], keys=["id"])
        lab.cli("delete", name, "--where", "id = 1")
        refreshed(lab, HERE)
        facts = agree(lab, readers, "after both wrote", name)
        log = json.loads(lab.cli("--json", "log", name, "-n", "1").out)
        assert facts["delta"]["version"] == log[0]["version"], (facts, log)
