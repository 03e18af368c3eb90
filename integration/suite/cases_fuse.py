"""The same through FUSE: every reader, every way to save, every refusal and every change of columns
that runs over NFS, with the same tables and the same exit codes; then what only FUSE has: open, close, the user's own mount.
"""

import contextlib
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import cases_compact  # noqa: F401  the cases that are run again here
import cases_matrix
import cases_read  # noqa: F401
import cases_refused  # noqa: F401
import cases_sql  # noqa: F401
import cases_tables  # noqa: F401
import cases_write  # noqa: F401
from fuse_lab import fuse_env
from lab import LabError, difference
from runner import CASES, LONG, case
from tools import APPENDED, CHANGED, DELETED, START, large

AGAIN = ("read", "write", "refused", "tables", "compact", "sql")
# What has no meaning here, and why.
EXCLUDED = {
    "refused.what_each_mount_option_tells_bash": "compares options of the NFS client",
    "write.echo_append_cold": "drops the caches of the whole machine; FUSE asks at each open anyway",
}
# One of each way in which tools save, and of each way in which they hear a refusal; the other
# scripts make the same calls and run with MOUNTABLE_LONG=1. All of `read` runs.
USUAL = {
    "write": """
        echo_append echo_append_without_keys appends_in_a_row two_rows_one_printf python_append
        logger_keeps_it_open append_to_large two_processes_append sed_i_change
        sed_i_change_without_keys sed_i_delete sed_i_bak sed_i_large perl_pi gawk_inplace ed
        sort_o_onto_itself sponge vim_default vim_backupcopy_yes vim_backupcopy_no vim_typed
        nano_typed python_r_plus python_r_plus_shorter python_os_replace python_mmap dd_middle
        grep_v_then_cat cp_over cp_p_over mv_from_elsewhere mv_from_beside rsync rsync_inplace
        cat_over_large truncate_last_row head_keeps_two header_only slow_writer touch_and_chmod
        cp_new rename copy_of_a_table emacs gio_save vscode_truncate_and_write
        libreoffice_temporary_beside excel_two_renames file_managers_leave_their_files pandas
        git_checkout_goes_back truncate_to_nothing emptied_then_appended rewritten_line_by_line
        empty_new_file_is_renamed delete_and_write_anew
    """,
    "refused": """
        bash_echo_append cat_append python_append cp_over mv_over sed_i vim rsync python_os_replace
        same_key_twice why_tells_the_reason_on_the_command_line last_error_is_prose
    """,
    "sql": """
        parts_formats_and_views_are_files
    """,
    "tables": """
        a_key_of_two_columns keys_can_be_set_later a_column_is_dropped_renamed_and_moved
        a_type_is_changed_in_the_configuration refused_rows_are_repaired_and_appended
        an_overwrite_is_undone_by_version
    """,
}
KILLS = 8 if LONG else 3
NOBODY = 65534


def _register():
    usual = {f"{group}.{name}" for group, names in USUAL.items() for name in names.split()}
    unknown = usual - {c.name for c in CASES}
    assert not unknown, f"no such cases: {unknown}"
    for one in [c for c in CASES if c.group in AGAIN and not c.oracle_only]:
        runs = LONG or one.group not in USUAL or one.name in usual
        if runs and one.name not in EXCLUDED:
            run = lambda env, c=one: c.run(fuse_env(env))  # noqa: E731
            case(name=one.name, group="fuse", seconds_max=one.seconds_max)(run)


_register()


def _register_matrix():
    """Each reason with one tool for each way to hear of it; with all tools where there is time."""
    tools = cases_matrix.TOOLS if LONG else {t: cases_matrix.TOOLS[t] for t in cases_matrix.SOME}
    for name, (bad, code) in cases_matrix.ERRORS.items():
        run = lambda env, n=name, b=bad, c=code: cases_matrix.check(fuse_env(env), n, b, c, tools)  # noqa: E731
        case(name=f"matrix.{name}", group="fuse")(run)


_register_matrix()


def served(env, name, text=START, keys="id"):
    """A lab of its own with one table, mounted; (host, lab, directory)."""
    fuse = fuse_env(env)
    lab = fuse.own_lab(name).init()
    lab.load("acme/shop/t", text, keys)
    lab.start()
    return fuse.guest, lab, f"{lab.mount()}/acme/shop"


def versions(lab, table="acme/shop/t"):
    """Number of snapshots."""
    return len(lab.cli("log", table, "-n", "1000").out.splitlines())


@case
def a_shorter_rewrite_is_committed_at_close(env):
    """Close says that the writer is done: nothing waits 35 seconds, and each save is one version."""
    host, lab, directory = served(env, "shorter")
    before = versions(lab)
    host.check(f"grep -v cid {directory}/t.csv > $SCRATCH/y; cat $SCRATCH/y > {directory}/t.csv")
    lab.expect("acme/shop/t", DELETED, 3)
    assert versions(lab) == before + 1, "more than one version"
    host.check(f"head -1 {directory}/t.csv > $SCRATCH/y; cat $SCRATCH/y > {directory}/t.csv")
    lab.expect("acme/shop/t", "id,name,qty\n", 3)


@case
def a_refused_shorter_rewrite_fails_in_close(env):
    host, lab, directory = served(env, "refused-close")
    script = f"printf 'id,name,qty\\n1,ann,many\\n' > $SCRATCH/y; cp $SCRATCH/y {directory}/t.csv"
    done = host.run(script)
    assert done.rc != 0 and b"nvalid argument" in done.err, f"cp did not hear of it: {done}"
    assert lab.cat("acme/shop/t").decode() == START
    assert host.check(f"cat {directory}/t.csv").text == START


@case
def several_programs_write_one_open_file(env):
    """A program that ends closes a descriptor that others go on with: nothing is judged before."""
    host, lab, directory = served(env, "several")
    before = versions(lab)
    host.check(
        f"cp {directory}/t.csv $SCRATCH/old; ( head -1 $SCRATCH/old; /bin/echo progress >&2; "
        f"tail -n +2 $SCRATCH/old | sort -r ) > {directory}/t.csv"
    )
    rows = START.splitlines()
    wanted = "\n".join([rows[0], *reversed(rows[1:])]) + "\n"
    lab.expect("acme/shop/t", wanted, 5)
    assert versions(lab) == before + 1, "a part of the save became a version"


@case
def a_truncation_alone_deletes_nothing_at_once(env):
    host, lab, directory = served(env, "truncated")
    host.check(f": > {directory}/t.csv")
    time.sleep(2)
    assert lab.cat("acme/shop/t").decode() == START
    host.check(f"cat $SHARE/../nothing 2>/dev/null; echo sync > {lab.mount()}/.control")
    lab.expect("acme/shop/t", "id,name,qty\n", 3)


@case
def a_killed_writer_changes_nothing(env):
    """kill -9 of a program in the middle of a rewrite: close is not the writer's own."""
    text = large()
    host, lab, directory = served(env, "killed-writer", text)
    before = versions(lab)
    (host.share / "new.csv").write_text(large({7: "7,changed,1\n"}))
    host.check(
        f"python3 - {directory}/t.csv $SHARE/new.csv <<'EOF'\n"
        "import os, signal, sys\n"
        "f = open(sys.argv[1], 'w')\nf.write(open(sys.argv[2]).read(1000003))\nf.flush()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\nEOF\n[ $? = 137 ]"
    )
    time.sleep(1.5)
    got = lab.cat("acme/shop/t")
    assert got == text.encode(), difference(got, text.encode())
    assert versions(lab) == before
    assert host.check(f"wc -c < {directory}/t.csv").text.strip() == str(len(text))
    kept = host.check(f"ls {directory}/t/rejected").text.split()
    assert len(kept) == 1, f"the unfinished text is not kept: {kept}"
    host.check(f"echo 90000,last,1 >> {directory}/t.csv")
    lab.expect("acme/shop/t", text + "90000,last,1\n")


@case(seconds_max=180)
def a_reader_keeps_its_version_while_commits_land(env):
    """Whatever others commit, an open file shows the version that it was opened on, to the end; a new
    open shows the newest. (What is saved through the same mount shows at once, as in any file.)"""
    text = large()
    host, lab, directory = served(env, "readers", text)
    with open(f"{directory}/t.csv", "rb") as old:
        first = old.read(100_000)
        for i in range(10):
            lab.load("acme/shop/t", f"id,name,qty\n{80000 + i},other,{i}\n", mode="append")
        newest = host.check(f"cat {directory}/t.csv").out
        # Longer than timing.reader.
        time.sleep(6)
        got = first + old.read()
        assert os.fstat(old.fileno()).st_size == len(text), "the size moved"
    assert got == text.encode(), difference(got, text.encode())
    wanted = text + "".join(f"{80000 + i},other,{i}\n" for i in range(10))
    assert newest == wanted.encode(), difference(newest, wanted.encode())


@case
def a_removed_table_is_readable_where_it_is_open(env):
    host, lab, directory = served(env, "removed", large())
    with open(f"{directory}/t.csv", "rb") as file:
        first = file.read(5000)
        host.check(f"rm {directory}/t.csv; echo sync > {lab.mount()}/.control")
        assert lab.refused("cat", "acme/shop/t").rc == 3
        got = first + file.read()
    assert got == large().encode(), difference(got, large().encode())


@case
def what_others_commit_shows_at_the_next_open(env):
    host, lab, directory = served(env, "others")
    number = host.check(f"cat {directory}/t.csv > /dev/null; stat -c %i {directory}/t.csv").text
    for i in range(5):
        lab.load("acme/shop/t", f"id,name,qty\n{100 + i},x,{i}\n", mode="append")
        time.sleep(0.3)  # timing.pointer
        wanted = lab.cat("acme/shop/t")
        got = host.check(f"cat {directory}/t.csv").out
        assert got == wanted, difference(got, wanted)
        size = host.check(f"stat -c '%s %i' {directory}/t.csv").text.split()
        assert size == [str(len(wanted)), number.strip()], (size, number)


@case
def two_programs_that_append_lose_nothing(env):
    host, lab, directory = served(env, "appenders")
    one = "for i in $(seq {a} {b}); do echo $i,n,$i >> {d}/t.csv || exit 1; done"
    scripts = [one.format(a=a, b=a + 39, d=directory) for a in (100, 200, 300)]
    outcomes = []
    threads = [
        threading.Thread(target=lambda s=s: outcomes.append(host.run(s, 100))) for s in scripts
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(done.rc == 0 for done in outcomes), [str(done) for done in outcomes]
    ids = [int(line.split(",")[0]) for line in lab.cat("acme/shop/t").decode().splitlines()[1:]]
    wanted = [*range(1, 6), *range(100, 140), *range(200, 240), *range(300, 340)]
    assert sorted(ids) == wanted, f"{len(ids)} rows for {len(wanted)}"


@case(seconds_max=240)
def every_acknowledged_row_is_there_after_kills_and_remounts(env):
    host, lab, directory = served(env, "kills")
    acknowledged, stop = [], threading.Event()

    def append():
        i = 100
        while not stop.is_set() and i < 100_000:
            try:
                with open(f"{directory}/t.csv", "a") as file:
                    file.write(f"{i},n{i},{i}\n")
                acknowledged.append(i)
            except OSError:
                time.sleep(0.02)
            i += 1

    thread = threading.Thread(target=append)
    thread.start()
    try:
        for round in range(KILLS):
            # A writer that was killed in a commit leaves its lock behind until it expires.
            deadline = time.monotonic() + 60
            while len(acknowledged) < 3 * (round + 1) and time.monotonic() < deadline:
                time.sleep(0.05)
            lab.kill9()
            lab.start()
    finally:
        stop.set()
        thread.join()
    assert len(acknowledged) >= 3 * KILLS, f"only {len(acknowledged)} appends; log {lab.log(800)}"
    time.sleep(2)
    ids = [int(line.split(",")[0]) for line in lab.cat("acme/shop/t").decode().splitlines()[1:]]
    lost = [i for i in acknowledged if i not in ids]
    assert not lost, f"acknowledged and lost: {lost[:20]}"
    assert len(set(ids)) == len(ids), "rows twice"
    env.note(f"FUSE, {KILLS} x kill -9 and remount during {len(acknowledged)} appends: 0 lost, 0 doubled")


@case
def a_killed_gateway_leaves_no_mount(env):
    """The directory is free again by itself, and open files fail instead of hanging."""
    host, lab, directory = served(env, "dead")
    file = open(f"{directory}/t.csv", "rb", buffering=0)
    assert file.read(2) == b"id"
    lab.kill9()
    try:
        os.fstat(file.fileno())
        file.read(10)
    except OSError:
        pass
    else:
        raise AssertionError("the dead gateway answers")
    with contextlib.suppress(OSError):
        file.close()
    lab.wait_unmounted()
    assert host.check(f"ls -A {lab.mount()}").text == "", "something stands below the mount"
    lab.start()
    assert host.check(f"cat {directory}/t.csv").text == START


@case
def a_dead_mount_is_taken_over(env):
    """Also where nobody could clean up: the next start takes the dead mount away."""
    host, lab, directory = served(env, "takeover")
    for pid in children(lab.process.pid):
        os.kill(pid, signal.SIGKILL)
    lab.kill9()
    dead = host.run(f"ls {lab.mount()}")
    assert dead.rc != 0 and b"not connected" in dead.err, dead
    lab.state_lock_wait = None
    lab.start()
    assert host.check(f"cat {directory}/t.csv").text == START


def children(pid):
    """The processes that a process started."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    found = [int(word) for word in text.split()]
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(word) for word in (task / "children").read_text().split()]
    return sorted(set(found))


@case
def sigterm_finishes_saves_and_unmounts(env):
    host, lab, directory = served(env, "sigterm")
    host.check(f"printf '6,fay,60' >> {directory}/t.csv")
    assert lab.cat("acme/shop/t").decode() == START, "half a line was committed"
    assert lab.stop() == 0, lab.log()
    assert not lab.mounted(), "still mounted"
    assert "WARN" not in lab.log(), lab.log()
    lab.expect("acme/shop/t", APPENDED)


@case
def sigterm_takes_a_mount_in_use_away(env):
    host, lab, directory = served(env, "busy")
    # Its close fails: the gateway is gone by then.
    with contextlib.suppress(OSError), open(f"{directory}/t.csv", "rb") as file:
        file.read(1)
        assert lab.stop() == 0, lab.log()
        assert not lab.mounted(), "still mounted"
    warnings = [line for line in lab.log().splitlines() if "WARN" in line]
    assert len(warnings) == 1 and "in use" in warnings[0], warnings


@case
def mount_and_umount_on_the_command_line(env):
    """`mountable mount` returns when the lake is there; `mountable umount` ends its process."""
    fuse = fuse_env(env)
    lab = fuse.own_lab("cli").init()
    lab.load("acme/shop/t", START, "id")
    words = ["mount", lab.lake, lab.point, "--state", lab.state]
    done = lab.command(*words)
    try:
        assert done.rc == 0 and done.out.startswith(b"mounted "), done
        assert Path(f"{lab.point}/acme/shop/t.csv").read_text() == START
        again = lab.command(*words)
        assert again.rc != 0 and b"mountable umount" in again.err + done.err, again
        fuse.guest.check(f"printf '6,fay,60' >> {lab.point}/acme/shop/t.csv")
        with open(f"{lab.point}/acme/shop/t.csv", "rb"):
            refused = lab.command("umount", lab.point)
            assert refused.rc == 6 and b"in use" in refused.err, refused
        done = lab.command("umount", lab.point)
        assert done.rc == 0, done
        lab.wait_unmounted()
        lab.expect("acme/shop/t", APPENDED)
        nothing = lab.command("umount", lab.point)
        assert nothing.rc == 3, nothing
        # The process has let go of its state: another one can start.
        deadline = time.monotonic() + 10
        while (done := lab.command(*words)).rc and time.monotonic() < deadline:
            time.sleep(0.2)
        assert done.rc == 0, done
        assert lab.command("umount", lab.point).rc == 0
    finally:
        lab.unmount()


@case
def a_read_only_mount_refuses_every_write(env):
    fuse = fuse_env(env)
    lab = fuse.own_lab("read-only").init()
    lab.load("acme/shop/t", START, "id")
    lab.mount_options = ["--read-only"]
    lab.start()
    directory = f"{lab.mount()}/acme/shop"
    assert fuse.guest.check(f"cat {directory}/t.csv").text == START
    for script in ("echo 6,fay,60 >> t.csv", "rm t.csv", "mkdir x", "mv t.csv u.csv", "touch n.csv"):
        done = fuse.guest.run(f"cd {directory} && {script}")
        assert done.rc != 0 and b"ead-only" in done.err, f"{script}: {done}"
    cases_matrix.check_read_only(fuse, lab)


@case
def an_ordinary_user_mounts_reads_and_saves(env):
    """Without root, through fusermount3; other users are kept out, and it is unmounted by its owner."""
    fuse = fuse_env(env)
    host = fuse.guest
    lab = fuse.own_lab("user").init()
    lab.load("acme/shop/t", START, "id")
    device(lab)
    lab.point.mkdir()
    subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", lab.base], check=True)
    for parent in [lab.base, *lab.base.parents]:
        parent.chmod(parent.stat().st_mode | 0o055)
    lab.user = NOBODY
    lab.start()
    directory = f"{lab.mount()}/acme/shop"
    host.check(f"cd {directory} && sed -i s/bob/BOB/ t.csv && id -u", user=NOBODY)
    lab.expect("acme/shop/t", CHANGED)
    bad = host.run(f"echo 6,fay,notanumber >> {directory}/t.csv", user=NOBODY)
    assert bad.rc != 0, bad
    owner = host.check(f"stat -c %u {directory}/t.csv", user=NOBODY).text.strip()
    assert owner == str(NOBODY), owner
    foreign = host.run(f"ls {lab.mount()}")
    assert foreign.rc != 0, "another user gets in"
    binary = fuse.binary
    done = host.run(f"{binary} umount {lab.mount()}", user=NOBODY)
    assert done.rc == 0, done
    lab.wait_unmounted()
    assert lab.process.wait(10) == 0, lab.log()


def device(lab):
    """/dev/fuse as distributions have it: open to everybody. Only in the suite's namespace."""
    if os.stat("/dev/fuse").st_mode & 0o666 == 0o666:
        return
    node = lab.base / "fuse-device"
    directory = lab.base / "devices"
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "dev", "tmpfs", directory], check=True)
    node = directory / "fuse"
    os.mknod(node, 0o20666, os.makedev(10, 229))
    node.chmod(0o666)
    subprocess.run(["mount", "--bind", node, "/dev/fuse"], check=True)


@case
def demo_mounts_through_fuse_where_nfs_cannot_be(env):
    """An ordinary user cannot mount NFS: `demo --mount DIR` says so and mounts through FUSE."""
    fuse = fuse_env(env)
    host = fuse.guest
    lab = fuse.own_lab("demo")
    device(lab)
    lab.point.mkdir()
    subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", lab.base], check=True)
    for parent in [lab.base, *lab.base.parents]:
        parent.chmod(parent.stat().st_mode | 0o055)
    words = ["demo", "--rows", "1000", "--dir", lab.base / "lake", "--mount", lab.point]
    words += ["--nfs", f"127.0.0.1:{lab.port}"]
    with open(lab.log_path, "wb") as log:
        process = subprocess.Popen(
            [str(env.binary), *map(str, words)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=lab.environment(),
            user=NOBODY, group=NOBODY, extra_groups=[],
        )  # fmt: skip
    lab.process = process
    deadline = time.monotonic() + 60
    while not lab.mounted():
        assert process.poll() is None and time.monotonic() < deadline, lab.log()
        time.sleep(0.1)
    shop = f"{lab.point}/acme/shop"
    host.check(f"cd {shop} && sed -i 's/,Berlin,/,Hamburg,/' customers.csv", user=NOBODY)
    seen = host.check(
        f"grep -c ,Berlin, {shop}/customers.csv; head -1 {shop}/orders.csv", user=NOBODY
    ).text  # fmt: skip
    assert seen == "0\norder_id,customer_id,ordered_at,status,shipping,note\n", seen
    process.send_signal(signal.SIGINT)
    assert process.wait(15) == 0, lab.log()
    assert not lab.mounted(), "still mounted"
    said = lab.log(8000)
    assert "not mounted over NFS: only root may mount" in said, said
    assert f"Mounted on {lab.point}; Ctrl-C unmounts and ends" in said, said


@case
def both_fronts_of_one_gateway_show_the_same(env):
    """One process serves NFS and FUSE; a save through one shows on the other."""
    fuse = fuse_env(env)
    lab = fuse.own_lab("both").init()
    lab.load("acme/shop/t", START, "id")
    lab.mount_options = ["--nfs", f"127.0.0.1:{lab.port}"]
    lab.start()
    url = f"nfs://127.0.0.1/?version=3&nfsport={lab.port}&mountport={lab.port}"
    seen = fuse.guest.check(f"nfs-ls '{url}'").text
    assert "acme" in seen, seen
    fuse.guest.check(f"echo 6,fay,60 >> {lab.mount()}/acme/shop/t.csv")
    url = f"nfs://127.0.0.1/acme/shop/?version=3&nfsport={lab.port}&mountport={lab.port}"
    listing = fuse.guest.check(f"nfs-ls '{url}'").text
    line = next(s for s in listing.splitlines() if s.endswith(" t.csv"))
    assert str(len(APPENDED)) in line.split(), line


@case
def the_user_is_told_what_is_missing(env):
    """A mount that cannot be made fails with the remedy and changes nothing."""
    fuse = fuse_env(env)
    lab = fuse.own_lab("missing").init()
    file = lab.base / "a-file"
    file.write_text("x")
    done = lab.command("mount", lab.lake, file, "--state", lab.state)
    assert done.rc != 0 and done.err.strip(), done
    nowhere = lab.command("mount", lab.base / "no-lake", lab.point, "--state", lab.state)
    assert nowhere.rc == 3, nowhere
    assert not lab.mounted()
    if lab.mounted():
        raise LabError("mounted after all")
