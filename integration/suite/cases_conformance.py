"""Suites of others for file systems, on scratch files: pjdfstest and fsx (from crates.io;
`integration/run` installs them).

What pjdfstest finds on the gateway is held against what it finds on the kernel's own NFS server.
"""

import os
import re
import shutil
import sys
from pathlib import Path

from fuse_lab import fuse_env
from runner import LONG, case

# Two users that every Debian has; the directory's time has a resolution that is better than this.
CONFIGURATION = """
[features]
utimensat = {}
utime_now = {}

[settings]
naptime = 0.02
allow_remount = false

[dummy_auth]
entries = [["games", "games"], ["man", "man"]]
"""
# There are no device files: they are refused with EPERM (docs/SEMANTICS.md section 8).
DEVICES = re.compile(r"::(char|block)$")
# On FUSE, apart from devices. Nothing runs it on a file system of the kernel there.
ON_FUSE = {
    # Times are those of NFSv3, 32 bits of seconds; the kernel's own server fails it too.
    "utimensat::y2038",
    # A file that is removed while it is open says that it has one name.
    "unlink::open_file_not_freed",
}
FSX_OPERATIONS = 100_000 if LONG else 5_000


def tools(share):
    """Copies the programs to where scripts see them; the shell's path of one."""
    home = Path(os.environ.get("MOUNTABLE_TOOLS") or f"{sys.prefix}-tools") / "bin"
    for name in ("pjdfstest", "fsx"):
        if not (share / name).exists():
            shutil.copy(home / name, share / name)
    (share / "pjdfstest.toml").write_text(CONFIGURATION)


def pjdfstest(place, directory):
    """The names of the cases that fail in a directory, and how many there were."""
    tools(place.share)
    done = place.run(
        f"mkdir -p {directory} && chmod 777 {directory} && cd {directory} && "
        f"$SHARE/pjdfstest -c $SHARE/pjdfstest.toml -p {directory}",
        400,
    )
    counts = re.search(r"(\d+) failed, (\d+) skipped, (\d+) passed", done.text)
    assert counts, done
    failed = set(re.findall(r"^([a-z_0-9]+(?:::[a-z_0-9]+)+) +FAILED", done.text, re.M))
    assert len(failed) == int(counts[1]), (counts[0], sorted(failed))
    return failed, sum(map(int, counts.groups()))


def fsx(place, directory, seed):
    """Random reads, writes, truncations and mappings of one file, compared with memory."""
    tools(place.share)
    done = place.run(
        f"mkdir -p {directory} && cd {directory} && "
        f"$SHARE/fsx -S {seed} -N {FSX_OPERATIONS} -P $SCRATCH fsx.dat",
        400,
    )
    assert done.rc == 0 and "A-OK" in done.text + done.err.decode(), done


def work(lab, name):
    """A directory of scratch beside the tables."""
    return f"{lab.mount()}/acme/shop/{name}"


def served(env, name, options=()):
    """A lab with one table; on FUSE `env` is that side of the environment."""
    lab = env.own_lab(name).init()
    lab.load("acme/shop/t", "id\n1\n", "id")
    lab.mount_options = list(options)
    return lab.start()


@case(seconds_max=900)
def pjdfstest_on_nfs(env):
    lab = served(env, "pjdfstest")
    failed, cases = pjdfstest(env.guest, work(lab, "pjdfstest"))
    devices = {name for name in failed if DEVICES.search(name)}
    env.note(f"pjdfstest on NFS: {cases} cases, {len(failed)} fail, {len(devices)} by devices")
    if env.use_oracle:
        known, _ = pjdfstest(env.guest, env.oracle.directory())
        assert failed <= devices | known, f"the kernel's server passes {failed - devices - known}"
    lab.unmount()
    lab.stop()


@case(seconds_max=500)
def pjdfstest_on_fuse(env):
    fuse = fuse_env(env)
    lab = served(fuse, "pjdfstest", ["--allow-other"])
    # The other users may not go through the directories of the suite, and the address of a socket
    # has to be short. Only the suite sees this mount.
    fuse.guest.check(f"mount --bind {lab.mount()}/acme/shop /mnt")
    failed, cases = pjdfstest(fuse.guest, "/mnt/pjdfstest")
    fuse.guest.check("umount /mnt")
    devices = {name for name in failed if DEVICES.search(name)}
    env.note(f"pjdfstest on FUSE: {cases} cases, {len(failed)} fail, {len(devices)} by devices")
    assert failed - devices == ON_FUSE, sorted((failed - devices) ^ ON_FUSE)
    lab.stop()


@case(seconds_max=500)
def fsx_on_both(env):
    for side in (env, fuse_env(env)):
        lab = served(side, "fsx")
        fsx(side.guest, work(lab, "fsx"), 20_261_121)
        lab.stop()
