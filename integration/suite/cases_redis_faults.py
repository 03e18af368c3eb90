"""Redis goes away, forgets, or is replaced: reading goes on, nothing acknowledged is lost."""

import threading
import time

from cases_redis import with_redis
from lab import orderly
from redis_server import DEFAULT, DURABLE, Redis, Sentinel, running
from runner import case
from tools import APPENDED, START

TABLE = "acme/shop/t"


def rows_of(text):
    """First cells of the rows."""
    return [line.split(",")[0] for line in text.splitlines()[1:]]


def each_once(lab, acknowledged, what):
    """Every acknowledged row is in the table as the engine reads it, and none is there twice."""
    ids = rows_of(lab.cat(TABLE).decode())
    lost = sorted(set(acknowledged) - set(ids))
    assert not lost, f"{what}: acknowledged and lost: {lost}"
    assert len(ids) == len(set(ids)), f"{what}: rows are there twice"


def appender(env, directory, first, seconds):
    """Appends rows for some time in the background; a function that waits and gives the ids that
    were acknowledged and the outcome. A failed append is not repeated."""
    box = []
    script = (
        f"end=$(($(date +%s) + {seconds})); i={first}; while [ $(date +%s) -lt $end ]; do "
        f"timeout 60 /bin/bash -c \"echo $i,n,$i >> {directory}/t.csv\" && echo $i; "
        "i=$((i + 1)); done; true"
    )
    thread = threading.Thread(
        target=lambda: box.append(env.guest.run(script, seconds + 90))
    )
    thread.start()

    def wait():
        thread.join()
        assert box, "the guest hung"
        return box[0].text.split(), box[0]

    return wait


@case(seconds_max=240, group="redis")
def an_outage_lets_reading_go_on_and_writing_wait_and_fail(env):
    redis, lab = with_redis(env, "redis_down")
    with running(redis):
        lab.load(TABLE, START, "id")
        lab.start()
        directory = f"{lab.mount()}/acme/shop"
        env.guest.check(f"ls -l {directory}; cat {directory}/t.csv")
        redis.stop()
        begun = time.monotonic()
        for _ in range(3):
            text = env.guest.check(f"sleep 1.2; timeout 30 cat {directory}/t.csv", 60).text
            assert text == START, text
            listed = env.guest.check(f"timeout 30 ls -l {directory}", 60).text
            assert "t.csv" in listed, listed
        reading = time.monotonic() - begun
        done = lab.command(*lab.lake_options(), "cat", TABLE, timeout=60)
        orderly(done, "a new process without a catalogue")
        begun = time.monotonic()
        failed = env.guest.run(f"timeout 90 /bin/bash -c 'echo 6,fay,60 >> {directory}/t.csv'", 100)
        writing = time.monotonic() - begun
        assert failed.rc == 1 and b"Input/output error" in failed.err, failed
        assert env.guest.check(f"sleep 1.2; cat {directory}/t.csv").text == START
        # An outage that is over before the write gives up is only a pause.
        back = threading.Timer(1.5, redis.start)
        back.start()
        env.guest.check(f"timeout 90 /bin/bash -c 'echo 7,gus,70 >> {directory}/t.csv'", 100)
        back.join()
        lab.settle()
        got = lab.cat(TABLE).decode()
        # The append that failed was not acknowledged: it happened, or it did not.
        assert got in (START + "7,gus,70\n", APPENDED + "7,gus,70\n"), got
        assert env.guest.check(f"sleep 1.2; cat {directory}/t.csv").text == got
        env.note(
            f"Redis away: three reads in {reading:.1f} s, of which 3.6 s are pauses of the case; "
            f"a write fails after {writing:.1f} s"
        )
        lab.unmount()
        lab.stop()


@case(seconds_max=240, group="redis")
def a_redis_that_went_back_in_time_is_put_right_from_storage(env):
    """kill -9 under the persistence that Redis has by default: its last writes are gone, pointers,
    locks, counters of row ids and whole tables among them."""
    redis = Redis(env.work / "labs" / "redis_back-redis", DEFAULT).start()
    with running(redis):
        lab = env.own_lab("redis_back", catalog=redis.url).init()
        lab.load(TABLE, START, "id")
        lab.start()
        other = env.own_lab("redis_back_2", catalog=redis.url, lake=lab.lake)
        other.start()
        one, two = f"{lab.mount()}/acme/shop", f"{other.mount()}/acme/shop"
        env.guest.check(f"cat {one}/t.csv {two}/t.csv")
        assert redis.ask("SAVE").startswith(b"+OK")
        wanted = [str(i) for i in range(1, 6)]
        for round_ in range(1, 4):
            rows = range(round_ * 100, round_ * 100 + 6)
            script = "".join(f"echo {i},n,{i} >> {one}/t.csv && " for i in rows)
            env.guest.check(script + f"cp {one}/t.csv {one}/n{round_}.csv", 90)
            wanted += map(str, rows)
            redis.stop()
            redis.start()
            each_once(lab, wanted, f"round {round_}, a new process")
            for place in (one, two):
                text = env.guest.check(f"sleep 1.2; timeout 60 cat {place}/t.csv", 90).text
                assert rows_of(text) == wanted, f"round {round_}, {place}: {text}"
            made = env.guest.check(f"timeout 60 cat {one}/n{round_}.csv", 90).text
            assert rows_of(made) == wanted, f"the table made in round {round_}: {made}"
            env.guest.check(f"echo {round_}7,after,1 >> {two}/t.csv", 60)
            wanted.append(f"{round_}7")
            each_once(lab, wanted, f"round {round_}, after a commit")
        told = lab.cli("log", TABLE, "-n", "1000").out.decode()
        assert told.count("\n") >= len(wanted) - 5, told
        for each in (other, lab):
            each.unmount()
            each.stop()


@case(seconds_max=300, group="redis")
def a_failover_by_three_sentinels_loses_nothing(env):
    base = env.work / "labs" / "sentinels"
    master = Redis(base / "master", DURABLE).start()
    replica = Redis(base / "replica", DURABLE,
                    ("--replicaof", "127.0.0.1", str(master.port))).start()  # fmt: skip
    sentinels = [Sentinel(base / f"s{i}", master.port, 2) for i in range(3)]
    with running(master, replica, *sentinels):
        lab = env.own_lab("sentinel")
        addresses = ", ".join(f'"127.0.0.1:{s.port}"' for s in sentinels)
        # A first one that nobody answers on must not matter.
        addresses = f'"127.0.0.1:1", {addresses}'
        lab.config.write_text(
            lab.config.read_text()
            + f'[redis]\nsentinels = [{addresses}]\nsentinel_master = "lake"\n'
        )
        lab.extra = {"MOUNTABLE_CONFIG": str(lab.config)}
        known(sentinels, replica)
        lab.init()
        lab.load(TABLE, START, "id")
        lab.start()
        directory = f"{lab.mount()}/acme/shop"
        env.guest.check(f"cat {directory}/t.csv")
        waits = [appender(env, f"{directory}", first, 12) for first in (1000,)]
        time.sleep(3)
        master.stop()
        begun = time.monotonic()
        acknowledged, outcome = waits[0]()
        deadline = time.monotonic() + 60
        while env.guest.run(f"echo 9000,end,1 >> {directory}/t.csv", 60).rc != 0:
            assert time.monotonic() < deadline, f"no writes after the failover: {lab.log()}"
            time.sleep(0.5)
        env.note(
            f"failover by Sentinel: {len(acknowledged)} appends acknowledged around it, writes at "
            f"the latest {time.monotonic() - begun:.1f} s after the kill of the master"
        )
        assert b"role:master" in replica.ask("INFO", "replication")
        assert len(acknowledged) >= 3, outcome
        lab.settle()
        each_once(lab, [*acknowledged, "9000"], "after the failover")
        lab.unmount()
        lab.stop()


def known(sentinels, replica):
    """Waits until every Sentinel knows the replica and the other two."""
    deadline = time.monotonic() + 40
    for one in sentinels:
        while True:
            try:
                told = one.ask("SENTINEL", "MASTER", "lake").decode().split("\r\n")
                counts = {k: told[told.index(k) + 2] for k in ("num-slaves", "num-other-sentinels")}
                if counts == {"num-slaves": "1", "num-other-sentinels": "2"}:
                    break
            except (OSError, ValueError):
                pass
            assert time.monotonic() < deadline, f"the Sentinels do not meet: {replica.log()}"
            time.sleep(0.2)
