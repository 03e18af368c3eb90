"""kill -9 and restart: the mount goes on, handles stay valid, nothing acknowledged is lost."""

import threading
import time

from lab import difference
from runner import case
from tools import APPENDED, DELETED, START, large


def served(env, name, text=START, keys="id"):
    """A lab of its own with one table, mounted; (lab, directory in the guest)."""
    lab = env.own_lab(name).init()
    lab.load("acme/shop/t", text, keys)
    lab.start()
    return lab, f"{lab.mount()}/acme/shop"


def in_background(env, script, timeout=90):
    """Runs a script in the guest while the test goes on; join() gives its outcome."""
    box = {}
    thread = threading.Thread(target=lambda: box.update(done=env.guest.run(script, timeout)))
    thread.start()

    def join():
        thread.join()
        assert "done" in box, "the guest hung"
        return box["done"]

    return join


def appends_in_background(env, directory, last):
    """Appends rows 100 to `last` one by one; the output has those that were acknowledged."""
    append = f"echo $i,n$i,$i >> {directory}/t.csv && echo $i"
    return in_background(env, f"for i in $(seq 100 {last}); do {append}; done", 200)


@case
def handles_and_inode_numbers_survive(env):
    text = large()
    lab, directory = served(env, "handles", text)
    before = env.guest.check(f"stat -c %i {directory}/t.csv {directory} {directory}/t").text
    join = in_background(
        env, f"exec 3< {directory}/t.csv; head -c 50000 <&3 > $SCRATCH/a; touch $SCRATCH/opened; "
             f"while [ ! -e $SCRATCH/go ]; do sleep 0.05; done; cat <&3 >> $SCRATCH/a; "
             f"sha256sum < $SCRATCH/a; wc -c < $SCRATCH/a; rm $SCRATCH/go $SCRATCH/opened"
    )  # fmt: skip
    env.guest.check("while [ ! -e $SCRATCH/opened ]; do sleep 0.05; done")
    lab.kill9()
    lab.start()
    env.guest.drop_caches()
    env.guest.check("touch $SCRATCH/go")
    done = join()
    assert done.rc == 0 and done.text.split()[-1] == str(len(text)), done
    after = env.guest.check(f"stat -c %i {directory}/t.csv {directory} {directory}/t").text
    assert after == before, f"inode numbers changed: {before} {after}"


@case
def a_write_during_the_outage_is_done_once(env):
    lab, directory = served(env, "outage")
    env.guest.check(f"cat {directory}/t.csv")
    lab.kill9()
    join = in_background(env, f"echo 6,fay,60 >> {directory}/t.csv")
    time.sleep(2)
    lab.start()
    done = join()
    assert done.rc == 0, done
    lab.expect("acme/shop/t", APPENDED)


@case
def a_save_that_waits_survives(env):
    """A shrinking rewrite that is acknowledged and not confirmed yet is in the journal."""
    lab, directory = served(env, "journal")
    env.guest.check(f"head -4 {directory}/t.csv > $SCRATCH/y; cat $SCRATCH/y > {directory}/t.csv")
    lab.kill9()
    lab.start()
    text = env.guest.check(f"sleep 1.1; cat {directory}/t.csv").text
    wanted = "".join(line + "\n" for line in START.splitlines()[:4])
    assert text in (wanted, START), text
    assert text == wanted, "the acknowledged rewrite was lost"
    settled = lab.settle()
    assert settled.rc == 0, settled
    lab.expect("acme/shop/t", wanted)


@case
def scratch_that_is_renamed_in_is_committed_when_acknowledged(env):
    lab, directory = served(env, "renamed")
    env.guest.check(f"sed -i /cid/d {directory}/t.csv")
    lab.kill9()
    got = lab.cat("acme/shop/t")
    assert got == DELETED.encode(), difference(got, DELETED.encode())
    lab.start()
    assert env.guest.check(f"cat {directory}/t.csv").text == DELETED


@case(seconds_max=240)
def every_acknowledged_row_is_there_once_after_ten_kills(env):
    lab, directory = served(env, "kills")
    join = appends_in_background(env, directory, 160)
    for _ in range(10):
        time.sleep(0.7)
        lab.kill9()
        lab.start()
    done = join()
    acknowledged = done.text.split()
    assert len(acknowledged) >= 55, f"only {len(acknowledged)} appends went through: {done}"
    time.sleep(1.5)
    lines = lab.cat("acme/shop/t").decode().splitlines()
    ids = [line.split(",")[0] for line in lines[1:]]
    lost = [i for i in acknowledged if i not in ids]
    assert not lost, f"acknowledged and lost: {lost}"
    assert len(set(ids)) == len(ids), f"rows twice: {[i for i in set(ids) if ids.count(i) > 1]}"
    env.note(f"10 x kill -9 during {len(acknowledged)} acknowledged appends: 0 lost, 0 doubled")


@case(seconds_max=240)
def the_same_without_keys(env):
    lab, directory = served(env, "kills_plain", keys=None)
    join = appends_in_background(env, directory, 140)
    for _ in range(6):
        time.sleep(0.7)
        lab.kill9()
        lab.start()
    acknowledged = join().text.split()
    assert len(acknowledged) >= 35, acknowledged
    time.sleep(1.5)
    ids = [line.split(",")[0] for line in lab.cat("acme/shop/t").decode().splitlines()[1:]]
    assert not [i for i in acknowledged if i not in ids], "acknowledged rows are lost"
    assert len(set(ids)) == len(ids), f"rows twice: {[i for i in set(ids) if ids.count(i) > 1]}"


@case
def an_orderly_stop_finishes_what_is_pending(env):
    lab, directory = served(env, "stop")
    env.guest.check(f"echo 6,fay,60 >> {directory}/t.csv")
    code = lab.stop()
    assert code == 0, f"exit code {code} on SIGTERM: {lab.log(600)}"
    got = lab.cat("acme/shop/t")
    assert got == APPENDED.encode(), difference(got, APPENDED.encode())
    lab.start()
    assert env.guest.check(f"cat {directory}/t.csv").text == APPENDED


@case
def a_lost_state_directory_costs_handles_not_data(env):
    """The state directory is the gateway's own; without it the lake is whole."""
    lab, directory = served(env, "stateless")
    env.guest.check(f"echo 6,fay,60 >> {directory}/t.csv")
    lab.unmount()
    lab.stop()
    lab.state = lab.base / "state2"
    lab.start()
    assert env.guest.check(f"cat {lab.mount()}/acme/shop/t.csv").text == APPENDED
