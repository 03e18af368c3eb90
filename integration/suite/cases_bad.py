"""Broken surroundings: an orderly error that names the thing, and everything else goes on."""

import os
import socket
import subprocess

from lab import GATEWAY_ADDRESS, orderly
from runner import case
from tools import APPENDED, START, large


def broken_lake(env, name):
    """A lake of two tables, t to be broken and other to stay; not served yet."""
    lab = env.own_lab(name).init()
    lab.load("acme/shop/t", large(), "id")
    lab.load("acme/shop/other", START, "id")
    return lab


def files(lab, table, suffixes):
    """The files of a table in the lake by ending."""
    found = [p for p in lab.lake.rglob("*") if p.is_file() and p.name.endswith(suffixes)]
    own = [p for p in found if f"/{table}/" in str(p)]
    assert own, f"no {suffixes} of {table} among {sorted(map(str, lab.lake.rglob('*')))[:40]}"
    return own


def right_or_error(env, lab, wanted):
    """Table t reads exactly right or fails; other tables are well; the gateway lives."""
    done = lab.command(*lab.lake_options(), "cat", "acme/shop/t")
    if done.rc:
        orderly(done, "cat of the broken table")
    else:
        assert done.out == wanted.encode(), f"wrong content: {len(done.out)} bytes, exit 0"
    lab.start()
    directory = f"{lab.mount()}/acme/shop"
    read = env.guest.run(f"cat {directory}/t.csv | sha256sum; exit ${{PIPESTATUS[0]}}", 60)
    whole = env.guest.run(f"cat {directory}/t.csv", 60)
    assert read.rc == whole.rc, (read, whole.rc)
    assert whole.rc != 0 or whole.out == wanted.encode(), f"wrong content, exit 0: {read}"
    good = env.guest.check(f"cat {directory}/other.csv").text
    assert good == START, good
    env.guest.check(f"echo 6,fay,60 >> {directory}/other.csv; ls -l {directory}")
    lab.expect("acme/shop/other", APPENDED)
    assert lab.alive(), lab.log()
    return done, whole


@case
def a_directory_that_is_no_lake(env):
    lab = env.own_lab("nolake")
    lab.lake.mkdir(parents=True)
    (lab.lake / "somebody.txt").write_text("else's file\n")
    done = lab.refused("ls")
    assert str(lab.lake).encode() in done.err or b"lake" in done.err, done
    done = lab.command(*lab.serve_words(), timeout=20)
    orderly(done, "serve of no lake")
    left = sorted(p.name for p in lab.lake.iterdir())
    assert left == ["somebody.txt"], f"files were left there: {left}"
    missing = lab.command("--lake", str(lab.base / "nothing"), "ls")
    orderly(missing, "ls of a directory that does not exist")
    assert not (lab.base / "nothing").exists(), "a lake was made by looking at it"


@case
def a_truncated_snapshot_document(env):
    lab = broken_lake(env, "snapdoc")
    for path in files(lab, "t", (".json",)):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    right_or_error(env, lab, large())


@case
def a_missing_data_file(env):
    lab = broken_lake(env, "gone")
    for path in files(lab, "t", (".parquet",)):
        path.unlink()
    done, whole = right_or_error(env, lab, large())
    assert done.rc != 0 and b"parquet" in done.err, f"the missing object is not named: {done}"
    assert whole.rc != 0, "cat through the mount worked without the data"


@case
def a_data_file_cut_short(env):
    lab = broken_lake(env, "cut")
    for path in files(lab, "t", (".parquet",)):
        os.truncate(path, path.stat().st_size // 2)
    done, whole = right_or_error(env, lab, large())
    assert done.rc != 0 and b"parquet" in done.err, f"the broken object is not named: {done}"
    assert whole.rc != 0, "cat through the mount worked with half the data"


@case
def a_data_file_with_flipped_bytes(env):
    lab = broken_lake(env, "flipped")
    for path in files(lab, "t", (".parquet",)):
        data = bytearray(path.read_bytes())
        for place in range(len(data) // 4, len(data) // 4 + 64):
            data[place] ^= 0xFF
        path.write_bytes(data)
    right_or_error(env, lab, large())


@case
def data_that_breaks_while_it_is_served(env):
    lab = broken_lake(env, "later")
    lab.start()
    directory = f"{lab.mount()}/acme/shop"
    env.guest.check(f"head -1 {directory}/t.csv {directory}/other.csv")
    for path in files(lab, "t", (".parquet",)):
        path.unlink()
    env.guest.drop_caches()
    env.guest.run(f"timeout 30 cat {directory}/t.csv > /dev/null", 40)
    assert env.guest.check(f"cat {directory}/other.csv").text == START
    assert lab.alive(), lab.log()


@case
def a_port_that_is_taken(env):
    lab = env.own_lab("port").init()
    with socket.socket() as holder:
        holder.bind((GATEWAY_ADDRESS, lab.port))
        holder.listen()
        done = lab.command(*lab.serve_words(), timeout=20)
    orderly(done, "serve on a taken port")
    assert str(lab.port).encode() in done.err, f"the address is not named: {done}"


@case
def two_gateways_with_one_state_directory(env):
    lab = env.own_lab("state_one").init().start()
    twin = env.own_lab("state_two", lake=lab.lake, state=lab.state)
    done = twin.command(*twin.serve_words(), timeout=20)
    orderly(done, "serve with a state directory in use")


@case
def other_machines_need_an_export(env):
    lab = env.own_lab("exports").init()
    lab.config.write_text("")
    words = lab.serve_words()
    try:
        done = lab.command(*words, timeout=5)
        orderly(done, "serve for everybody without exports")
    except AssertionError as error:
        # Serving is fine too as long as nobody outside can mount.
        if "still runs" not in str(error):
            raise
        lab.start()
        tried = lab.try_mount(f"{env.guest.scratch}/exports")
        assert tried.rc != 0, "a machine outside the exports could mount"


@case
def a_catalogue_that_is_down(env):
    lab = env.own_lab("nocat", catalog="redis://127.0.0.1:9/0")
    lab.lake.mkdir(parents=True)
    done = lab.command(*lab.lake_options(), "ls", timeout=60)
    orderly(done, "ls without a catalogue")
    assert b"redis" in done.err.lower() or b"127.0.0.1:9" in done.err, done
    done = lab.command(*lab.serve_words(), timeout=60)
    orderly(done, "serve without a catalogue")


@case
def names_that_are_not_allowed(env):
    lab = env.lab
    for place in ("acme/shop/Bad-Name", "acme/shop/a b", "acme/../etc/t", "acme/shop", "x/y/z/w"):
        done = lab.refused("create", place, "--columns", "id:int64,t:nosuchtype")
        assert done.rc > 0
    lab.refused("cat", "acme/shop/nosuchtable")
    lab.refused("nosuchverb")
    lab.refused("load", "acme/shop/t", "/nonexistent/file.csv")


@case
def a_bad_configuration_file(env):
    lab = env.own_lab("config").init()
    lab.config.write_text("no_such_setting = 1\n")
    orderly(lab.command(*lab.serve_words(), timeout=20), "unknown setting")
    lab.config.write_text("this is not toml [[[")
    done = lab.command(*lab.serve_words(), timeout=20)
    orderly(done, "broken TOML")
    assert str(lab.config).encode() in done.err or b"config.toml" in done.err, done


def small_disk(path, megabytes):
    """A tmpfs that is soon full (ends with the mount namespace of the suite)."""
    path.mkdir(parents=True, exist_ok=True)
    size = f"size={megabytes}m"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(path)], check=True)


@case
def a_full_state_disk(env):
    lab = env.own_lab("fullstate").init()
    lab.load("acme/shop/t", START, "id")
    small_disk(lab.state, 8)
    lab.start()
    directory = f"{lab.mount()}/acme/shop"
    (env.guest.share / "wide.csv").write_text(
        "id,name,qty\n" + "".join(f"{i},{'x' * 400},{i}\n" for i in range(50_000))
    )
    done = env.guest.run(f"cp $SHARE/wide.csv {directory}/t.csv", 90)
    assert done.rc != 0, f"20 MB were taken by a disk of 8: {done}"
    assert lab.cat("acme/shop/t") == START.encode()
    assert lab.alive(), lab.log()
    env.guest.run(f"cp $SHARE/wide.csv {directory}/t.tmp; rm -f {directory}/t.tmp", 90)
    env.guest.check(f"sleep 1.1; echo 6,fay,60 >> {directory}/t.csv", 90)
    lab.expect("acme/shop/t", APPENDED)
    env.note(f"full state disk: cp said {done.err[-120:]!r}")
    lab.unmount()
    lab.stop()
    subprocess.run(["umount", str(lab.state)], check=False)


@case
def a_full_lake_disk(env):
    lab = env.own_lab("fulllake")
    small_disk(lab.lake, 24)
    lab.init()
    lab.load("acme/shop/t", START, "id")
    lab.start()
    directory = f"{lab.mount()}/acme/shop"
    filler = lab.lake / "filler"
    with open(filler, "wb") as out:
        try:
            while True:
                out.write(b"x" * 65536)
                out.flush()
        except OSError:
            pass
    done = env.guest.run(f"sed -i s/bob/BOB/ {directory}/t.csv", 60)
    assert done.rc != 0, f"saved to a full disk: {done}"
    assert env.guest.check(f"sleep 1.1; cat {directory}/t.csv").text == START
    assert lab.alive(), lab.log()
    filler.unlink()
    env.guest.check(f"echo 6,fay,60 >> {directory}/t.csv", 60)
    lab.expect("acme/shop/t", APPENDED)
    env.note(f"full lake disk: sed -i said {done.err[-120:]!r}")
    lab.unmount()
    lab.stop()
    subprocess.run(["umount", str(lab.lake)], check=False)
