"""Compaction, old versions and comparisons below a mount: what readers see, and what they must not
notice. All cases run over NFS, and again on a FUSE mount.
"""

import csv
import io
import time

from lab import difference
from runner import case
from tools import START, large

EDITS = 6
WAIT_SECONDS_MAX = 60


def scattered(env, lab, scope):
    """A table of several data files with rows deleted in them; (its directory, its text)."""
    text = large()
    lab.load(f"{scope}/t", text, "id")
    directory = f"{lab.mount()}/{scope}"
    # The edit in place: after a rename a client may show the number of the file that it renamed.
    env.guest.check(f"for i in $(seq 0 {EDITS - 1}); do "
                    f"echo $((90000 + i)),added,$i >> {directory}/t.csv || exit 1; done; "
                    f"sed -e 2d -e 's/^30000,.*/30000,changed,1/' {directory}/t.csv > $SCRATCH/y; "
                    f"cp $SCRATCH/y {directory}/t.csv; echo sync > {lab.mount()}/.control; "
                    f"rm $SCRATCH/y")  # fmt: skip
    lines = text.splitlines(keepends=True)
    lines[30000] = "30000,changed,1\n"
    del lines[1]
    return directory, "".join(lines) + "".join(f"{90000 + i},added,{i}\n" for i in range(EDITS))


def data_files(env, directory):
    """How many data files the table has, as its directory tells it."""
    text = env.guest.check(f"cat {directory}/t/files.csv").text
    return len(list(csv.DictReader(io.StringIO(text))))


def wait_until(seen, what):
    """Waits for a condition; fails when it does not come."""
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while not seen():
        assert time.monotonic() < deadline, f"{what} did not happen in {WAIT_SECONDS_MAX} s"
        time.sleep(0.1)


# Reads a part, waits, and reads the rest; $1 and $2 tell it and us how far it is.
READER = """
import os, sys, time
path, out, ready, go = sys.argv[1:]
with open(path, 'rb', buffering=0) as file, open(out, 'wb') as copy:
    size = os.fstat(file.fileno()).st_size
    copy.write(file.read(1000))
    open(ready, 'w').close()
    while not os.path.exists(go):
        time.sleep(0.05)
    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    while part := file.read(1 << 16):
        copy.write(part)
    assert os.fstat(file.fileno()).st_size == size, 'the size moved'
open(out + '.done', 'w').close()
"""


def begin_reader(env, directory):
    """Starts a reader that stops after its first bytes; returns when it has them."""
    guest = env.guest
    for name in ("ready", "go", "copy", "copy.done", "reader.log"):
        (guest.share / name).unlink(missing_ok=True)
    (guest.share / "reader.py").write_text(READER)
    guest.check(
        f"setsid python3 $SHARE/reader.py {directory}/t.csv $SHARE/copy $SHARE/ready $SHARE/go "
        f"> $SHARE/reader.log 2>&1 < /dev/null & "
        f"for i in $(seq 600); do [ -e $SHARE/ready ] && exit 0; sleep 0.1; done; exit 1", 90
    )  # fmt: skip


def end_reader(env):
    """Lets it go on; what it has read in all."""
    env.guest.check(
        "touch $SHARE/go; for i in $(seq 600); do [ -e $SHARE/copy.done ] && exit 0; "
        "sleep 0.1; done; cat $SHARE/reader.log; exit 1", 90
    )  # fmt: skip
    return (env.guest.share / "copy").read_bytes()


@case
def an_open_reader_goes_on_over_a_compaction(env):
    """Its files are replaced and further saves follow: it reads the snapshot that it has opened."""
    lab = env.lab
    scope = "acme/compact_reader"
    directory, text = scattered(env, lab, scope)
    stamp = env.guest.check(f"cat {directory}/t.csv | cksum; stat -c '%i %s %Y' {directory}/t.csv")
    begin_reader(env, directory)
    before = data_files(env, directory)
    said = lab.cli("compact", f"{scope}/t").err.decode()
    assert "data files in place of" in said, said
    wait_until(lambda: data_files(env, directory) < before, "fewer data files")
    lab.expect(f"{scope}/t", text)
    # Neither bytes nor times nor the number of the file have changed.
    after = env.guest.check(f"cat {directory}/t.csv | cksum; stat -c '%i %s %Y' {directory}/t.csv")
    assert after.text == stamp.text, (stamp.text, after.text)
    lab.load(f"{scope}/t", "id,name,qty\n95000,late,1\n", mode="append")
    got = end_reader(env)
    assert got == text.encode(), difference(got, text.encode())
    lab.expect(f"{scope}/t", text + "95000,late,1\n")
    # Who had read the table before edits it after.
    env.guest.check(f"sleep 1.2; sed -i 's/^30000,.*/30000,again,2/' {directory}/t.csv")
    text = text.replace("30000,changed,1", "30000,again,2")
    lab.expect(f"{scope}/t", text + "95000,late,1\n")


@case
def the_gateway_compacts_what_was_written(env):
    lab = env.own_lab("compacting").init()
    lab.config.write_text(
        lab.config.read_text() + "[manage]\ninterval = '300ms'\nfiles_min = 4\n"
    )
    lab.load("acme/shop/t", START, "id")
    lab.start()
    directory = f"{lab.mount()}/acme/shop"
    env.guest.check(f"for i in $(seq 6 29); do echo $i,n$i,$i >> {directory}/t.csv || exit 1; done")
    wanted = START + "".join(f"{i},n{i},{i}\n" for i in range(6, 30))
    wait_until(lambda: data_files(env, directory) < 8, "a compaction in the background")
    lab.expect("acme/shop/t", wanted)
    text = env.guest.check(f"sleep 1.1; cat {directory}/t.csv; cat {directory}/t/history.csv").text
    assert text.startswith(wanted), difference(text.encode(), wanted.encode())
    assert ",compact," in text, text[-600:]
    # Every version from before can still be read.
    old = env.guest.check(f"cat {directory}/t/.at/1/t.csv").text
    assert old == START, old


@case
def versions_and_what_changed_between_them_are_files(env):
    lab = env.lab
    scope = "acme/compact_diff"
    lab.load(f"{scope}/t", START, "id")
    directory = f"{lab.mount()}/{scope}"
    versions = "tail -1 t/history.csv | cut -d, -f1"
    done = env.guest.check(
        f"cd {directory}; a=$({versions}); "
        "sed -i -e s/bob/BOB/ -e /cid/d t.csv; echo 6,fay,60 >> t.csv; sleep 1.1; "
        f"b=$({versions}); cat t/.diff/$a..$b.csv; echo --; cat t/.diff/$b..$b.csv; echo --; "
        "ls t/.at | tr '\\n' ' '; echo; cat t/.at/$a/t.csv; ls t/.at/$a; ls -d t/.diff; "
        "stat -c %s t/.diff/$a..$b.csv; cat t/.diff/$a..$b.csv | wc -c"
    )  # fmt: skip
    changed, nothing, rest = done.text.split("--\n")
    rows = changed.splitlines()
    assert rows[0].endswith("id,name,qty"), rows
    told = sorted(rows[1:])
    assert told == ["+,2,BOB,20", "+,6,fay,60", "-,2,bob,20", "-,3,cid,30"], rows
    assert len(nothing.splitlines()) == 1, nothing
    lines = rest.splitlines()
    assert "\n".join(lines[1:7]) + "\n" == START, rest
    assert lines[7] == "t.csv", lines
    assert lines[-1] == lines[-2], "the size is another than the bytes"
    for name in ("99..100.csv", "a..b.csv", "1.csv"):
        gone = env.guest.run(f"cat {directory}/t/.diff/{name}")
        assert gone.rc == 1 and b"No such file" in gone.err, (name, gone)
    written = env.guest.run(f"echo x > {directory}/t/.diff/1..2.csv")
    assert written.rc != 0, "a comparison was written to"
