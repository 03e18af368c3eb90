"""Branches as directories: made, written, merged, dropped; unseen by the Python library."""

import json
import subprocess

from cases_python import HERE, both
from fuse_lab import fuse_env
from runner import case
from tools import START


def lived(env, name):
    """A mounted table of five rows with a key; its lab and its directory."""
    lab = env.own_lab(f"branches_{name}").init()
    lab.load("acme/shop/t", START, "id")
    lab.start()
    return lab, f"{lab.mount()}/acme/shop"


def keys(library):
    """Names of all keys of the catalogue."""
    words = ["redis-cli", "-p", str(library.redis_port), "--scan"]
    return set(subprocess.run(words, capture_output=True, check=True).stdout.decode().split())


def sound(lab):
    done = lab.cli("fsck", "--deep", "--json", timeout=120)
    found = [f for f in json.loads(done.out)["findings"] if f["severity"] != "note"]
    assert found == [], found


def shows(env, path, expected):
    """Waits until a client reads this text: what other programs commit shows after a second."""
    env.guest.check(f"for i in $(seq 300); do cat {path} > {env.guest.scratch}/is.txt; "
                    f"cmp -s {env.guest.scratch}/is.txt - <<'END' && exit 0\n{expected}END\n"
                    f"sleep 0.1; done; cat {env.guest.scratch}/is.txt; exit 1")  # fmt: skip


def story(env, name):
    """Saves of several kinds on a branch, on any mount."""
    lab, directory = lived(env, name)
    branch = f"{directory}/.branches/dev"
    env.guest.check(f"mkdir {branch} && ls {directory}/.branches | grep -qx dev")
    env.guest.check(f"! ls -A {directory} | grep -q branches")
    env.guest.check(f"cmp {branch}/t.csv {directory}/t.csv")
    env.guest.check(f"echo 6,fay,60 >> {branch}/t.csv")
    env.guest.check(f"sed -i -e /cid/d -e s/dee/DEE/ {branch}/t.csv")
    env.guest.check(f"printf 'a,b\\n1,x\\n' > {env.guest.scratch}/new.csv; "
                    f"cp {env.guest.scratch}/new.csv {branch}/new.csv")  # fmt: skip
    lab.settle()
    lines = START.splitlines(keepends=True)
    changed = "".join(line.replace("dee", "DEE") for line in lines if "cid" not in line)
    changed += "6,fay,60\n"
    assert lab.cat("acme/shop@dev/t").decode() == changed
    assert lab.cat("acme/shop@dev/new") == b"a,b\n1,x\n"
    assert lab.cat("acme/shop/t").decode() == START, "the SuperTable stays as it was"
    env.guest.check(f"test ! -e {directory}/new.csv")
    env.guest.check(f"cat {branch}/t/.at/1/t.csv | cmp - {directory}/t.csv")
    env.guest.check(f"grep -q ',branch,' {branch}/t/history.csv")
    return lab, directory, branch, changed


@case
def a_branch_is_a_directory_of_tables_of_its_own(env):
    lab, directory, branch, changed = story(env, "tables")
    # A refused save says so on the branch as it does elsewhere.
    env.guest.check(f"! echo 7,gus,many >> {branch}/t.csv")
    env.guest.check(f"grep -q MNT-1203 {branch}/t/last-error.txt")
    # A table of a branch keeps its name: mv copies it.
    env.guest.check(f"mv {branch}/new.csv {branch}/newer.csv")
    lab.settle()
    assert lab.cat("acme/shop@dev/newer") == b"a,b\n1,x\n"
    assert lab.refused("cat", "acme/shop@dev/new").rc == 3
    done = lab.cli("merge", "acme/shop", "dev")
    assert b"t merged: 1 rows added, 1 changed, 1 removed" in done.err, done
    assert b"newer made: 1 rows added" in done.err, done
    shows(env, f"{directory}/t.csv", changed)
    shows(env, f"{directory}/newer.csv", "a,b\n1,x\n")
    # The gateway starts again: the branch is there, also for handles and for its trash.
    lab.stop()
    lab.start()
    env.guest.check(f"grep -q fay {branch}/t.csv; ls {branch}/.trash | grep -q new_")
    sound(lab)


@case
def rmdir_drops_what_was_merged_and_nothing_else(env):
    lab, directory = lived(env, "rmdir")
    branch = f"{directory}/.branches/dev"
    env.guest.check(f"mkdir {branch} && rmdir {branch} && test ! -e {branch}")
    env.guest.check(f"mkdir {branch} && echo 6,fay,60 >> {branch}/t.csv")
    refused = env.guest.run(f"rmdir {branch}")
    assert refused.rc != 0 and b"not empty" in refused.err, refused
    assert lab.cat("acme/shop@dev/t").decode() == START + "6,fay,60\n"
    lab.cli("merge", "acme/shop", "dev")
    env.guest.check(f"rmdir {branch} && test ! -e {branch}/t.csv && ! ls {branch}")
    assert lab.cat("acme/shop/t").decode() == START + "6,fay,60\n"
    assert lab.refused("cat", "acme/shop@dev/t").rc == 3
    # The name again has nothing of the earlier branch.
    env.guest.check(f"mkdir {branch} && cmp {branch}/t.csv {directory}/t.csv")
    env.guest.check(f"! mkdir {directory}/.branches/main && ! mkdir {directory}/.branches/Dev")
    env.guest.check(f"! touch {directory}/.branches/file && ! mkdir {branch}/.branches/x")
    sound(lab)


@case
def the_same_over_fuse(env):
    fuse = fuse_env(env)
    lab, directory, branch, changed = story(fuse, "fuse")
    refused = fuse.guest.run(f"rmdir {branch}")
    assert refused.rc != 0 and b"not empty" in refused.err, refused
    lab.cli("merge", "acme/shop", "dev")
    shows(fuse, f"{directory}/t.csv", changed)
    fuse.guest.check(f"rmdir {branch} && test ! -e {branch}")
    sound(lab)


@case
def a_transaction_is_looked_at_tested_and_committed(env):
    lab, directory = lived(env, "tx")
    tx = f"{directory}/.tx/fix"
    env.guest.check(f"mkdir {tx} && ls {directory}/.tx | grep -qx fix && ! ls {directory}/.branches/fix")
    env.guest.check(f"grep -q 'nothing was changed' {tx}/test.log")
    env.guest.check(f"sed -i -e s/bob/BOB/ -e /eve/d {tx}/t.csv && echo 'names in capitals' > {tx}/message")
    assert lab.cat("acme/shop/t").decode() == START
    env.guest.check(f"ls {tx}/.diff | grep -qx t.csv")
    got = env.guest.check(f"cat {tx}/.diff/t.csv").out.decode()
    assert got == "_op,id,name,qty\n-,2,bob,20\n+,2,BOB,20\n-,5,eve,50\n", got
    env.guest.check(f"touch {tx}/.test && grep -q 'ok: touch .commit' {tx}/test.log")
    env.guest.check(f"touch {tx}/.commit && ! ls {tx} && ! ls {directory}/.tx | grep -q fix")
    lines = START.replace("bob", "BOB").splitlines(keepends=True)
    expected = "".join(line for line in lines if "eve" not in line)
    assert lab.cat("acme/shop/t").decode() == expected
    shows(env, f"{directory}/t.csv", expected)
    newest = json.loads(lab.cli("log", "acme/shop/t", "-n", "1", "--json").out)[0]
    assert (newest["operation"], newest["message"]) == ("merge", "names in capitals"), newest
    sound(lab)


@case
def a_transaction_that_conflicts_is_aborted(env):
    lab, directory = lived(env, "conflict")
    tx = f"{directory}/.tx/fix"
    env.guest.check(f"mkdir {tx} && sed -i s/bob/BOB/ {tx}/t.csv")
    lab.cli("update", "acme/shop/t", "--set", "name = 'rob'", "--where", "id = 2")
    env.guest.check(f"! touch {tx}/.test && ! touch {tx}/.commit && ! echo now > {tx}/.commit")
    got = env.guest.check(f"cat {tx}/test.log").out.decode()
    assert "row 2, column name: was bob, is rob, would be BOB" in got, got
    env.guest.check(f"grep -q BOB {tx}/t.csv && touch {tx}/.abort && ! ls {tx}")
    assert lab.cat("acme/shop/t").decode() == START.replace("bob", "rob")
    sound(lab)


@case
def a_transaction_commits_one_table(env):
    lab, directory = lived(env, "several")
    lab.load("acme/shop/u", START, "id")
    tx = f"{directory}/.tx/both"
    env.guest.check(f"mkdir {tx} && echo 6,fay,60 >> {tx}/t.csv && echo 6,fay,60 >> {tx}/u.csv")
    env.guest.check(f"! touch {tx}/.commit && grep -q 'table by table' {tx}/test.log")
    assert lab.cat("acme/shop/t").decode() == START
    lab.cli("merge", "acme/shop/t", "tx.both")
    env.guest.check(f"touch {tx}/.commit && ! ls {tx}")
    for table in "tu":
        assert lab.cat(f"acme/shop/{table}").decode() == START + "6,fay,60\n"
    sound(lab)


@case
def the_python_library_sees_no_branch(env):
    with both(env, "branches") as (lab, library):
        lab.load(f"{HERE}/t", START, "id")
        before = keys(library)
        lab.cli("branch", HERE, "dev")
        lab.cli("update", f"{HERE}@dev/t", "--set", "name = 'x'", "--where", "TRUE")
        added = keys(library) - before
        assert added and all(key.startswith("mountable:") for key in added), added
        assert library.agrees("t", "beside a branch") == 5
        library.write("t", [["6", "fay", "60"]])
        assert library.agrees("t", "written by the library beside a branch") == 6
        lab.cli("merge", HERE, "dev")
        assert library.agrees("t", "merged") == 6
        library.ask("compact", table="t", small_only=False)
        assert library.agrees("t", "compacted") == 6
        text = lab.cat(f"{HERE}/t").decode()
        assert text.count(",x,") == 5 and "6,fay,60" in text, text
        sound(lab)
        lab.cli("branch", HERE, "-d", "dev")
        assert library.agrees("t", "the branch is dropped") == 6
