"""What operators do: checks, a lost catalogue, another catalogue, old versions, the doctor."""

import json
import subprocess

from redis_server import Redis
from runner import case
from tools import APPENDED, CHANGED, START


def redis_cli(redis, *words):
    """A command of Redis itself."""
    done = subprocess.run(
        ["redis-cli", "-p", str(redis.port), *words], capture_output=True, text=True, timeout=20
    )
    assert done.returncode == 0, done
    return done.stdout.strip()


def report(lab, *words):
    """The findings of a check that are worth acting on, by (check, severity)."""
    done = lab.command(*lab.lake_options(), "fsck", "--json", *words, timeout=120)
    assert done.rc in (0, 1), done
    found = [f for f in json.loads(done.out)["findings"] if f["severity"] != "note"]
    assert done.rc == any(f["severity"] == "error" for f in found), done
    return sorted((f["check"], f["severity"]) for f in found)


def lived(lab, name="acme/shop/t"):
    """A table with a past: loaded, edited below the mount, one more dropped; its directory."""
    lab.load(name, START, "id")
    lab.load("acme/shop/gone", START, "id")
    lab.start()
    directory = f"{lab.mount()}/acme/shop"
    lab.env.guest.check(f"echo 6,fay,60 >> {directory}/t.csv")
    lab.expect(name, APPENDED)
    lab.env.guest.check(f"sed -i -e s/bob/BOB/ -e /fay/d {directory}/t.csv")
    lab.expect(name, CHANGED)
    lab.cli("drop", "--yes", "acme/shop/gone")
    return directory


def past(lab, name="acme/shop/t"):
    """History, text and trash."""
    log = json.loads(lab.cli("log", name, "-n", "1000", "--json").out)
    trash = json.loads(lab.cli("restore", "acme/shop", "--json").out)
    return log, lab.cat(name), trash


@case(seconds_max=120)
def a_flushed_redis_is_rebuilt_below_a_serving_gateway(env):
    redis = Redis(env.work / "labs" / "ops_flush-redis").start()
    lab = env.own_lab("ops_flush", catalog=redis.url).init()
    try:
        directory = lived(lab)
        before = past(lab)
        assert report(lab, "--deep") == []
        redis_cli(redis, "FLUSHALL")
        assert ("pointer", "error") in report(lab)
        plan = lab.cli("fsck", "--rebuild", "--dry-run").out
        assert b"would be named" in plan, plan
        lab.cli("fsck", "--rebuild")
        assert past(lab) == before
        assert report(lab, "--deep") == []
        # The gateway that served all the time goes on, and so do its clients.
        text = env.guest.check(f"sleep 2; cat {directory}/t.csv").text
        assert text == CHANGED, text
        env.guest.check(f"echo 8,hal,80 >> {directory}/t.csv")
        lab.expect("acme/shop/t", CHANGED + "8,hal,80\n")
        lab.cli("restore", "acme/shop", before[2][0])
        assert lab.cat("acme/shop/gone").decode() == START
        lab.unmount()
        lab.stop()
    finally:
        redis.stop()


@case(seconds_max=120)
def a_deleted_catalogue_file_is_rebuilt(env):
    lab = env.own_lab("ops_deleted").init()
    lived(lab)
    before = past(lab)
    lab.unmount()
    lab.stop()
    for file in (lab.lake / ".mountable").glob("catalog.sqlite*"):
        file.unlink()
    assert ("pointer", "error") in report(lab)
    lab.cli("fsck", "--rebuild")
    assert past(lab) == before
    assert report(lab, "--deep") == []
    lab.start()
    directory = f"{lab.mount()}/acme/shop"
    assert env.guest.check(f"cat {directory}/t.csv").text == CHANGED
    lab.unmount()
    lab.stop()


@case(seconds_max=120)
def a_lake_moves_to_redis_and_back_with_open_mounts_of_the_new_gateway(env):
    redis = Redis(env.work / "labs" / "ops_move-redis").start()
    lab = env.own_lab("ops_move").init()
    try:
        lived(lab)
        before = past(lab)
        lab.unmount()
        lab.stop()
        export = lab.base / "export.jsonl"
        lab.cli("catalog", "export", export)
        lab.catalog = redis.url
        lab.cli("catalog", "import", export)
        assert past(lab) == before
        lab.start()
        directory = f"{lab.mount()}/acme/shop"
        env.guest.check(f"echo 8,hal,80 >> {directory}/t.csv")
        lab.expect("acme/shop/t", CHANGED + "8,hal,80\n")
        lab.unmount()
        lab.stop()
        back = lab.base / "back.jsonl"
        lab.cli("catalog", "export", back)
        lab.catalog = str(lab.base / "again.sqlite")
        lab.cli("catalog", "import", back)
        assert lab.cat("acme/shop/t").decode() == CHANGED + "8,hal,80\n"
        assert report(lab, "--deep") == []
    finally:
        redis.stop()


@case
def damage_is_named_with_a_remedy(env):
    lab = env.own_lab("ops_damage").init()
    lab.load("acme/shop/t", START, "id")
    lab.load("acme/shop/u", START, "id")
    (data,) = (lab.lake / "acme/shop/tables/t").glob("data/**/*.parquet")
    data.write_bytes(data.read_bytes()[:-1])
    assert ("data-file", "error") in report(lab)
    assert report(lab, "acme/shop/u") == []
    text = lab.command(*lab.lake_options(), "fsck").out.decode()
    assert data.name in text and "what to do" in text, text


@case
def an_old_version_is_restored_and_compared(env):
    lab = env.own_lab("ops_versions").init()
    directory = lived(lab)
    newest = json.loads(lab.cli("log", "acme/shop/t", "--json").out)[0]["version"]
    diff = lab.cli("diff", "acme/shop/t~1", "acme/shop/t").out.decode().splitlines()
    assert diff[0].startswith("_op,id"), diff
    assert sorted(line[:3] for line in diff[1:]) == ["+,2", "-,2", "-,6"], diff
    assert lab.cat("acme/shop/t~1").decode() == APPENDED
    lab.cli("restore", "acme/shop/t", "--to", "~1")
    lab.expect("acme/shop/t", APPENDED)
    text = env.guest.check(f"sleep 2; cat {directory}/t.csv").text
    assert text == APPENDED, text
    log = json.loads(lab.cli("log", "acme/shop/t", "--json").out)
    assert (log[0]["version"], log[0]["operation"]) == (newest + 1, "restore"), log[0]
    assert report(lab, "--deep") == []
    lab.unmount()
    lab.stop()


@case
def the_doctor_sees_redis_storage_and_mounts(env):
    redis = Redis(env.work / "labs" / "ops_doctor-redis").start()
    lab = env.own_lab("ops_doctor", catalog=redis.url).init()
    try:
        done = lab.cli("doctor", "--json")
        checks = {f["check"]: f["severity"] for f in json.loads(done.out)}
        assert checks["create-only"] == "note" and "catalogue" in checks, checks
        redis_cli(redis, "CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        done = lab.command(*lab.lake_options(), "doctor", "--json")
        found = [f for f in json.loads(done.out) if f["check"] == "eviction"]
        assert done.rc == 1 and found[0]["severity"] == "error", done
        assert "noeviction" in found[0]["remedy"], found
        redis.stop()
        done = lab.command(*lab.lake_options(), "doctor", "--json", timeout=60)
        assert done.rc == 1, done
        found = [f for f in json.loads(done.out) if f["severity"] == "error"]
        assert [f["check"] for f in found] == ["catalogue"], found
    finally:
        redis.stop()


@case
def a_lake_is_backed_up_below_a_serving_gateway_and_restored(env):
    lab = env.own_lab("ops_backup").init()
    directory = lived(lab)
    place = lab.base / "backups"
    lab.cli("backup", "full", place)
    env.guest.check(f"echo 8,hal,80 >> {directory}/t.csv")
    lab.expect("acme/shop/t", CHANGED + "8,hal,80\n")
    done = json.loads(lab.cli("backup", "incremental", place, "--json").out)
    assert 0 < done["new_objects"] < done["objects"], done
    told = json.loads(lab.cli("backup", "verify", place, "--json").out)
    assert [b["kind"] for b in told["backups"]] == ["full", "incremental"], told
    before = past(lab)
    lab.unmount()
    lab.stop()
    new = env.own_lab("ops_backup_restored")
    new.cli("backup", "restore", place, "--into", new.lake)
    assert past(new) == before
    assert report(new, "--deep") == []
