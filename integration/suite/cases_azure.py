"""The lake in a container of Azure Blob Storage, as an emulator has it (Azurite)."""

import hashlib
import random
import threading

from azure_lab import ACCOUNT, CONTAINER, KEY, azure_lab, container
from cases_s3 import rows_once
from lab import Lab
from redis_server import DURABLE
from runner import case
from tools import APPENDED, CHANGED, START

TABLE = "acme/shop/t"
# More than one block of 5 MiB: random digits shrink to half.
LARGE_ROWS = 60_000


@case(seconds_max=150)
def the_basic_flow(env):
    with container(env, "azure_flow") as (azure, redis):
        lab = azure_lab(env, "azure_flow", azure, redis).init()
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
        env.guest.check(f"cp {directory}/t.csv {directory}/n.csv")
        lab.kill9()
        lab.start()
        assert env.guest.check(f"cat {directory}/n.csv").text == CHANGED
        env.guest.check(f"rm {directory}/n.csv")
        assert lab.settle().rc == 0
        assert lab.cat(f"{TABLE}@1").decode() == START, "an old version"
        told = lab.cli("doctor").out.decode()
        assert "create-only puts are honoured" in told, told
        assert "0 errors" in lab.cli("fsck").out.decode()
        lab.unmount()
        lab.stop()


@case(seconds_max=150)
def the_names_of_the_python_library_are_understood(env):
    """The same container by STORAGE_TYPE and its relatives, and by the variables of Azure."""
    with container(env, "azure_names") as (azure, redis):
        first = azure_lab(env, "azure_names", azure, redis).init()
        first.load(TABLE, START, "id")
        bare = Lab(env, "azure_python", catalog=redis.url)
        env.labs.append(bare)
        python = {
            "STORAGE_TYPE": "AZURE",
            "STORAGE_BUCKET": CONTAINER,
            "SUPERTABLE_PREFIX": first.prefix,
            "STORAGE_ENDPOINT_URL": azure.endpoint,
            "STORAGE_ACCESS_KEY": ACCOUNT,
            "STORAGE_SECRET_KEY": KEY,
        }
        native = {
            "MOUNTABLE_LAKE": first.lake,
            "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
            "AZURE_STORAGE_ACCOUNT_KEY": KEY,
            "AZURE_STORAGE_ENDPOINT": azure.endpoint,
            "AZURE_ALLOW_HTTP": "true",
        }
        for names in (python, native):
            bare.extra = names
            done = bare.command("cat", "--catalog", redis.url, TABLE)
            assert done.rc == 0 and done.out.decode() == START, (sorted(names), done)


@case(seconds_max=150)
def one_of_two_writers_makes_the_next_snapshot(env):
    """Each process has a catalogue of its own, so only the container can tell them that the name
    of the next snapshot is taken."""
    with container(env, "azure_bare", DURABLE) as (azure, redis):
        first = azure_lab(env, "azure_bare", azure, redis).init()
        first.load(TABLE, START, "id")
        other = redis.copy(redis.base.parent / "azure-other-redis").start()
        try:
            second = azure_lab(env, "azure_bare_2", azure, other, first.prefix)
            for turn in range(4):
                threads = [
                    threading.Thread(target=lab.load, args=(TABLE, f"id,name,qty\n{row},x,1\n"))
                    for lab, row in ((first, 100 + turn), (second, 200 + turn))
                ]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
            first.load(TABLE, "id,name,qty\n300,x,1\n")
            rows_once(first, [str(n) for n in (*range(100, 104), *range(200, 204), 300)])
        finally:
            other.stop()


@case(seconds_max=150)
def a_large_table_is_sent_in_blocks(env):
    with container(env, "azure_large") as (azure, redis):
        options = {"part_bytes": "5MiB"}
        lab = azure_lab(env, "azure_large", azure, redis, options=options).init()
        noise = random.Random(7)
        text = "id,noise\n" + "".join(
            f"{i},{noise.randbytes(128).hex()}\n" for i in range(LARGE_ROWS)
        )
        lab.load(TABLE, text)
        lab.start()
        got = env.guest.check(f"sha256sum < {lab.mount()}/acme/shop/t.csv", 90).text.split()[0]
        assert got == hashlib.sha256(text.encode()).hexdigest(), "the text differs"
        lab.unmount()
        lab.stop()
