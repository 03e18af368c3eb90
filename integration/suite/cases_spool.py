"""Saves larger than the client's memory: they stream through the spool, or change nothing.

The guest's memory is filled until about 512 MiB are left. The short form saves 50 MB, with
MOUNTABLE_LONG it is 1,070 MB.
"""

import os
import time

from lab import MOUNT_OPTIONS
from runner import case

LONG = bool(os.environ.get("MOUNTABLE_LONG"))
ROWS = 32_000_000 if LONG else 1_600_000
LEFT_KIB = 512 * 1024
GATEWAY_KIB_MAX = 400 * 1024


def source(env, marker):
    """A text of ROWS rows in the share; with `marker` in the name column of every row."""
    path = env.guest.share / f"spool-{marker}.csv"
    if not path.exists():
        with open(path, "w") as out:
            out.write("id,name,qty\n")
            for first in range(0, ROWS, 100_000):
                out.write("".join(f"{i},a name {marker} of the row,{i % 97}\n"
                                  for i in range(first, first + 100_000)))  # fmt: skip
        env.at_end.append(lambda: path.unlink(missing_ok=True))
    return path


def served(env, name, **limits):
    """A lab with the table loaded and a client with little memory; (lab, its directory)."""
    lab = env.own_lab(name).init()
    lines = "".join(f"{key} = {value!r}\n" for key, value in limits.items())
    lab.config.write_text(lab.config.read_text() + (f"[limits]\n{lines}" if limits else ""))
    lab.load("acme/spool/t", source(env, "old"))
    lab.start()
    env.guest.check(
        f"left=$(gawk '/MemAvailable/ {{ print $2 }}' /proc/meminfo); more=$((left - {LEFT_KIB})); "
        "[ $more -le 0 ] || head -c ${more}k /dev/zero > $SCRATCH/filler", 120
    )  # fmt: skip
    # Without `sync`: unstable WRITEs in any order, COMMITs in the middle of the file.
    options = MOUNT_OPTIONS.removesuffix(",sync")
    return lab, f"{lab.mount(options=options)}/acme/spool"


def freed(env):
    """Gives the guest its memory back."""
    env.guest.run("rm -f $SCRATCH/filler")


def digest(env, script, timeout=300):
    """sha256 of what a script prints in the guest."""
    return env.guest.check(f"{script} | sha256sum", timeout).text.split()[0]


@case(seconds_max=1500 if LONG else 400)
def a_rewrite_larger_than_the_clients_memory(env):
    lab, directory = served(env, "spool_rewrite")
    try:
        new = source(env, "new")
        before = time.monotonic()
        env.guest.check(f"cp $SHARE/{new.name} {directory}/t.csv", 1200)
        seconds = time.monotonic() - before
        wanted = digest(env, f"cat $SHARE/{new.name}")
        assert digest(env, f"cat {directory}/t.csv", 900) == wanted, "the bytes differ"
        peak = lab.peak_rss_kib()
        env.note(f"rewrite of {new.stat().st_size / 1e6:.0f} MB by a client with 512 MiB: "
                 f"{seconds:.0f} s, gateway's peak memory {peak // 1024} MiB")  # fmt: skip
        assert peak < GATEWAY_KIB_MAX, f"peak memory {peak // 1024} MiB"
        versions = lab.cli("log", "acme/spool/t", "--quiet").out.splitlines()
        # A header line, the two versions that loading makes, and the save.
        assert len(versions) == 4, f"one save: {versions}"
    finally:
        freed(env)


@case(seconds_max=900 if LONG else 300)
def a_client_that_dies_half_way_changes_nothing(env):
    lab, directory = served(env, "spool_killed")
    try:
        new = source(env, "new")
        half = new.stat().st_size // 2
        # The writer and its mount are gone at once, as if the machine had lost its power.
        env.guest.run(f"head -c {half} $SHARE/{new.name} > {directory}/t.csv & "
                      f"sleep {3 if LONG else 1}; kill -9 $!; umount -f -l {lab.mount()}; wait", 120)  # fmt: skip
        lab.mounts.clear()
        here = f"{lab.mount(tag='again')}/acme/spool"
        env.guest.check(f"head -1 {here}/t.csv")
        got = lab.command(*lab.lake_options(), "cat", "acme/spool/t", timeout=300)
        assert got.out == source(env, "old").read_bytes(), "the table was changed"
    finally:
        freed(env)


@case(seconds_max=600 if LONG else 300)
def a_full_spool_is_no_space_and_changes_nothing(env):
    limit = 20_000_000
    lab, directory = served(env, "spool_full", staged_bytes_max=limit)
    try:
        done = env.guest.run(f"cp $SHARE/{source(env, 'new').name} {directory}/t.csv", 280)
        assert done.rc != 0 and b"No space left on device" in done.err, done
        got = lab.command(*lab.lake_options(), "cat", "acme/spool/t", timeout=300)
        assert got.out == source(env, "old").read_bytes(), "the table was changed"
        # What was staged is given back: the next save has room.
        env.guest.check(f"echo {ROWS},appended,1 >> {directory}/t.csv; "
                        f"tail -1 {directory}/t.csv | grep appended", 60)  # fmt: skip
    finally:
        freed(env)
