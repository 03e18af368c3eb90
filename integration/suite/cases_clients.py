"""Two client machines at once: nobody's rows are lost, and who disagrees is told."""

import csv
import hashlib
import io
import os

from lab import difference
from runner import case
from tools import APPENDED, CHANGED, START

ROWS = 400_000


def both(env, name, keys="id", config=""):
    """A table that two clients have read; (its name, its directory for each client)."""
    lab = env.lab
    scope = f"acme/clients_{name}"
    lab.load(f"{scope}/t", START, keys)
    a, b = f"{lab.mount()}/{scope}", f"{lab.mount_elsewhere()}/{scope}"
    if config:
        env.guest.check(f"cat > {a}/t/config.toml <<'EOF'\n{config}\nEOF")
    env.guest.check(f"cat {a}/t.csv {b}/t.csv > /dev/null")
    return f"{scope}/t", a, b


def edited(env, a, b, script):
    """Both change the file that they have read: the first bob, the second what `script` says."""
    return env.guest.run(
        f"sed s/bob/BOB/ {a}/t.csv > $SCRATCH/1; sed \"$EDIT\" {b}/t.csv > $SCRATCH/2; "
        f"cp $SCRATCH/1 {a}/t.csv && cp $SCRATCH/2 {b}/t.csv", 60, {"EDIT": script}
    )  # fmt: skip


@case
def the_two_mounts_are_two_clients(env):
    table, a, b = both(env, "told_apart")
    env.guest.check(f"echo 6,fay,60 >> {a}/t.csv; echo 7,gus,70 >> {b}/t.csv")
    rows = list(csv.DictReader(io.StringIO(
        env.guest.check(f"sleep 1.1; cat {a}/t/history.csv").text)))  # fmt: skip
    clients = [row["client"] for row in rows[-2:]]
    assert len(set(clients)) == 2 and "elsewhere" in clients[1], clients


@case
def edits_of_different_rows_both_survive(env):
    for keys in ("id", None):
        table, a, b = both(env, f"different_{keys or 'plain'}", keys)
        done = edited(env, a, b, "s/dee/DEE/; /eve/a 6,fay,60")
        assert done.rc == 0, done
        wanted = APPENDED.replace("bob", "BOB").replace("dee", "DEE")
        env.lab.expect(table, wanted)
        env.guest.check(f"sleep 1.1; cmp {a}/t.csv {b}/t.csv")


@case
def the_same_row_twice_is_refused_with_the_three_values(env):
    for keys in ("id", None):
        table, a, b = both(env, f"same_{keys or 'plain'}", keys)
        done = edited(env, a, b, "s/bob/ROB/")
        assert done.rc != 0 and b"Input/output error" in done.err, done
        env.lab.expect(table, CHANGED)
        told = env.guest.check(f"cat {b}/t/last-error.txt").text
        for value in ("`2,bob,20`", "`2,BOB,20` on line 3", "`2,ROB,20`"):
            assert value in told, told
        assert b"ROB" in env.lab.cli("why", table).out
        # All clients see the table at once, and the second can repeat its change.
        env.guest.check(f"sleep 1.1; cmp {a}/t.csv {b}/t.csv; sed -i s/BOB/ROB/ {b}/t.csv")
        env.lab.expect(table, START.replace("bob", "ROB"))


@case
def the_same_row_twice_is_resolved_by_the_rule_of_the_table(env):
    table, a, b = both(env, "rule", config='keys = ["id"]\non_conflict = "last-writer-wins"')
    done = edited(env, a, b, "s/bob/ROB/")
    assert done.rc == 0, done
    env.lab.expect(table, START.replace("bob", "ROB"))


@case
def an_append_during_anothers_rewrite(env):
    """The rewrite is written piece by piece; the row that comes in between stays."""
    table, a, b = both(env, "rewrite")
    env.guest.check(
        f"sed s/bob/BOB/ {a}/t.csv > $SCRATCH/1; "
        f"(head -c 20 $SCRATCH/1; sleep 0.3; echo 6,fay,60 >> {b}/t.csv; sleep 0.3; "
        f"tail -c +21 $SCRATCH/1) > {a}/t.csv"
    )
    env.lab.expect(table, CHANGED + "6,fay,60\n")


@case
def a_page_that_is_sent_again_undoes_nothing(env):
    """Both keep the file open: each append is the whole cached page of what that client knows."""
    for keys in ("id", None):
        table, a, b = both(env, f"pages_{keys or 'plain'}", keys)
        env.guest.check(
            f"exec 3>>{a}/t.csv 4>>{b}/t.csv; for i in 1 2 3 4 5 6; do "
            f"echo 1$i,a,$i >&3 || exit 1; echo 2$i,b,$i >&4 || exit 1; done"
        )
        lines = env.lab.cat(table).decode().splitlines(keepends=True)
        assert "".join(lines[:6]) == START, lines
        wanted = [f"{c}{i},{n},{i}\n" for c, n in ((1, "a"), (2, "b")) for i in range(1, 7)]
        assert sorted(lines[6:]) == sorted(wanted), lines


@case
def appends_of_both_at_once_are_all_there(env):
    table, a, b = both(env, "appends")
    done = env.guest.run(
        f"w() {{ for i in $(seq $1 $2); do echo $i,n,$i >> $3/t.csv || exit 1; done; }}; "
        f"w 100 119 {a} & w 200 219 {b} & wait -n && wait -n", 90
    )  # fmt: skip
    assert done.rc == 0, done
    ids = [line.split(",")[0] for line in env.lab.cat(table).decode().splitlines()[6:]]
    assert sorted(ids) == [str(i) for i in [*range(100, 120), *range(200, 220)]], ids


@case(seconds_max=240)
def a_long_read_sees_one_snapshot_while_fifty_commits_land(env):
    """The reader stops in the middle until the commits came. With MOUNTABLE_LONG the table has more
    than 100 MB, without it an eighth of that."""
    rows = ROWS * (8 if os.environ.get("MOUNTABLE_LONG") else 1)
    text = "id,name,qty\n" + "".join(f"{i},some name of row {i},{i % 97}\n" for i in range(rows))
    scope = "acme/clients_reader"
    path = env.work / "reader.csv"
    path.write_text(text)
    env.lab.load(f"{scope}/t", path, "id")
    a, b = f"{env.lab.mount()}/{scope}", f"{env.lab.mount_elsewhere()}/{scope}"
    done = env.guest.check(
        f"exec 3< {a}/t.csv; head -c 3000000 <&3 > $SCRATCH/long; "
        f"for i in $(seq 50); do echo $((1000000000 + i)),new,$i >> {b}/t.csv || exit 1; "
        f"dd bs=100000 count=1 <&3 >> $SCRATCH/long 2> /dev/null || exit 2; done; "
        f"cat <&3 >> $SCRATCH/long; sha256sum < $SCRATCH/long; stat -c %s $SCRATCH/long; "
        f"rm $SCRATCH/long; tail -1 {a}/t.csv", 220
    )  # fmt: skip
    digest, _, size, last = done.text.split()
    assert int(size) == len(text), f"{size} bytes for {len(text)}"
    assert digest == hashlib.sha256(text.encode()).hexdigest(), "another snapshot's bytes"
    assert last == "1000000050,new,50", last
    got = env.lab.cat(f"{scope}/t").decode().splitlines()
    assert len(got) == rows + 51, difference(got[-1].encode(), b"1000000050,new,50")
