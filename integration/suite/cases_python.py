"""The real Python library and Mountable on one lake: each reads, changes and compacts what the
other wrote."""

import json
import socket
import threading
import time
from contextlib import contextmanager

from cases_redis import with_redis
from runner import LONG, case
from supertable_client import COLUMNS, ORGANIZATION, SUPER, Library
from tools import START

HERE = f"{ORGANIZATION}/{SUPER}"
# Every column type that both sides store, as `mountable create` names it.
TYPES = (
    "id:int64,i8:int8,i16:int16,i32:int32,u8:uint8,u16:uint16,u32:uint32,f32:float32,f64:float64,"
    "b:bool,s:text,d:date,ts:timestamp,tz:timestamptz,de:decimal(12,3),wide:decimal(38,6),ti:time,"
    "bi:binary"
)
# Rows of them: limits, awkward text, NULLs in every column, the smallest and the greatest moments.
ROWS = """\
id,i8,i16,i32,u8,u16,u32,f32,f64,b,s,d,ts,tz,de,wide,ti,bi
1,-128,-32768,-2147483648,255,65535,4294967295,0.1,0.1,true,"a ""quoted"", text",2026-11-21,\
2026-11-21T10:00:00.123456,2026-11-21T10:00:00.123456Z,123456789.123,\
12345678901234567890123456789012.123456,10:00:00.123,AAEC
9223372036854775807,127,32767,2147483647,0,0,0,3.4028235e38,1.7976931348623157e308,false,"two
lines",1969-12-31,1969-12-31T23:59:59,1969-12-31T23:59:59Z,-0.001,-0.000001,23:59:59.999999,/w==
-9223372036854775808,,,,,,,,,,,,,,,,,
4,0,0,0,0,0,0,NaN,inf,true,"",0001-01-01,0001-01-01T00:00:00,0001-01-01T00:00:00Z,0.000,0.000000,\
00:00:00,AA==
5,0,0,0,0,0,0,-0.0,-0.0,true," häfen, Čeština\t",9999-12-31,9999-12-31T23:59:59.999999,\
9999-12-31T23:59:59.999999Z,-999999999.999,0.000000,12:00:00,
"""
APPENDS = 105
# Snapshots of a table's history that are read back at least.
SNAPSHOTS_READ = 20
# How long both write at once, in each of two cases.
SECONDS = 60 if LONG else 12


@contextmanager
def both(env, name):
    """(lab, library): a lake of Mountable's with the library beside it."""
    redis, lab = with_redis(env, f"python_{name}")
    try:
        lab.cli("create", HERE)
        with Library(lab, redis) as library:
            yield lab, library
    finally:
        redis.stop()


def upsert(lab, table, text):
    """Rows by key, through the command line."""
    lab.load(f"{HERE}/{table}", text, mode="upsert")


def log(lab, table):
    """What each version did, newest first: (version, operation, added, changed, removed)."""
    told = json.loads(lab.cli("--json", "log", f"{HERE}/{table}", "-n", "100000").out)
    return [
        (s["version"], s["operation"], s["inserted"], s["updated"], s["deleted"]) for s in told
    ]  # fmt: skip


def expect_log(lab, table, *newest):
    """The newest entries of the log."""
    got = log(lab, table)
    assert got[: len(newest)] == list(newest), f"log {got}, wanted {newest}"
    assert [entry[0] for entry in got] == list(range(len(got) - 1, -1, -1)), f"versions of {got}"


def ids(text):
    """First cells of the rows of a text without quotes, as integers."""
    return [int(line.split(",")[0]) for line in text.splitlines()[1:]]


@case
def every_type_reads_alike(env):
    with both(env, "types") as (lab, library):
        lab.cli("create", f"{HERE}/t", "--columns", TYPES, "--keys", "id")
        lab.load(f"{HERE}/t", ROWS)
        assert library.agrees("t", "loaded by Mountable") == 5
        # The library's own table of these types, then rows of ours in it and of its in ours.
        columns = with_decimals(part.split(":") for part in TYPES.split(","))
        row = ["7", "-1", "-1", "-1", "1", "1", "1", "0.5", "1e300", "false", 'x"y,\nz',
               "2000-02-29", "2000-02-29T01:02:03.000004", "2000-02-29T01:02:03.000004+00:00",
               "0.125", "-1.500000", "01:02:03.000004", "/wAB"]  # fmt: skip
        nulls = ["8"] + [None] * (len(columns) - 1)
        library.write("theirs", [row, nulls], columns)
        assert library.agrees("theirs", "made by the library") == 2
        shown = lab.cli("schema", f"{HERE}/theirs").out.decode().split("\n")
        ours = lab.cli("schema", f"{HERE}/t").out.decode().replace("key", "").split("\n")
        assert [s.split() for s in shown] == [o.split() for o in ours], (shown, ours)
        lab.load(f"{HERE}/theirs", ROWS)
        assert library.agrees("theirs", "loaded into the library's table") == 7
        library.write("t", [row, nulls], columns, keys=["id"])
        assert library.agrees("t", "upserted into our table") == 7
        library.ask("compact", table="t", small_only=False)
        assert library.agrees("t", "compacted") == 7
        assert b"/t " in lab.cli("ls", HERE).out and b"/theirs " in lab.cli("ls", HERE).out


def with_decimals(parts):
    """Puts `decimal(12` and `3)` together again, which the split at commas took apart."""
    out = []
    for part in parts:
        if len(part) == 1:
            out[-1][1] += f",{part[0]}"
        else:
            out.append(list(part))
    return out


@case
def our_edits_and_deletes_are_seen_by_the_library(env):
    with both(env, "edits") as (lab, library):
        lab.load(f"{HERE}/t", START, "id")
        library.agrees("t", "loaded")
        lab.load(f"{HERE}/t", "id,name,qty\n6,fay,60\n")
        library.agrees("t", "appended")
        upsert(lab, "t", "id,name,qty\n2,BOB,21\n7,gus,70\n")
        assert library.agrees("t", "upserted: the deletion vector hides the old row") == 7
        lab.start()
        directory = f"{lab.mount()}/{HERE}"
        for script, rows in [
            (f"sed -i -e /cid/d -e s/dee/DEE/ {directory}/t.csv", 6),
            (f"echo 8,hal,80 >> {directory}/t.csv", 7),
            (f"cp {directory}/t.csv {directory}/copy.csv", 7),
            (f"sed -i -e '1s/$/,note/' -e '2,$s/$/,x/' {directory}/t.csv", 7),
        ]:
            env.guest.check(script)
            lab.settle()
            assert library.agrees("t", script) == rows
        assert library.agrees("copy", "copied") == 7
        got = library.ask("read", table="t", columns="note")["rows"]
        assert got == [["x"]] * 7, got
        env.guest.check(f"cut -d, -f1,2 {directory}/copy.csv > {env.guest.scratch}/cut.csv")
        env.guest.check(f"cp {env.guest.scratch}/cut.csv {directory}/copy.csv")
        lab.settle()
        # The old files still hold the column, and the library's `*` shows what files hold.
        library.write("copy", [["30", "new"]], COLUMNS[:2])
        theirs = library.ask("read", table="copy", columns="id, name")["rows"]
        ours = [line.split(",") for line in lab.cat(f"{HERE}/copy").decode().splitlines()]
        assert ours[0] == ["id", "name"], ours[0]
        assert sorted(ours[1:]) == sorted(theirs) and len(theirs) == 8, (ours, theirs)
        env.guest.check(f"mv {directory}/t.csv {directory}/old.csv")
        lab.settle()
        assert library.agrees("old", "renamed") == 7
        library.write("old", [["20", "x", "1", "y"]], [*COLUMNS, ["note", "text"]])
        library.write("old", [["20", "X", "1", "y"]], [*COLUMNS, ["note", "text"]], keys=["id"])
        assert library.agrees("old", "row ids of a renamed table are its own") == 8
        gone = library.try_ask("read", table="t")
        assert "not found" in gone.get("error", ""), gone
        lab.load(f"{HERE}/old", "id,name,qty,note\n1,ann,11,y\n", mode="replace")
        assert library.agrees("old", "all other rows replaced") == 1
        lab.unmount()
        lab.stop()


@case
def every_write_of_the_library_is_seen(env):
    with both(env, "writes") as (lab, library):
        lab.load(f"{HERE}/t", START, "id")
        library.write("t", [["6", "fay", "60"]])
        library.agrees("t", "append")
        expect_log(lab, "t", (2, "write", 1, 0, 0))
        library.write("t", [["2", "BOB", "21"], ["7", "gus", "70"]], keys=["id"])
        assert library.agrees("t", "upsert") == 7
        expect_log(lab, "t", (3, "write", 1, 1, 0))
        library.write("t", [["3"], ["99"]], COLUMNS[:1], keys=["id"], delete=True)
        assert library.agrees("t", "delete") == 6
        expect_log(lab, "t", (4, "delete", 0, 0, 1))
        lab.load(f"{HERE}/t", "id,name,qty\n8,hal,80\n")
        upsert(lab, "t", "id,name,qty\n6,FAY,61\n")
        assert library.agrees("t", "ours on top of theirs") == 7
        grown = [*COLUMNS, ["note", "text"], ["seen", "timestamptz"]]
        library.write("t", [["9", "ida", "90", "new", "2026-01-01T00:00:00+00:00"]], grown)
        library.agrees("t", "more columns")
        library.write("t", [["10", "0.5"]], [["id", "int64"], ["qty", "float64"]])
        library.agrees("t", "fewer columns, an integer column becomes one of floats")
        library.write("t", [["2", None]], COLUMNS[:2], keys=["id"])
        assert library.agrees("t", "a NULL") == 9
        # The library's time travel does not exist; ours shows its versions too.
        assert lab.cat(f"{HERE}/t@1").decode() == START
        assert len(ids(lab.cat(f"{HERE}/t@3").decode())) == 7
        lab.load(f"{HERE}/t", "note,id,qty\nours,11,1.5\n")
        assert library.agrees("t", "ours with the new columns") == 10
        library.write("t", [["9", "late", "1"]], keys=["id"], newer_than="qty")
        assert library.agrees("t", "a stale row that the library skips") == 10
        library.write("t", [["1"]], COLUMNS[:1], delete=True)
        rows = library.agrees("t", "delete without keys: all rows")
        assert rows == 0, rows
        lab.load(f"{HERE}/t", "id,name,qty\n1,ann,10\n")
        assert library.agrees("t", "ours after all rows were deleted") == 1


@case
def the_library_merges_and_compacts_our_files(env):
    with both(env, "merge") as (lab, library):
        lab.load(f"{HERE}/t", START, "id")
        upsert(lab, "t", "id,name,qty\n4,DEE,41\n")
        upsert(lab, "t", "id,name,qty\n5,EVE,51\n6,fay,60\n")
        before = lab.cat(f"{HERE}/t").decode()
        rows = [[str(i), f"row {i}", str(i)] for i in range(100, 100 + APPENDS)]
        library.ask("appends", table="t", columns=COLUMNS, rows=rows)
        wanted = sorted([1, 2, 3, 4, 5, 6, *range(100, 100 + APPENDS)])
        library.agrees("t", f"{APPENDS} appends with a merge")
        assert sorted(ids(lab.cat(f"{HERE}/t").decode())) == wanted
        assert len(log(lab, "t")) == APPENDS + 4, len(log(lab, "t"))
        upsert(lab, "t", "id,name,qty\n100,hundred,0\n1,ANN,11\n")
        library.agrees("t", "our upsert of merged rows")
        library.write("t", [["101"], ["2"]], COLUMNS[:1], keys=["id"], delete=True)
        library.agrees("t", "their delete")
        for small_only in (True, False):
            told = library.ask("compact", table="t", small_only=small_only)["stats"]
            assert told["files_after"] == 1, told
            library.agrees("t", f"compact(small_only={small_only})")
            expect_log(lab, "t", (log(lab, "t")[0][0], "compact", 0, 0, 0))
            at = 900 + int(small_only)
            lab.load(f"{HERE}/t", f"id,name,qty\n{at},late,1\n")
            library.agrees("t", "our append to compacted files")
        assert lab.cat(f"{HERE}/t@3").decode() == before, "the old snapshot changed"
        gone = {101, 2}
        wanted = sorted(({*wanted} - gone) | {900, 901})
        assert sorted(ids(lab.cat(f"{HERE}/t").decode())) == wanted
        # An edit that was begun on files which a compaction takes away meanwhile.
        lab.start()
        directory = f"{lab.mount()}/{HERE}"
        env.guest.check(f"cp {directory}/t.csv {env.guest.scratch}/edit.csv")
        env.guest.check(f"sed -i -e s/hundred/HUNDRED/ -e /row.103/d {env.guest.scratch}/edit.csv")
        library.write("t", [["777", "meanwhile", "7"]])
        library.ask("compact", table="t", small_only=False)
        env.guest.check(f"cp {env.guest.scratch}/edit.csv {directory}/t.csv")
        lab.settle()
        library.agrees("t", "an edit across a compaction")
        text = lab.cat(f"{HERE}/t").decode()
        assert "HUNDRED" in text and "row 103" not in text and "row 104" in text, text[-300:]
        lab.unmount()
        lab.stop()


@case
def a_table_of_the_library_alone_is_taken_over(env):
    with both(env, "theirs") as (lab, library):
        rows = [[str(i), f"name {i}", str(i * 10)] for i in range(1, 6)]
        library.write("t", rows)
        library.write("t", [["2", "two", "2"]], keys=["id"])
        library.write("t", [["3"]], COLUMNS[:1], keys=["id"], delete=True)
        assert library.agrees("t", "before Mountable wrote to it") == 4
        lab.start()
        directory = f"{lab.mount()}/{HERE}"
        wanted = "id,name,qty\n1,name 1,10\n4,name 4,40\n5,name 5,50\n2,two,2\n"
        got = env.guest.check(f"cat {directory}/t.csv").text
        assert got == wanted, got
        env.guest.check(
            f"echo 6,six,60 >> {directory}/t.csv && sed -i s/two/TWO/ {directory}/t.csv"
        )
        lab.settle()
        assert library.agrees("t", "edited through the mount") == 5
        library.write("t", [["7", "seven", "70"]])
        wanted = wanted.replace("two", "TWO") + "6,six,60\n7,seven,70\n"
        deadline = time.monotonic() + 8
        while (got := env.guest.check(f"cat {directory}/t.csv").text) != wanted:
            assert time.monotonic() < deadline, got
            time.sleep(0.2)
        expect_log(lab, "t", (6, "write", 1, 0, 0))
        lab.unmount()
        lab.stop()


@case
def both_write_at_once_and_no_row_is_lost(env):
    with both(env, "together") as (lab, library):
        lab.load(f"{HERE}/t", START, "id")
        lab.start()
        directory = f"{lab.mount()}/{HERE}"
        answer = library.later("churn", table="t", first=100_000, seconds=SECONDS, seed=1)
        loaded = write_by_cli(lab)
        mounted = env.guest.check(
            f"end=$(($(date +%s) + {SECONDS})); i=200000; while [ $(date +%s) -lt $end ]; "
            f"do echo $i,mount,$i >> {directory}/t.csv && echo $i; i=$((i + 1)); done",
            SECONDS + 60,
        )
        theirs, (ours, errors) = answer(), loaded()
        lab.settle()
        assert not errors and not theirs["errors"], (errors, theirs["errors"])
        mounted = dict.fromkeys(map(int, mounted.text.split()), "mount")
        nothing_lost(lab, library, theirs, {**ours, **mounted})
        env.note(
            f"together for {SECONDS} s: {len(ours)} loads, {len(mounted)} appends by mount, "
            f"{theirs['done']} writes of the library"
        )
        assert min(len(ours), len(mounted), theirs["done"]) > 0, "somebody never had a turn"
        lab.unmount()
        lab.stop()


@case
def a_library_whose_lock_was_lost_erases_nothing(env):
    # Both commit on stale parents: the lock is taken from whoever holds it, and the library is slow
    # to publish. Its commits are merged with ours.
    with both(env, "lockless") as (lab, library):
        lab.load(f"{HERE}/t", START, "id")
        library.ask("stall", seconds=0.08)
        ended = threading.Event()
        thief = threading.Thread(target=steal_locks, args=(library.redis_port, ended))
        thief.start()
        try:
            answer = library.later("churn", table="t", first=100_000, seconds=SECONDS, seed=2)
            loaded = write_by_cli(lab)
            theirs, (ours, errors) = answer(), loaded()
        finally:
            ended.set()
            thief.join()
        # The next commit settles what is still open.
        lab.load(f"{HERE}/t", "id,name,qty\n400000,last,1\n")
        assert not errors, errors
        nothing_lost(lab, library, theirs, {**ours, 400_000: "last"})
        told = lab.cli("--json", "log", f"{HERE}/t", "-n", "100000").out.decode()
        merged = told.count("commit of another writer on an older snapshot")
        env.note(f"{merged} of {theirs['done']} writes of the library were merged")
        assert merged > 0, "no commit on a stale parent came about"


def steal_locks(port, ended):
    """Deletes the table's lock again and again."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        key = f"supertable:{ORGANIZATION}:lakes:{SUPER}:lock:leaf:doc:t"
        while not ended.wait(0.003):
            connection.sendall(f"DEL {key}\r\n".encode())
            connection.recv(64)


def nothing_lost(lab, library, theirs, ours):
    """Acknowledged rows of both are there once each, and both sides read the same."""
    rows = [line.split(",") for line in lab.cat(f"{HERE}/t").decode().splitlines()[1:]]
    present = {int(row[0]): row[1] for row in rows}
    assert len(present) == len(rows), "rows are there twice"
    assert {1, 2, 3, 4, 5} <= set(present), "rows from before are lost"
    lost = {i: (name, present.get(i)) for i, name in ours.items() if present.get(i) != name}
    assert not lost, f"acknowledged rows of ours, as we were told and as they are: {lost}"
    known = {i: name for i, name in present.items() if 100_000 <= i < 200_000}
    wanted = dict(theirs["rows"])
    for i in theirs["open"]:
        known.pop(i, None)
        wanted.pop(i, None)
    unlike = {i: (known.get(i), wanted.get(i)) for i in {*known, *wanted}
              if known.get(i) != wanted.get(i)}  # fmt: skip
    assert not unlike, f"rows of the library, as they are and as it was told: {unlike}"
    assert library.agrees("t", "after both wrote") == len(present)
    got = log(lab, "t")
    assert [entry[0] for entry in got] == list(range(len(got) - 1, -1, -1)), f"versions of {got}"
    every_snapshot_is_whole(lab)


def every_snapshot_is_whole(lab):
    """Each of some versions has as many rows as its document says, with unlike ids."""
    told = json.loads(lab.cli("--json", "log", f"{HERE}/t", "-n", "100000").out)
    for entry in told[:: max(1, len(told) // SNAPSHOTS_READ)]:
        found = ids(lab.cat(f"{HERE}/t@{entry['version']}").decode())
        assert len(found) == entry["rows"] == len(set(found)), (entry, len(found))


def write_by_cli(lab, seconds=SECONDS):
    """Inserts and updates rows by key on a thread for some time; a function that gives the
    acknowledged rows by id, and the errors."""
    done, errors = {}, []
    end = time.monotonic() + seconds

    def work():
        turn = 0
        while time.monotonic() < end:
            turn += 1
            at = 300_000 + (turn if turn % 2 else turn // 4)
            run = lab.command(
                *lab.lake_options(), "load", f"{HERE}/t", "-", "--mode", "upsert",
                stdin=f"id,name,qty\n{at},cli {turn},1\n".encode(),
            )  # fmt: skip
            if run.rc == 0:
                done[at] = f"cli {turn}"
            else:
                errors.append(str(run))

    thread = threading.Thread(target=work)
    thread.start()

    def wait():
        thread.join()
        return done, errors

    return wait
