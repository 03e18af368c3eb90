"""The lake in a bucket: a server of the S3 protocol with conditional put, alone and misbehaving."""

import hashlib
import random
import threading
import time

from lab import difference, orderly
from redis_server import DURABLE
from runner import case
from s3_lab import ACCESS_KEY, BUCKET, SECRET_KEY, bucket, s3_lab
from tools import APPENDED, CHANGED, DELETED, START

TABLE = "acme/shop/t"
# Random digits shrink to half: more than 5 MiB of Parquet, in two parts.
LARGE_ROWS = 60_000


def kinds(s3, *ends):
    """How often each kind of request came for keys with one of these ends (all without)."""
    counts = {}
    for what, key in s3.requests():
        if not ends or key.endswith(ends):
            counts[what] = counts.get(what, 0) + 1
    return counts


@case
def the_basic_flow(env):
    with bucket(env, "s3_flow") as (s3, redis):
        lab = s3_lab(env, "s3_flow", s3, redis).init()
        lab.load(TABLE, START, "id")
        lab.start()
        directory = f"{lab.mount()}/acme/shop"
        assert env.guest.check(f"cat {directory}/t.csv").text == START
        env.guest.check(f"echo 6,fay,60 >> {directory}/t.csv")
        lab.expect(TABLE, APPENDED)
        env.guest.check(f"sed -i -e s/bob/BOB/ -e /fay/d {directory}/t.csv")
        lab.expect(TABLE, CHANGED)
        bad = env.guest.run(f"echo 7,gus,x >> {directory}/t.csv")
        assert bad.rc != 0, bad
        told = env.guest.check(f"cat {directory}/t/last-error.txt").text
        assert "Value: x" in told, told
        env.guest.check(f"cp {directory}/t.csv {directory}/n.csv")
        lab.expect("acme/shop/n", CHANGED)
        lab.kill9()
        lab.start()
        assert env.guest.check(f"cat {directory}/n.csv").text == CHANGED
        env.guest.check(f"mv {directory}/n.csv {directory}/o.csv; rm {directory}/o.csv")
        assert lab.settle().rc == 0
        listed = lab.cli("ls", "acme/shop").out.decode()
        assert "t" in listed and "/o" not in listed and "/n" not in listed, listed
        assert lab.cat(f"{TABLE}@1").decode() == START, "an old version"
        keys = {key for _, key in s3.requests()}
        outside = [key for key in keys if not key.startswith(f"/{BUCKET}/{lab.prefix}/")]
        assert not outside, f"requests outside of the prefix: {outside[:5]}"
        lab.unmount()
        lab.stop()


@case(seconds_max=150)
def a_killed_gateway_loses_and_doubles_nothing(env):
    with bucket(env, "s3_kill") as (s3, redis):
        lab = s3_lab(env, "s3_kill", s3, redis).init()
        lab.load(TABLE, START, "id")
        lab.start()
        directory = f"{lab.mount()}/acme/shop"
        box = []
        script = f"for i in $(seq 100 130); do echo $i,n,$i >> {directory}/t.csv && echo $i; done"
        thread = threading.Thread(target=lambda: box.append(env.guest.run(script, 120)))
        thread.start()
        for _ in range(4):
            time.sleep(0.8)
            lab.kill9()
            lab.start()
        thread.join()
        acknowledged = box[0].text.split()
        assert len(acknowledged) >= 25, box[0]
        lab.settle()
        rows_once(lab, acknowledged)
        lab.unmount()
        lab.stop()


def rows_once(lab, acknowledged):
    """Every acknowledged row is there, and none twice."""
    ids = [line.split(",")[0] for line in lab.cat(TABLE).decode().splitlines()[1:]]
    lost = sorted(set(acknowledged) - set(ids))
    assert not lost, f"acknowledged and lost: {lost}"
    assert len(ids) == len(set(ids)), f"twice: {sorted(i for i in set(ids) if ids.count(i) > 1)}"


@case(seconds_max=150)
def two_gateways_race_and_one_put_wins(env):
    with bucket(env, "s3_race") as (s3, redis):
        one = s3_lab(env, "s3_race_1", s3, redis).init()
        one.load(TABLE, START, "id")
        two = s3_lab(env, "s3_race_2", s3, redis, one.prefix)
        one.start()
        two.start()
        places = [f"{lab.mount()}/acme/shop/t.csv" for lab in (one, two)]
        s3.control(forget=True, delay=0.02)
        # A handle that another gateway's commit made old fails an append; then it is done again.
        done = env.guest.check(
            "".join(
                f"(for i in $(seq {first} {first + 7}); do for turn in 1 2 3 4 5 6; do "
                f"echo $i,w,$i >> {place} && echo $i && break; done; done) & "
                for first, place in ((100, places[0]), (200, places[0]), (300, places[1]),
                                     (400, places[1]))
            ) + "wait",
            100,
        )  # fmt: skip
        acknowledged = done.text.split()
        # Some give up: an append fails as long as others keep making its handle old.
        refused = done.err.count(b"Stale file handle")
        env.note(f"2 gateways, 4 appenders: {len(acknowledged)} of 32, {refused} stale handles")
        assert len(acknowledged) >= 16, done
        rows_once(one, acknowledged)
        # Locks aside: writers that never met all want to be the one that makes the table.
        makers = [f"acme/shop/made{n}" for n in range(3)]
        won = {name: [] for name in makers}

        def make(lab, name):
            words = [*lab.lake_options(), "create", name, "--columns", "id:int64"]
            won[name].append(lab.command(*words).rc == 0)

        threads = [threading.Thread(target=make, args=(lab, name))
                   for name in makers for lab in (one, two)]  # fmt: skip
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(sorted(outcome) == [False, True] for outcome in won.values()), won
        for lab in (two, one):
            lab.unmount()
            lab.stop()


@case
def a_bare_race_for_one_name_has_one_winner(env):
    """The condition itself, without Redis and its locks: each process has a catalogue of its own,
    so only the bucket can tell them that the name of the next snapshot is taken."""
    with bucket(env, "s3_bare", DURABLE) as (s3, redis):
        first = s3_lab(env, "s3_bare", s3, redis).init()
        first.load(TABLE, START, "id")
        other = redis.copy(redis.base.parent / "other-redis").start()
        try:
            second = s3_lab(env, "s3_bare_2", s3, other, first.prefix)
            s3.control(forget=True, delay=0.1)
            threads = [
                threading.Thread(target=lab.load, args=(TABLE, f"id,name,qty\n{row},x,1\n"))
                for lab, row in ((first, 100), (second, 200))
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            # Both were acknowledged, both read the same: the loser built upon the winner.
            texts = [lab.cat(TABLE).decode() for lab in (first, second)]
            first.load(TABLE, "id,name,qty\n300,x,1\n")
            ids = [line.split(",")[0] for line in first.cat(TABLE).decode().splitlines()[1:]]
            assert {"100", "200", "300"} <= set(ids) and len(set(ids)) == len(ids), (ids, texts)
        finally:
            other.stop()


@case
def reading_lists_nothing(env):
    with bucket(env, "s3_count") as (s3, redis):
        lab = s3_lab(env, "s3_count", s3, redis).init()
        lab.load(TABLE, START, "id")
        for n in range(6, 9):
            lab.load(TABLE, f"id,name,qty\n{n},x,{n}\n")
        lab.start()
        directory = f"{lab.mount()}/acme/shop"
        s3.control(forget=True)
        # A listing tells the pointer; the first look at it when that is too old goes to the end of
        # the chain, once for each connection to the catalogue.
        look = f"cat {directory}/t.csv; tail -1 {directory}/t.csv"
        env.guest.check(f"ls -l {directory}; {look}; sleep 1.2; {look}")
        cold = kinds(s3)
        assert cold and set(cold) <= {"GET", "HEAD"}, cold
        s3.control(forget=True)
        env.guest.drop_caches()
        env.guest.check(f"sleep 1.2; cat {directory}/t.csv; ls -l {directory}")
        warm = s3.requests()
        assert not warm, f"a warm read asked the store: {warm}"
        s3.control(forget=True)
        env.guest.check(f"echo 9,x,9 >> {directory}/t.csv")
        append = kinds(s3)
        env.note(f"S3 requests: first read of 4 files {cold}, warm read 0, append {append}")
        assert "LIST" not in append and append["PUT"] <= 3, append
        lab.unmount()
        lab.stop()


@case
def a_server_that_ignores_conditions_is_refused(env):
    with bucket(env, "s3_careless") as (s3, redis):
        lab = s3_lab(env, "s3_careless", s3, redis)
        s3.control(ignore_conditions=True)
        done = lab.refused("init", str(lab.lake))
        assert b"If-None-Match" in done.err, done
        s3.control(ignore_conditions=False)
        lab.init()
        lab.load(TABLE, START, "id")
        s3.control(ignore_conditions=True)
        done = lab.refused("load", TABLE, lab.base / "load-acme-shop-t.csv")
        assert b"If-None-Match" in done.err, done
        done = lab.command(*lab.serve_words(), timeout=30)
        orderly(done, "serve on a careless store")
        assert b"If-None-Match" in done.err, done
        assert lab.cat(TABLE).decode() == START, "reading is fine"


@case
def credentials_and_transport_come_from_where_people_have_them(env):
    with bucket(env, "s3_names") as (s3, redis):
        lab = s3_lab(env, "s3_names", s3, redis).init()
        lab.load(TABLE, START, "id")
        library = {
            "STORAGE_TYPE": "MINIO",
            "STORAGE_ENDPOINT_URL": s3.endpoint,
            "STORAGE_ACCESS_KEY": ACCESS_KEY,
            "STORAGE_SECRET_KEY": SECRET_KEY,
            "STORAGE_BUCKET": BUCKET,
            "STORAGE_REGION": "us-east-1",
            "STORAGE_FORCE_PATH_STYLE": "true",
            "SUPERTABLE_PREFIX": lab.prefix,
            "SUPERTABLE_REDIS_HOST": "127.0.0.1",
            "SUPERTABLE_REDIS_PORT": str(redis.port),
        }
        amazon = {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": s3.endpoint,
            "AWS_ALLOW_HTTP": "true",
        }
        # Nothing from the file any more.
        lab.options = {}
        lab.write_config()
        lab.extra = library
        done = lab.command("cat", TABLE)
        assert done.rc == 0 and done.out.decode() == START, f"the library's names: {done}"
        lab.extra = amazon
        assert lab.cat(TABLE).decode() == START, "the cloud's own names"
        lab.extra = {**amazon, "AWS_ALLOW_HTTP": ""}
        assert b"storage.allow_http" in lab.refused("cat", TABLE).err
        lab.extra = {k: v for k, v in amazon.items() if "KEY" not in k} | lab.profile("work")
        assert lab.cat(TABLE).decode() == START, "a profile of the shared file"
        for wrong in ({"AWS_SECRET_ACCESS_KEY": "other"}, {"AWS_ACCESS_KEY_ID": "OTHER"}):
            lab.extra = {**amazon, **wrong}
            done = lab.refused("cat", TABLE)
            assert done.seconds < 10 and SECRET_KEY.encode() not in done.err, done
        shown = lab.command("config", "show").out
        assert SECRET_KEY.encode() not in shown, shown


@case(seconds_max=150)
def errors_of_the_store_are_waited_out_or_told(env):
    with bucket(env, "s3_errors") as (s3, redis):
        options = {"retry_timeout": "3s", "timeout": "2s", "connect_timeout": "1s"}
        lab = s3_lab(env, "s3_errors", s3, redis, options=options).init()
        lab.load(TABLE, START, "id")
        lab.start()
        directory = f"{lab.mount()}/acme/shop"
        env.guest.check(f"cat {directory}/t.csv")
        s3.control(fail=3)
        env.guest.check(f"echo 6,fay,60 >> {directory}/t.csv")
        # Carried out, but the answer is an error: the commit finds its own snapshot.
        for row, lose in ((7, 1), (8, 2), (9, 5)):
            s3.control(lose=lose)
            env.guest.check(f"echo {row},lost,{row} >> {directory}/t.csv")
            s3.control(lose=0)
        text = APPENDED + "".join(f"{n},lost,{n}\n" for n in (7, 8, 9))
        assert lab.cat(TABLE).decode() == text, difference(lab.cat(TABLE), text.encode())
        s3.control(fail=10**6)
        begun = time.monotonic()
        done = env.guest.run(f"timeout 60 bash -c 'echo 10,x,1 >> {directory}/t.csv'", 70)
        seconds = time.monotonic() - begun
        assert done.rc == 1 and "Input/output error" in str(done), f"{done} after {seconds:.1f} s"
        assert env.guest.check(f"cat {directory}/t.csv").text.startswith(text), "known snapshots"
        s3.control(fail=0)
        env.guest.check(f"echo 11,back,1 >> {directory}/t.csv")
        lab.settle()
        got = lab.cat(TABLE).decode()
        # The refused append happened, or it did not; the next one is there in any case.
        assert got in (text + "11,back,1\n", text + "10,x,1\n11,back,1\n"), got
        env.note(f"append to a store that answers 503 only: EIO after {seconds:.1f} s")
        lab.unmount()
        lab.stop()


@case(seconds_max=150)
def a_large_table_is_sent_in_parts(env):
    with bucket(env, "s3_large") as (s3, redis):
        lab = s3_lab(env, "s3_large", s3, redis, options={"part_bytes": "5MiB"}).init()
        noise = random.Random(7)
        text = "id,noise\n" + "".join(
            f"{i},{noise.randbytes(128).hex()}\n" for i in range(LARGE_ROWS)
        )
        s3.control(forget=True)
        lab.load(TABLE, text)
        counts = kinds(s3, "_data.parquet")
        assert counts.get("PART", 0) >= 2 and counts["POST upload"] >= 2, counts
        assert counts["PART"] * (5 << 20) < 3 * len(text), counts
        lab.start()
        got = env.guest.check(f"sha256sum < {lab.mount()}/acme/shop/t.csv", 90).text.split()[0]
        assert got == hashlib.sha256(text.encode()).hexdigest(), "the text differs"
        assert lab.cat(TABLE, timeout=90) == text.encode()
        lab.unmount()
        lab.stop()
