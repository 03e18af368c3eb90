"""The lake's powers on the command line, seen through a mount: rows by condition, vacuum, blame."""

import csv
import io
import json
import os
import time

from runner import case
from tools import START


def lived(env, name):
    """A mounted table of five rows with a key; its lab, its name and its directory."""
    lab = env.own_lab(f"powers_{name}").init()
    lab.load("acme/shop/t", START, "id")
    lab.start()
    return lab, f"{lab.mount()}/acme/shop"


def newest(lab, table="acme/shop/t"):
    return json.loads(lab.cli("log", table, "-n", "1", "--json").out)[0]


def shown(env, path, expected):
    """Waits until a client reads this text: what other programs commit shows after a second."""
    env.guest.check(f"for i in $(seq 300); do cat {path} > /tmp/powers.txt; "
                    f"cmp -s /tmp/powers.txt - <<'END' && exit 0\n{expected}END\n"
                    "sleep 0.1; done; cat /tmp/powers.txt; exit 1")  # fmt: skip


def sound(lab):
    done = lab.cli("fsck", "--deep", "--json", timeout=120)
    found = [f for f in json.loads(done.out)["findings"] if f["severity"] != "note"]
    assert found == [], found


@case
def rows_are_deleted_and_updated_by_condition(env):
    lab, directory = lived(env, "rows")
    lines = START.splitlines()
    names = lines[0].split(",")
    rows = list(csv.DictReader(io.StringIO(START)))
    first, second = rows[0]["id"], rows[1]["id"]
    dry = lab.cli("delete", "acme/shop/t", "--where", f"id = {first}", "--dry-run").out.decode()
    assert dry.startswith(f"1 of {len(rows)} rows would be deleted"), dry
    before = newest(lab)["version"]
    lab.cli("delete", "acme/shop/t", "--where", f"id = {first}", "-m", "gone")
    log = newest(lab)
    counts = (log["version"], log["operation"], log["deleted"], log["message"])
    assert counts == (before + 1, "delete", 1, "gone"), log
    expected = "\n".join([lines[0], *lines[2:]]) + "\n"
    shown(env, f"{directory}/t.csv", expected)
    lab.cli("update", "acme/shop/t", "--set", f"{names[1]} = 'new'", "--where", f"id = {second}")
    cells = lines[2].split(",")
    cells[1] = "new"
    expected = "\n".join([lines[0], ",".join(cells), *lines[3:]]) + "\n"
    shown(env, f"{directory}/t.csv", expected)
    assert newest(lab)["updated"] == 1
    wrong = lab.refused("delete", "acme/shop/t", "--where", "idd = 1")
    assert wrong.rc == 2 and b"did you mean: id" in wrong.err, wrong
    clash = lab.refused("update", "acme/shop/t", "--set", "id = 3", "--where", f"id = {second}")
    assert clash.rc == 4, clash
    assert lab.cat("acme/shop/t").decode() == expected
    sound(lab)
    lab.unmount()
    lab.stop()


@case
def an_upsert_by_age_can_be_repeated(env):
    lab = env.own_lab("powers_upsert").init()
    lab.load("acme/shop/u", "id,rev,name\n1,5,x\n2,5,y\n", "id")
    text = b"id,rev,name\n1,4,old\n2,6,new\n3,1,z\n"
    words = ("upsert", "acme/shop/u", "-", "--newer-than", "rev")
    lab.cli(*words, stdin=text)
    expected = "id,rev,name\n1,5,x\n2,6,new\n3,1,z\n"
    assert lab.cat("acme/shop/u").decode() == expected
    before = newest(lab, "acme/shop/u")
    lab.cli(*words, stdin=text)
    assert newest(lab, "acme/shop/u") == before


@case
def vacuum_frees_what_old_versions_need(env):
    lab, directory = lived(env, "vacuum")
    env.guest.check(f"sed -i s/bob/BOB/ {directory}/t.csv")
    changed = START.replace("bob", "BOB")
    lab.expect("acme/shop/t", changed)
    lab.cli("compact", "acme/shop/t")
    # As if all that had been a month ago.
    past = time.time() - 30 * 86_400
    for path in (lab.lake / "acme").rglob("*"):
        if path.is_file():
            os.utime(path, (past, past))
    files = list((lab.lake / "acme/shop/tables/t").glob("data/**/*.parquet"))
    dry = lab.cli("vacuum", "acme/shop", "--older-than", "7d", "--dry-run").out.decode()
    assert "3 versions would be removed" in dry, dry
    lab.cli("vacuum", "acme/shop/t", "--older-than", "7d")
    left = list((lab.lake / "acme/shop/tables/t").glob("data/**/*.parquet"))
    assert len(left) == 1 < len(files), (files, left)
    gone = lab.refused("cat", "acme/shop/t@1")
    assert gone.rc == 3 and b"vacuumed" in gone.err, gone
    assert lab.refused("vacuum", "acme/shop/t", "--older-than", "1m").rc == 2
    sound(lab)
    # The gateway that served all the time goes on.
    env.guest.check(f"echo 8,hal,80 >> {directory}/t.csv")
    lab.expect("acme/shop/t", changed + "8,hal,80\n")
    shown(env, f"{directory}/t.csv", changed + "8,hal,80\n")
    assert newest(lab)["version"] == 5
    sound(lab)
    lab.unmount()
    lab.stop()


@case
def tail_follows_the_changes(env):
    lab, directory = lived(env, "feed")
    text = env.guest.check(f"cat {directory}/t/changes.csv").text
    begin = list(csv.DictReader(io.StringIO(text)))
    assert [row["_op"] for row in begin] == ["+"] * (len(START.splitlines()) - 1), text
    env.guest.check(f"(tail -n +1 -f {directory}/t/changes.csv > /tmp/feed.txt 2>&1 & "
                    "echo $! > /tmp/feed.pid)")  # fmt: skip
    env.guest.check(f"echo 6,fay,60 >> {directory}/t.csv")
    env.guest.check("for i in $(seq 300); do grep -q ',+,6,fay,60' /tmp/feed.txt && exit 0; "
                    "sleep 0.1; done; cat /tmp/feed.txt; exit 1")  # fmt: skip
    env.guest.check("kill $(cat /tmp/feed.pid)")
    followed = env.guest.check("cat /tmp/feed.txt").text
    assert followed.startswith(text), followed
    names = env.guest.check(f"ls {directory}/t").text
    assert "changes.csv" not in names, names
    lab.unmount()
    lab.stop()


@case
def blame_names_the_writers(env):
    lab, directory = lived(env, "blame")
    env.guest.check(f"sed -i s/bob/BOB/ {directory}/t.csv")
    lab.expect("acme/shop/t", START.replace("bob", "BOB"))
    rows = list(csv.DictReader(io.StringIO(lab.cli("blame", "acme/shop/t").out.decode())))
    changed = [row for row in rows if "BOB" in row.values()]
    assert [row["_version"] for row in changed] == ["2"], rows
    assert {row["_version"] for row in rows if row not in changed} == {"1"}, rows
    assert all(row["_role"] == "superadmin" for row in rows), rows
    assert changed[0]["_client"] != rows[0]["_client"] == "uid=0 cli", rows
    lab.unmount()
    lab.stop()


@case
def history_is_complete(env):
    lab, directory = lived(env, "history")
    env.guest.check(f"sed -i s/bob/BOB/ {directory}/t.csv")
    lab.expect("acme/shop/t", START.replace("bob", "BOB"))
    lab.cli("delete", "acme/shop/t", "--where", "id = 1", "-m", "said, why")
    text = env.guest.check(f"sleep 2; cat {directory}/t/history.csv").text
    rows = list(csv.DictReader(io.StringIO(text)))
    log = json.loads(lab.cli("log", "acme/shop/t", "--json").out)[::-1]
    assert [row["operation"] for row in rows] == [one["operation"] for one in log], rows
    fields = {"version": "version", "time": "time", "rows": "rows", "added": "inserted",
              "updated": "updated", "removed": "deleted", "role": "role", "client": "client",
              "message": "message"}  # fmt: skip
    for row, one in zip(rows, log):
        assert {k: row[k] for k in fields} == {k: str(one[v]) for k, v in fields.items()}, row
        assert row["role"] and row["client"] and row["time"].endswith("Z"), row
        assert (lab.lake / row["path"]).is_file(), row
    last = rows[-1]
    assert (last["removed"], last["message"]) == ("1", "said, why"), last
    lab.unmount()
    lab.stop()
