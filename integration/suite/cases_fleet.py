"""Several gateways on one Redis and one bucket, with appenders and an editor on each.

All of them work on one client machine, which is one author per gateway: whoever rewrites a whole
file there overwrites rows that another program of the machine appended meanwhile, as on any file
system. So the editors have a table of their own, one at each gateway, and rows of their own in it.
"""

import json
import threading

from runner import LONG, case
from s3_lab import bucket, s3_lab
from tools import START

TABLE, EDITED = "acme/shop/t", "acme/shop/e"
GATEWAYS, APPENDERS = 3, 7
SECONDS = 60 if LONG else 10

# One writer: number, file, seconds. Tells what was acknowledged, with the time before and after.
APPENDER = """
n=$1; file=$2; end=$(($(date +%s) + $3)); i=$((n * 100000))
while [ $(date +%s) -lt $end ]; do
    i=$((i + 1)); before=$(date +%s%N)
    if echo $i,new,0 2>/dev/null >> $file; then echo a $i $before $(date +%s%N); else echo f $i; fi
done
"""
# Changes rows of its own again and again, each time to a greater number.
EDITOR = """
n=$1; file=$2; end=$(($(date +%s) + $3)); turn=0
while [ $(date +%s) -lt $end ]; do
    turn=$((turn + 1))
    if sed -i "s/^$n,edited,.*/$n,edited,$turn/" $file 2>/dev/null
    then echo e $n $turn; else echo f $n; fi
done
"""


@case(seconds_max=300)
def three_gateways_with_eight_writers_each_lose_and_double_nothing(env):
    with bucket(env, "fleet") as (s3, redis):
        first = s3_lab(env, "fleet_0", s3, redis).init()
        first.load(TABLE, START, "id")
        owned = "".join(f"{n},edited,0\n" for n in range(GATEWAYS))
        first.load(EDITED, "id,name,qty\n" + owned, "id")
        labs = [first] + [s3_lab(env, f"fleet_{n}", s3, redis, first.prefix)
                          for n in range(1, GATEWAYS)]  # fmt: skip
        for lab in labs:
            lab.start()
        share = env.guest.share
        (share / "appender.sh").write_text(APPENDER)
        (share / "editor.sh").write_text(EDITOR)
        commands = []
        for g, lab in enumerate(labs):
            place = f"{lab.mount()}/acme/shop"
            for n in range(APPENDERS):
                number = 1 + g * APPENDERS + n
                commands.append(f"bash $SHARE/appender.sh {number} {place}/t.csv {SECONDS}")
            commands.append(f"bash $SHARE/editor.sh {g} {place}/e.csv {SECONDS}")
        watched, stop = [], threading.Event()
        watcher = threading.Thread(target=watch, args=(first, watched, stop))
        watcher.start()
        try:
            done = env.guest.run("".join(f"{c} & " for c in commands) + "wait", SECONDS + 120)
        finally:
            stop.set()
            watcher.join()
        for lab in labs:
            lab.settle()
        check(env, labs, done, watched)
        for lab in labs:
            lab.unmount()
            lab.stop()


def watch(lab, watched, stop):
    """Reads the table again and again: rows that were there stay, in the same order."""
    while not stop.wait(0.5):
        watched.append(lab.command(*lab.lake_options(), "cat", TABLE).out.decode())


def check(env, labs, done, watched):
    """Holds what the writers were told against the table, its history and what readers saw."""
    told = [line.split() for line in done.text.splitlines()]
    added = {int(w[1]): (int(w[2]), int(w[3])) for w in told if w[0] == "a"}
    edited = {}
    for word in told:
        if word[0] == "e":
            edited[word[1]] = max(edited.get(word[1], 0), int(word[2]))
    failed = sum(1 for word in told if word[0] == "f")
    text = labs[0].cat(TABLE, timeout=60).decode()
    rows = [line.split(",") for line in text.splitlines()[1:]]
    ids = [row[0] for row in rows]
    assert len(ids) == len(set(ids)), f"twice: {[i for i in set(ids) if ids.count(i) > 1]}"
    lost = sorted(i for i in added if str(i) not in set(ids))
    assert not lost, f"acknowledged and lost: {lost}"
    lines = labs[0].cat(EDITED, timeout=60).decode().splitlines()[1:]
    values = {row[0]: int(row[2]) for row in (line.split(",") for line in lines)}
    for number, turn in edited.items():
        # A later save of the same editor that failed may have happened all the same.
        assert values[number] >= turn, f"row {number} shows {values[number]}, told {turn}"
    assert len(values) == len(lines) == GATEWAYS, lines
    # Whoever began after another append had ended stands behind it.
    latest_begin = 0
    for row in (int(i) for i in ids if int(i) in added):
        begin, end = added[row]
        assert end >= latest_begin, f"row {row} ended before a row in front of it began"
        latest_begin = max(latest_begin, begin)
    for text_then in watched:
        seen = [line.split(",")[0] for line in text_then.splitlines()[1:]]
        kept = set(seen)
        assert [i for i in ids if i in kept] == seen, "a row that was seen is gone or moved"
    for lab in labs:
        mount = f"{lab.mount()}/acme/shop/t.csv"
        assert env.guest.check(f"sleep 1.3; cat {mount}", 60).text == text, "a reopen is not newest"
    log = json.loads(labs[0].cli("--json", "log", TABLE, "-n", "10000").out)
    versions = [entry["version"] for entry in log]
    assert versions == list(range(len(versions) - 1, -1, -1)), versions
    assert len(added) >= GATEWAYS and edited, f"hardly anything went through: {done}"
    edits = sum(1 for word in told if word[0] == "e")
    env.note(
        f"{GATEWAYS} gateways x {APPENDERS + 1} writers for {SECONDS} s: {len(added)} appends and "
        f"{edits} edits acknowledged, {failed} failed and were told so, {len(versions)} versions of "
        f"the appended table, {len(watched)} looks in between"
    )
