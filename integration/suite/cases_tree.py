"""The tree around the tables: small files, history, sub-tree mounts, directories, trash, demo."""

import csv
import io
import json
import shutil
import signal
import subprocess
import time
from pathlib import Path

from guest import GATEWAY_ADDRESS
from lab import MOUNT_OPTIONS, LabError, free_port
from runner import case
from tools import APPENDED, CHANGED, START


def table(env, name, keys="id"):
    """A fresh SuperTable with the start table; (its name, its directory in the guest)."""
    scope = f"acme/{name}"
    env.lab.load(f"{scope}/t", START, keys)
    return scope, f"{env.lab.mount()}/{scope}"


def records(text):
    """CSV text as a list of dicts."""
    return list(csv.DictReader(io.StringIO(text)))


@case
def readme_at_the_root_and_beside_the_table(env):
    _, directory = table(env, "readme")
    root = env.guest.check(f"cat {env.lab.mount()}/README.txt").text
    assert ".control" in root and ".csv" in root, root
    own = env.guest.check(f"cat {directory}/t/README.txt").text
    assert "t" in own and len(own) > 40, own


@case
def listing_shows_tables_and_hides_dot_names(env):
    _, directory = table(env, "listing")
    listed = env.guest.check(f"ls -A {directory}").text.split()
    assert listed == ["t", "t.csv"], listed
    about = set(env.guest.check(f"ls -A {directory}/t").text.split())
    wanted = {"README.txt", "schema.json", "stats.json", "history.csv", "config.toml"}
    assert wanted <= about, about
    assert not [n for n in about if n.startswith(".")], about
    env.guest.check(f"ls -d {directory}/t/.at")


@case
def schema_and_stats_are_json(env):
    _, directory = table(env, "about")
    schema = json.loads(env.guest.check(f"cat {directory}/t/schema.json").out)
    assert "id" in json.dumps(schema) and "qty" in json.dumps(schema), schema
    stats = json.loads(env.guest.check(f"cat {directory}/t/stats.json").out)
    assert "5" in json.dumps(stats), stats


@case
def history_lists_every_version(env):
    scope, directory = table(env, "history")
    env.guest.check(f"echo 6,fay,60 >> {directory}/t.csv && sed -i s/bob/BOB/ {directory}/t.csv")
    env.lab.expect(f"{scope}/t", APPENDED.replace("bob", "BOB"))
    time.sleep(1.1)
    rows = records(env.guest.check(f"cat {directory}/t/history.csv").text)
    versions = [int(row["version"]) for row in rows]
    assert len(set(versions)) == len(versions) >= 3, rows
    assert abs(versions[0] - versions[-1]) == len(versions) - 1, versions
    assert any(row["rows"] == "6" for row in rows), rows


@case
def time_travel_by_version(env):
    scope, directory = table(env, "travel")
    before = current_version(env, directory)
    env.guest.check(f"sed -i s/bob/BOB/ {directory}/t.csv")
    env.lab.expect(f"{scope}/t", CHANGED)
    old = env.guest.check(f"cat {directory}/t/.at/{before}/t.csv").text
    assert old == START, old
    assert env.lab.cat(f"{scope}/t@{before}").decode() == START
    written = env.guest.run(f"echo 7,x,7 >> {directory}/t/.at/{before}/t.csv")
    assert written.rc != 0, "the past was written to"
    missing = env.guest.run(f"cat {directory}/t/.at/99999/t.csv")
    assert missing.rc == 1 and b"No such file" in missing.err, missing


@case
def going_back_is_copying_the_old_version_over(env):
    scope, directory = table(env, "revert")
    before = current_version(env, directory)
    env.guest.check(f"sed -i -e s/bob/BOB/ -e /cid/d {directory}/t.csv")
    env.lab.expect(f"{scope}/t", CHANGED.replace("3,cid,30\n", ""))
    env.guest.check(f"cp {directory}/t/.at/{before}/t.csv {directory}/t.csv")
    env.lab.expect(f"{scope}/t", START)


def current_version(env, directory):
    """The newest version number in history.csv."""
    rows = records(env.guest.check(f"cat {directory}/t/history.csv").text)
    return max(int(row["version"]) for row in rows)


@case
def config_is_checked_when_it_is_saved(env):
    _, directory = table(env, "config")
    before = env.guest.check(f"cat {directory}/t/config.toml").text
    done = env.guest.run(f"echo 'keys = [\"nosuchcolumn\"]' > {directory}/t/config.toml")
    assert done.rc != 0, f"a bad configuration was taken: {done}"
    after = env.guest.check(f"sleep 1.1; cat {directory}/t/config.toml").text
    assert after == before, after


@case
def sub_trees_are_exports(env):
    scope, directory = table(env, "subtree")
    for path, inside in (("/acme", "subtree/t.csv"), ("/acme/subtree", "t.csv")):
        tag = path.strip("/").replace("/", "-")
        point = env.lab.mount(path, tag=tag)
        text = env.guest.check(f"cat {point}/{inside}").text
        assert text == START, (path, text)
        assert env.guest.run(f"ls -a {point}/..").rc == 0
        env.lab.unmount(tag)
    point = env.lab.mount(f"/{scope}", tag="write")
    env.guest.check(f"echo 6,fay,60 >> {point}/t.csv")
    env.lab.expect(f"{scope}/t", APPENDED)
    env.lab.unmount("write")
    done = env.lab.try_mount(f"{env.guest.scratch}/none", "/acme/nosuch")
    assert done.rc != 0, "a directory that does not exist was mounted"
    done = env.lab.try_mount(f"{env.guest.scratch}/none", "/acme/../../etc")
    assert done.rc != 0, "a path out of the lake was mounted"


@case
def mkdir_makes_a_super_table_and_rmdir_drops_it_when_empty(env):
    point = env.lab.mount()
    new = f"{point}/made/here"
    env.guest.check(f"mkdir -p {new} && printf 'a,b\\n1,x\\n' > {new}/n.csv")
    env.lab.expect("made/here/n", "a,b\n1,x\n")
    assert b"here" in env.lab.cli("ls", "made").out
    done = env.guest.run(f"rmdir {point}/made/here")
    assert done.rc != 0 and b"not empty" in done.err, done
    env.guest.check(f"rm {point}/made/here/n.csv; echo sync > {point}/.control; sleep 6")
    env.guest.check(f"rmdir {point}/made/here")
    assert b"here" not in env.lab.cli("ls", "made").out


@case
def names_that_are_not_allowed_are_refused(env):
    point = env.lab.mount()
    for name in ("UPPER", "with space", "a:b", "a*b", "-dash", "x" * 70):
        done = env.guest.run(f"mkdir '{point}/{name}'")
        assert done.rc != 0, f"mkdir {name!r} was taken"
        done = env.guest.run(f"mkdir '{point}/acme/{name}'")
        assert done.rc != 0, f"mkdir acme/{name!r} was taken"


@case
def rm_can_be_taken_back(env):
    scope, directory = table(env, "trash")
    env.guest.check(f"rm {directory}/t.csv")
    gone = env.guest.run(f"cat {directory}/t.csv")
    assert gone.rc == 1 and b"No such file" in gone.err, gone
    deadline = time.monotonic() + 12
    while env.lab.command(*env.lab.lake_options(), "cat", f"{scope}/t").rc == 0:
        assert time.monotonic() < deadline, "the engine still has the table"
        time.sleep(0.3)
    listed = env.guest.check(f"ls -A {directory}/.trash").text.split()
    assert listed, "the trash is empty"
    name = listed[0]
    env.guest.check(f"mv '{directory}/.trash/{name}' {directory}/t.csv")
    env.lab.expect(f"{scope}/t", START)
    env.guest.check(f"sleep 1.1; echo 6,fay,60 >> {directory}/t.csv")
    env.lab.expect(f"{scope}/t", APPENDED)


@case
def rm_and_new_content_at_once_is_a_save(env):
    scope, directory = table(env, "resave")
    env.guest.check(
        f"cd {directory}; sed s/bob/BOB/ t.csv > $SCRATCH/y; rm t.csv; cp $SCRATCH/y t.csv"
    )
    env.lab.expect(f"{scope}/t", CHANGED)
    rows = records(env.guest.check(f"sleep 1.1; cat {directory}/t/history.csv").text)
    assert len(rows) >= 2, f"the history was lost: {rows}"


@case
def mv_between_super_tables(env):
    scope, directory = table(env, "moved_from")
    env.guest.check(f"mkdir {env.lab.mount()}/acme/moved_to")
    env.guest.check(f"mv {directory}/t.csv {env.lab.mount()}/acme/moved_to/u.csv")
    env.lab.expect("acme/moved_to/u", START)
    assert env.lab.command(*env.lab.lake_options(), "cat", f"{scope}/t").rc != 0


@case
def header_edits_change_columns(env):
    scope, directory = table(env, "evolve")
    env.guest.check(f"sed -i -e '1s/$/,note/' -e '2,$s/$/,n/' {directory}/t.csv")
    wanted = "id,name,qty,note\n" + "".join(f"{line},n\n" for line in START.splitlines()[1:])
    env.lab.expect(f"{scope}/t", wanted)
    env.guest.check(f"sed -i '1s/name/full_name/' {directory}/t.csv")
    env.lab.expect(f"{scope}/t", wanted.replace("id,name,", "id,full_name,", 1))


@case
def generous_input_becomes_canonical(env):
    scope, directory = table(env, "generous")
    env.guest.check(
        f"printf '\\357\\273\\277' > $SCRATCH/y; sed -e s/bob/BOB/ -e 's/$/\\r/' {directory}/t.csv "
        f">> $SCRATCH/y; printf '6,\"fay\",60' >> $SCRATCH/y; cp $SCRATCH/y {directory}/t.csv; "
        f"echo sync > {env.lab.mount()}/.control"
    )
    env.lab.expect(f"{scope}/t", CHANGED + "6,fay,60\n")


@case
def two_clients_that_edit_different_rows_both_win(env):
    """Two gateways on one lake: to each the guest is another client (two mounts of one gateway
    come from one machine and count as one author)."""
    first = env.own_lab("clients_one").init()
    other = env.own_lab("clients_two", lake=first.lake)
    scope = "acme/clients"
    first.load(f"{scope}/t", START, "id")
    first.start()
    other.start()
    directory, second = f"{first.mount()}/{scope}", f"{other.mount()}/{scope}"
    env.guest.check(
        f"cat {directory}/t.csv {second}/t.csv > /dev/null; "
        f"sed s/bob/BOB/ {directory}/t.csv > $SCRATCH/1; "
        f"sed s/dee/DEE/ {second}/t.csv > $SCRATCH/2; cp $SCRATCH/1 {directory}/t.csv; "
        f"cp $SCRATCH/2 {second}/t.csv"
    )
    first.expect(f"{scope}/t", CHANGED.replace("dee", "DEE"))
    env.guest.check(f"sleep 1.3; cmp {directory}/t.csv {second}/t.csv")
    for lab in (other, first):
        lab.unmount()
        lab.stop()


@case
def a_change_by_the_engine_shows_on_the_mount(env):
    scope, directory = table(env, "foreign")
    env.guest.check(f"cat {directory}/t.csv")
    env.lab.load(f"{scope}/t", "id,name,qty\n6,fay,60\n")
    text = env.guest.check(f"sleep 1.2; cat {directory}/t.csv").text
    assert text == APPENDED, text


@case
def scratch_files_never_reach_the_lake(env):
    scope, directory = table(env, "scratch")
    env.guest.check(
        f"cd {directory}; for n in .t.csv.swp 4913 t.csv~ '#t.csv#' notes.txt; do "
        "echo x > \"$n\" && grep -q x \"$n\" || exit 1; done; ln -s nowhere .#t.csv; mkdir .sb-1"
    )
    listed = env.lab.cli("ls", scope).out.decode().split()
    assert "swp" not in " ".join(listed) and "notes" not in " ".join(listed), listed
    env.guest.check(f"cd {directory}; rm -rf .t.csv.swp 4913 t.csv~ '#t.csv#' notes.txt "
                    ".#t.csv .sb-1")  # fmt: skip
    # A name that was meant to be a table's and cannot be one is refused, not hidden in scratch.
    done = env.guest.run(f"echo a,b > '{directory}/Bad Name.csv'")
    assert done.rc != 0, "a table name that is not allowed was taken"


@case
def the_mount_scripts_mount_and_unmount(env):
    scripts = Path(__file__).resolve().parents[2] / "mount-scripts"
    for name in ("mount_linux.sh", "umount.sh"):
        shutil.copy(scripts / name, env.guest.share / name)
    _, directory = table(env, "scripted")
    point = f"{env.guest.scratch}/scripted"
    options = f"--host {GATEWAY_ADDRESS} --port {env.lab.port}"
    done = env.guest.check(
        f"$SHARE/mount_linux.sh {options} {point} && cat {point}/acme/scripted/t.csv && "
        f"cat /sys/class/bdi/$(mountpoint -d {point})/read_ahead_kb && $SHARE/umount.sh {point} && "
        f"! mountpoint -q {point}"
    )
    assert done.text == START + "16384\n", done
    done = env.guest.check(f"$SHARE/mount_linux.sh --dry-run {options} --path /acme {point}")
    assert f"{GATEWAY_ADDRESS}:/acme {point}" in done.text, done
    read_only = env.guest.run(
        f"$SHARE/mount_linux.sh {options} --read-only --path /acme/scripted {point} && "
        f"echo 6,fay,60 >> {point}/t.csv; code=$?; $SHARE/umount.sh {point}; exit $code"
    )
    assert read_only.rc != 0 and b"Read-only" in read_only.err, read_only
    assert env.guest.check(f"cat {directory}/t.csv").text == START


@case(seconds_max=180)
def demo_serves_what_it_says(env):
    lab = env.own_lab("demo")
    port = free_port()
    words = [str(env.binary), "demo", "--dir", str(lab.base / "demo"), "--nfs", f"127.0.0.1:{port}"]
    with open(lab.base / "demo.log", "wb") as log:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=lab.environment()
        )
    try:
        options = f"?version=3&nfsport={port}&mountport={port}"
        deadline = time.monotonic() + 60
        while True:
            listed = subprocess.run(
                ["nfs-ls", "-R", f"nfs://127.0.0.1/{options}"],
                capture_output=True,
                timeout=60,
                check=False,
            )
            if listed.returncode == 0 or time.monotonic() > deadline or process.poll() is not None:
                break
            time.sleep(0.3)
        said = (lab.base / "demo.log").read_bytes()[-1500:]
        if listed.returncode:
            raise LabError(f"demo does not serve: {listed.stderr!r}, {said!r}")
        assert b".csv" in listed.stdout, listed.stdout
        assert str(port).encode() in said, f"demo does not say how to mount: {said!r}"
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
    assert code in (0, -15, 143), f"demo ended with {code}"


@case(seconds_max=150)
def demo_mounts_by_itself(env):
    """As root on a kernel with NFS, `demo --mount DIR` mounts, serves and unmounts."""
    place = "$SCRATCH/demo"
    shutil.copy(env.binary, env.guest.share / "mountable")
    done = env.guest.run(
        f"ip link set lo up; mkdir -p {place}/m; "
        f"XDG_STATE_HOME={place}/state XDG_CONFIG_HOME={place}/config HOME={place} "
        f"$SHARE/mountable demo --rows 100000 --dir {place}/d --nfs 127.0.0.1:12049 "
        f"--mount {place}/m > {place}/log 2>&1 & demo=$!; "
        f"for i in $(seq 200); do [ -f {place}/m/acme/shop/orders.csv ] && break; "
        f"kill -0 $demo || break; sleep 0.3; done; "
        f"head -1 {place}/m/acme/shop/orders.csv; "
        f"wc -l < {place}/m/acme/shop/order_lines.csv; "
        f"kill -INT $demo; wait $demo; echo ended $?; "
        f"mountpoint -q {place}/m && echo still mounted; cat {place}/log >&2; rm -rf {place}/d",
        140,
    )
    lines = done.text.splitlines()
    assert lines[:1] == ["order_id,customer_id,ordered_at,status,shipping,note"], done
    assert int(lines[1]) > 100_000, done
    assert lines[2:] == ["ended 0"], done
