"""Release 2.0.2 of the Python library and Mountable on one lake of key layout v1: each reads,
changes and merges what the other wrote."""

from contextlib import contextmanager

from cases_python import APPENDS, HERE, expect_log, ids, log, nothing_lost, write_by_cli
from redis_server import MEMORY, Redis
from runner import LONG, case
from supertable_client import COLUMNS, LibraryV1
from tools import START

# Every column type that this release stores, as `mountable create` names it.
TYPES = (
    "id:int64,i8:int8,i16:int16,i32:int32,u8:uint8,u16:uint16,u32:uint32,f32:float32,f64:float64,"
    "b:bool,s:text,d:date,ts:timestamp,tz:timestamptz"
)
ROWS = """\
id,i8,i16,i32,u8,u16,u32,f32,f64,b,s,d,ts,tz
1,-128,-32768,-2147483648,255,65535,4294967295,0.1,0.1,true,\
"a ""quoted"", text",2026-11-21,2026-11-21T10:00:00.123456,2026-11-21T10:00:00.123456Z
9223372036854775807,127,32767,2147483647,0,0,0,3.4028235e38,1.7976931348623157e308,false,"two
lines",1969-12-31,1969-12-31T23:59:59,1969-12-31T23:59:59Z
-9223372036854775808,,,,,,,,,,,,,
4,0,0,0,0,0,0,NaN,inf,true,"",0001-01-01,0001-01-01T00:00:00,0001-01-01T00:00:00Z
5,0,0,0,0,0,0,-0.0,-0.0,true," häfen, Čeština\t",9999-12-31,9999-12-31T23:59:59.999999,\
9999-12-31T23:59:59.999999Z
"""


# How long both write at once.
SECONDS = 60 if LONG else 3


@contextmanager
def both_v1(env, name, init=True):
    """(lab, library): a lake in layout v1, of Mountable's or of the library alone."""
    redis = Redis(env.work / "labs" / f"v1_{name}-redis", MEMORY).start()
    lab = env.own_lab(f"v1_{name}", catalog=redis.url)
    lab.redis = redis
    try:
        if init:
            lab.cli("init", "--layout", "v1")
            lab.cli("create", HERE)
        with LibraryV1(lab, redis) as library:
            yield lab, library
    finally:
        redis.stop()


def upsert(lab, table, text):
    """Rows by key, through the command line."""
    lab.load(f"{HERE}/{table}", text, mode="upsert")


@case
def v1_every_type_reads_alike(env):
    with both_v1(env, "types") as (lab, library):
        lab.cli("create", f"{HERE}/t", "--columns", TYPES, "--keys", "id")
        lab.load(f"{HERE}/t", ROWS)
        assert library.agrees("t", "loaded by Mountable") == 5
        columns = [part.split(":") for part in TYPES.split(",")]
        row = ["7", "-1", "-1", "-1", "1", "1", "1", "0.5", "1e300", "false", 'x"y,\nz',
               "2000-02-29", "2000-02-29T01:02:03.000004", "2000-02-29T01:02:03.000004+00:00"]  # fmt: skip
        nulls = ["8"] + [None] * (len(columns) - 1)
        library.write("theirs", [row, nulls], columns)
        assert library.agrees("theirs", "made by the library") == 2
        lab.load(f"{HERE}/theirs", ROWS)
        assert library.agrees("theirs", "loaded into the library's table") == 7
        library.write("t", [row, nulls], columns, keys=["id"])
        assert library.agrees("t", "upserted into our table") == 7
        for kind in ("decimal(4,1)", "time", "binary"):
            told = lab.refused("create", f"{HERE}/no", "--columns", f"x:{kind}")
            assert b"SuperTable 2.0 cannot store" in told.err, told


@case
def v1_edits_through_the_mount(env):
    with both_v1(env, "edits", init=False) as (lab, library):
        # A lake of the library alone: nothing of it says so but its keys.
        library.write("t", [[str(i), f"name {i}", str(i * 10)] for i in range(1, 6)])
        library.write("t", [["2", "two", "2"]], keys=["id"])
        library.write("t", [["3"]], COLUMNS[:1], keys=["id"], delete=True)
        assert library.agrees("t", "before Mountable wrote to it") == 4
        lab.start()
        directory = f"{lab.mount()}/{HERE}"
        for script, rows in [
            (f"echo 6,fay,60 >> {directory}/t.csv", 5),
            (f"sed -i -e /two/d -e 's/name 4/FOUR/' {directory}/t.csv", 4),
            (f"sed -i '2i 0,first,0' {directory}/t.csv", 5),
            (f"cp {directory}/t.csv {directory}/copy.csv", 5),
            (f"sed -i -e '1s/$/,note/' -e '2,$s/$/,x/' {directory}/t.csv", 5),
        ]:
            env.guest.check(script)
            lab.settle()
            assert library.agrees("t", script) == rows
        shown = env.guest.check(f"cat {directory}/t.csv").text
        assert shown.startswith("id,name,qty,note\n0,first,0,x\n"), shown
        assert library.agrees("copy", "copied") == 5
        # Other columns than more of them, behind the others, are refused and say why.
        bad = env.guest.run(f"cut -d, -f2,1 {directory}/copy.csv > {env.guest.scratch}/c.csv && "
                            f"cp {env.guest.scratch}/c.csv {directory}/copy.csv")  # fmt: skip
        lab.settle()
        assert library.agrees("copy", "after a refused change of columns") == 5, bad
        env.guest.check(f"mv {directory}/copy.csv {directory}/other.csv; rm {directory}/t.csv")
        lab.settle()
        assert library.ask("tables")["names"] == ["other"]
        library.agrees("other", "renamed")
        # The library makes the name anew: nothing of the old table comes back.
        library.write("t", [["1", "new", "1"]])
        assert library.agrees("t", "made again by the library") == 1
        lab.unmount()
        lab.stop()


@case
def v1_the_library_works_on_our_files(env):
    with both_v1(env, "merge") as (lab, library):
        lab.load(f"{HERE}/t", START, "id")
        upsert(lab, "t", "id,name,qty\n4,DEE,41\n6,fay,60\n")
        before = lab.cat(f"{HERE}/t").decode()
        library.write("t", [["2", "BOB", "21"], ["7", "gus", "70"]], keys=["id"])
        assert library.agrees("t", "upsert") == 7
        library.write("t", [["3"], ["99"]], COLUMNS[:1], keys=["id"], delete=True)
        assert library.agrees("t", "delete") == 6
        expect_log(lab, "t", (4, "delete", 0, 0, 1))
        rows = [[str(i), f"row {i}", str(i)] for i in range(100, 100 + APPENDS)]
        library.ask("appends", table="t", columns=COLUMNS, rows=rows)
        assert library.agrees("t", f"{APPENDS} appends with a merge") == 6 + APPENDS
        upsert(lab, "t", "id,name,qty\n100,hundred,0\n1,ANN,11\n")
        lab.cli("compact", f"{HERE}/t")
        library.agrees("t", "our upsert of merged rows, compacted")
        library.write("t", [["101"], ["4"]], COLUMNS[:1], keys=["id"], delete=True)
        assert library.agrees("t", "their delete in our files") == 4 + APPENDS
        wanted = {1, 2, 5, 6, 7, *range(100, 100 + APPENDS)} - {101}
        assert set(ids(lab.cat(f"{HERE}/t").decode())) == wanted
        assert lab.cat(f"{HERE}/t@2").decode() == before, "the old snapshot changed"
        told = lab.cli("fsck").out.decode()
        assert " 0 errors, 0 warnings" in told, told
        assert len(log(lab, "t")) == APPENDS + 8, len(log(lab, "t"))


@case
def v1_rows_hidden_by_their_keys(env):
    with both_v1(env, "keys") as (lab, library):
        library.ask("configure", table="t", keys=["id"])
        library.write("t", [["1", "ann", "10"], ["2", "bob", "20"], ["3", "cid", "30"]])
        library.write("t", [["2", "BOB", "21"], ["4", "dee", "40"]])
        assert library.agrees("t", "the newest row of each key") == 4
        library.write("t", [["3"], ["77"]], COLUMNS[:1], keys=["id"], delete=True)
        assert library.agrees("t", "a deleted key") == 3
        twice = lab.base / "twice.csv"
        twice.write_text("id,name,qty\n1,twice,1\n")
        again = lab.refused("load", f"{HERE}/t", twice)
        assert b"same key" in again.err, again
        upsert(lab, "t", "id,name,qty\n1,ANN,11\n3,back,31\n")
        assert library.agrees("t", "our upsert") == 4
        library.write("t", [["1", "Ann", "12"], ["5", "eve", "50"]])
        library.write("t", [["2"]], COLUMNS[:1], keys=["id"], delete=True)
        assert library.agrees("t", "theirs on top of ours") == 4
        wanted = [["1", "Ann", "12"], ["3", "back", "31"], ["4", "dee", "40"], ["5", "eve", "50"]]
        rows = [line.split(",") for line in lab.cat(f"{HERE}/t").decode().splitlines()[1:]]
        assert sorted(rows) == wanted, rows
        told = lab.refused("rename", f"{HERE}/t", "u")
        assert b"dedup_on_read" in told.err, told


@case
def v1_both_write_at_once_and_no_row_is_lost(env):
    with both_v1(env, "together") as (lab, library):
        lab.load(f"{HERE}/t", START, "id")
        answer = library.later("churn", table="t", first=100_000, seconds=SECONDS, seed=1)
        loaded = write_by_cli(lab, SECONDS)
        theirs, (ours, errors) = answer(), loaded()
        assert not errors and not theirs["errors"], (errors, theirs["errors"])
        nothing_lost(lab, library, theirs, ours)
        env.note(f"for {SECONDS} s: {len(ours)} loads, {theirs['done']} writes of the library")
        assert ours and theirs["done"], "somebody never had a turn"


@case
def v1_and_v2_are_told_apart(env):
    with both_v1(env, "apart") as (lab, _):
        redis = lab.redis
        lab.load(f"{HERE}/t", START, "id")
        lab.extra = {"MOUNTABLE_LAYOUT": "v2"}
        told = lab.refused("ls")
        assert b"key layout" in told.err, told
        lab.extra = {}
        # A lake of layout v2 over the same directories, in the same Redis.
        redis.ask("DEL", "mountable:layout")
        root = f"supertable:{HERE.replace('/', ':lakes:')}:meta:root"
        redis.ask("SET", root, "{}")
        told = lab.refused("cat", f"{HERE}/t")
        assert b"both key layouts" in told.err and HERE.encode() in told.err, told
