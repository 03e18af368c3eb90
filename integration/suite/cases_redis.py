"""The catalogue in Redis: the same flow, and two gateways on one lake."""

from redis_server import Redis
from runner import case
from tools import APPENDED, CHANGED, DELETED, START


def with_redis(env, name):
    """(redis, lab); the case stops redis itself or leaves it to the process namespace."""
    redis = Redis(env.work / "labs" / f"{name}-redis").start()
    lab = env.own_lab(name, catalog=redis.url).init()
    return redis, lab


@case
def the_basic_flow(env):
    redis, lab = with_redis(env, "redis_flow")
    try:
        lab.load("acme/shop/t", START, "id")
        lab.start()
        directory = f"{lab.mount()}/acme/shop"
        assert env.guest.check(f"cat {directory}/t.csv").text == START
        env.guest.check(f"echo 6,fay,60 >> {directory}/t.csv")
        lab.expect("acme/shop/t", APPENDED)
        env.guest.check(f"sed -i -e s/bob/BOB/ -e /fay/d {directory}/t.csv")
        lab.expect("acme/shop/t", CHANGED)
        bad = env.guest.run(f"echo 7,gus,x >> {directory}/t.csv")
        assert bad.rc != 0, bad
        env.guest.check(f"cp {directory}/t.csv {directory}/n.csv")
        lab.expect("acme/shop/n", CHANGED)
        env.guest.check(f"mv {directory}/n.csv {directory}/o.csv; rm {directory}/o.csv")
        lab.unmount()
        lab.stop()
    finally:
        redis.stop()


@case
def two_gateways_on_one_lake(env):
    redis, one = with_redis(env, "redis_one")
    try:
        one.load("acme/shop/t", START, "id")
        two = env.own_lab("redis_two", catalog=redis.url, lake=one.lake)
        one.start()
        two.start()
        a, b = f"{one.mount()}/acme/shop", f"{two.mount()}/acme/shop"
        env.guest.check(f"cat {a}/t.csv {b}/t.csv > /dev/null; echo 6,fay,60 >> {a}/t.csv")
        text = env.guest.check(f"sleep 1.3; cat {b}/t.csv").text
        assert text == APPENDED, text
        env.guest.check(f"sed -i /cid/d {b}/t.csv")
        text = env.guest.check(f"sleep 1.3; cat {a}/t.csv").text
        assert text == DELETED + "6,fay,60\n", text
        env.guest.check(
            f"(for i in 1 2 3 4 5 6 7 8; do echo 10$i,a,$i >> {a}/t.csv || exit 1; done) & "
            f"(for i in 1 2 3 4 5 6 7 8; do echo 20$i,b,$i >> {b}/t.csv || exit 1; done); wait $!",
            90,
        )
        ids = [line.split(",")[0] for line in one.cat("acme/shop/t").decode().splitlines()[1:]]
        wanted = {f"{k}0{i}" for k in (1, 2) for i in range(1, 9)}
        assert wanted <= set(ids), f"lost: {sorted(wanted - set(ids))}"
        assert len(ids) == len(set(ids)), ids
        for lab in (two, one):
            lab.unmount()
            lab.stop()
    finally:
        redis.stop()


@case
def a_lock_left_by_a_killed_gateway_is_released_by_the_next(env):
    redis, lab = with_redis(env, "redis_lock")
    try:
        lab.load("acme/shop/t", START, "id")
        lab.start()
        directory = f"{lab.mount()}/acme/shop"
        env.guest.check(f"cat {directory}/t.csv")
        lab.kill9()
        # What a kill in the middle of a commit leaves.
        owner = (lab.state / "lock").read_text()
        assert len(owner) == 16, owner
        key = "supertable:acme:lakes:shop:lock:leaf:doc:t"
        left = redis.ask("SET", key, f"{owner}-0000000000000000-token", "PX", "600000")
        assert left == b"+OK\r\n", left
        lab.start()
        env.guest.check(f"echo 6,fay,60 >> {directory}/t.csv", 60)
        lab.expect("acme/shop/t", APPENDED)
    finally:
        redis.stop()
