"""Reading with common tools; the kernel's NFS server with the same file is the model."""

from lab import difference
from runner import case
from tools import START, large

# Scripts whose whole output must be the same on a plain file and on a table.
READERS = {
    "cat": "cat t.csv",
    "head": "head -2 t.csv; head -c 30 t.csv",
    "tail": "tail -2 t.csv; tail -c 15 t.csv; tail -n +3 t.csv",
    "wc": "wc t.csv; wc -l < t.csv; wc -c < t.csv",
    "grep": "grep -n bob t.csv; grep -c , t.csv; grep -v id t.csv",
    "awk": "awk -F, 'NR > 1 { s += $3 } END { print s }' t.csv",
    "sort": "sort -t, -k3 -n -r t.csv",
    "cut": "cut -d, -f2 t.csv",
    "diff": "cp t.csv $SCRATCH/copy && diff t.csv $SCRATCH/copy && cmp t.csv $SCRATCH/copy && "
            "echo same",
    "cp_out": "cp t.csv $SCRATCH/out.csv && sha256sum < $SCRATCH/out.csv",
    "dd": "dd if=t.csv bs=7 skip=2 count=3 status=none",
    "od": "od -c t.csv | tail -3",
    "stat_size_kind_links": "stat -c '%s %F %h' t.csv",
    "find": "find . -maxdepth 1 -name '*.csv' -size -4k -type f",
    "du_apparent": "du -b t.csv",
    "paste_join_comm": "paste -d';' t.csv t.csv | head -2; comm -12 t.csv t.csv | wc -l",
    "less_to_a_pipe": "less t.csv | cat",
    "tac_rev_nl": "tac t.csv; rev t.csv; nl t.csv",
    "python_csv": "python3 -c \"import csv; print(list(csv.reader(open('t.csv'))))\"",
    "md5_of_ranges": "for s in 0 1 4095 4096 4097; do tail -c +$s t.csv | head -c 5000 | md5sum; "
                     "done",
    "mmap": "python3 -c \"import mmap; f = open('t.csv', 'rb'); "
            "print(mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)[-10:])\"",
}  # fmt: skip


def prepared(env, text, name):
    """The same content in a directory of each server: (on the gateway, on the model)."""
    scope = f"acme/read_{name}"
    loaded = env.__dict__.setdefault("read_loaded", set())
    models = env.__dict__.setdefault("read_models", {})
    if name not in loaded:
        env.lab.load(f"{scope}/t", text, "id")
        loaded.add(name)
    key = (name, env.guest.generation)
    if key not in models:
        model = env.oracle.directory() if env.use_oracle else f"{env.guest.scratch}/read_{name}"
        (env.guest.share / "read.csv").write_text(text)
        env.guest.check(f"mkdir -p {model}; cp $SHARE/read.csv {model}/t.csv")
        models[key] = model
    return f"{env.lab.mount()}/{scope}", models[key]


def check_reader(env, script, text, name):
    """Same exit code, same output."""
    here, model = prepared(env, text, name)
    wanted = env.guest.run(f"cd {model} && {script}")
    got = env.guest.run(f"cd {here} && {script}")
    assert wanted.rc == 0, f"the script fails on plain files: {wanted}"
    assert got.rc == 0, f"{got}; log {env.lab.log(800)}"
    assert got.out == wanted.out, difference(got.out, wanted.out)


def _register():
    for name, script in READERS.items():
        case(name=name)(lambda env, s=script: check_reader(env, s, START, "small"))
    for name in ("cat", "tail", "wc", "cp_out", "dd", "md5_of_ranges", "sort"):
        case(name=f"{name}_large")(
            lambda env, s=READERS[name]: check_reader(env, s, large(), "large")
        )


_register()


@case
def ls_la(env):
    here, _ = prepared(env, START, "small")
    text = env.guest.check(f"ls -la {here}").text
    line = next((s for s in text.splitlines() if s.endswith(" t.csv")), "")
    assert f" {len(START)} " in line and line.startswith("-rw"), text
    root = env.guest.check(f"ls -la {env.lab.mount()}").text
    assert "README.txt" in root and "acme" in root, root


@case
def times_move_with_the_version(env):
    here, _ = prepared(env, START, "times")
    before = env.guest.check(f"stat -c '%Y %i' {here}/t.csv; date +%s").text.split()
    assert abs(int(before[0]) - int(before[2])) < 600, before
    env.guest.check(f"sleep 1.1; echo 6,fay,60 >> {here}/t.csv; sleep 1.1")
    after = env.guest.check(f"stat -c '%Y %i %s' {here}/t.csv").text.split()
    assert int(after[0]) > int(before[0]), (before, after)
    assert after[1] == before[1], f"inode number changed: {before} {after}"
    assert int(after[2]) == len(START) + 9, after


@case
def df_and_du(env):
    here, _ = prepared(env, START, "small")
    env.guest.check(f"df {here} && df -i {here} && du -s {here}")


@case
def grep_r_finds_the_row_once_and_stays_cheap(env):
    scope = "acme/grepped"
    env.lab.load(f"{scope}/t", START.replace("ann", "needle_in_table"), "id")
    directory = f"{env.lab.mount()}/{scope}"
    text = env.guest.check(f"grep -r needle_in_table {directory} --include='*.csv' -l").text
    assert f"{directory}/t.csv" in text.split(), text
    rows = env.guest.check(f"grep -rh '1,needle_in_table,10' {directory} | wc -l").text
    assert int(rows) >= 1, rows


@case
def find_of_everything_has_no_errors(env):
    prepared(env, START, "small")
    done = env.guest.check(f"find {env.lab.mount()} -ls | wc -l", 90)
    assert int(done.text) > 5, done
    small = f"{env.lab.mount()}/acme/read_small"
    done = env.guest.run(f"find {small} -type f -exec cat {{}} + | wc -c", 90)
    assert done.rc == 0 and not done.err, done


@case
def a_missing_name_is_no_such_file(env):
    here, _ = prepared(env, START, "small")
    done = env.guest.run(f"cat {here}/none.csv")
    assert done.rc == 1 and b"No such file" in done.err, done


@case
def a_reader_sees_one_snapshot_while_another_appends(env):
    text = large()
    here, _ = prepared(env, text, "snapshot")
    done = env.guest.check(
        f"exec 3< {here}/t.csv; head -c 100000 <&3 > $SCRATCH/first; "
        f"(sleep 0.1; for i in 1 2 3; do echo 9000$i,late,1 >> {here}/t.csv; done) & wait; "
        f"cat <&3 > $SCRATCH/rest; cat $SCRATCH/first $SCRATCH/rest | wc -l; "
        f"tail -1 {here}/t.csv", 60
    )  # fmt: skip
    lines, last = done.text.split()
    # Whole lines only: either the snapshot that was opened or a later one, never a mixture.
    assert text.count("\n") <= int(lines) <= text.count("\n") + 3, done
    assert last == "90003,late,1", done


@case
def an_empty_table_is_its_header(env):
    env.lab.cli("create", "acme/empty/t", "--columns", "id:int64,name:text", "--keys", "id")
    text = env.guest.check(f"cat {env.lab.mount()}/acme/empty/t.csv").out
    assert text == b"id,name\n", text


@case
def every_type_has_its_text(env):
    """Values of each type go in by a file and come out as the canonical text."""
    env.lab.cli("create", "acme/types/t", "--columns",
                "id:int64,b:bool,f:float64,d:date,s:text,p:decimal(10,2)", "--keys", "id")  # fmt: skip
    rows = (
        "id,b,f,d,s,p\n"
        "1,true,1.0,2026-11-21,plain,1.50\n"
        '2,false,-0.1,1969-12-31,"a ""quoted"", one",-3.00\n'
        '3,,,,"",\n'
        '4,true,1e300,2000-02-29,"two\nlines",0.01\n'
        "5,true,inf,9999-12-31,,99999999.99\n"
    )
    directory = f"{env.lab.mount()}/acme/types"
    (env.guest.share / "types.csv").write_text(rows)
    env.guest.check(f"cp $SHARE/types.csv {directory}/t.csv")
    env.lab.expect("acme/types/t", rows)
    env.guest.drop_caches()
    got = env.guest.check(f"cat {directory}/t.csv").out
    assert got == rows.encode(), difference(got, rows.encode())
