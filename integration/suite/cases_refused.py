"""A save that the table cannot take fails where the tool can see it, changes nothing, says why."""

import csv
import io

from cases_write import run_in
from lab import MOUNT_OPTIONS, difference
from runner import case
from tools import START

# Each puts `notanumber` (or another fault) into the table in the way of one tool.
REFUSED = {
    "bash_echo_append": "echo 6,fay,notanumber >> t.csv",
    "bin_echo_append": "/bin/echo 6,fay,notanumber >> t.csv",
    "tee_append": "echo 6,fay,notanumber | tee -a t.csv >/dev/null",
    "cat_append": "echo 6,fay,notanumber > $W/r; cat $W/r >> t.csv",
    "one_bad_row_among_good": "/usr/bin/printf '6,fay,60\\n7,gus,notanumber\\n8,hal,80\\n' >> t.csv",
    "dd_append": "echo 6,fay,notanumber | dd of=t.csv oflag=append conv=notrunc status=none",
    "awk_append": "gawk 'BEGIN { print \"6,fay,notanumber\" >> \"t.csv\"; "
                  "exit close(\"t.csv\") != 0 }'",
    "python_append": "python3 -c \"with open('t.csv', 'a') as f: f.write('6,fay,notanumber\\n')\"",
    "cp_over": "sed s/,20/,notanumber/ t.csv > $W/y; cp $W/y t.csv",
    "mv_over": "sed s/,20/,notanumber/ t.csv > t.tmp; mv t.tmp t.csv",
    "sed_i": "sed -i s/,20/,notanumber/ t.csv",
    "perl_pi": "perl -pi -e s/,20/,notanumber/ t.csv",
    "vim": "$VIM -es -c '%s/,20/,notanumber/' -c wq t.csv",
    "vim_backupcopy_yes": "$VIM -es -c 'set backupcopy=yes' -c '%s/,20/,notanumber/' -c wq t.csv",
    "sort_o": "sed s/,20/,notanumber/ t.csv > $W/y; LC_ALL=C sort -r -o t.csv $W/y",
    "rsync": "sed s/,20/,notanumber/ t.csv > $W/t.csv; rsync $W/t.csv t.csv",
    "python_os_replace": "python3 -c \"import os; s = open('t.csv').read(); "
                         "open('t.tmp', 'w').write(s.replace(',20', ',notanumber')); "
                         "os.replace('t.tmp', 't.csv')\"",
}  # fmt: skip
# Other faults, each by an append that waits for its verdict: what errors.csv must mention.
FAULTS = {
    "too_few_fields": ("6,fay", ""),
    "too_many_fields": ("6,fay,60,more", ""),
    "open_quote": ('6,"fay,60', ""),
    "same_key_twice": ("6,fay,60\n6,gus,70", "6"),
    "number_out_of_range": ("99999999999999999999,fay,60", "99999999999999999999"),
    "not_utf8": ("6,f\\377y,60", ""),
}  # fmt: skip


def scope_with_table(env, name):
    """A fresh SuperTable with the start table; (its name, its directory in the guest)."""
    scope = f"acme/refused_{name}"
    env.lab.load(f"{scope}/t", START, "id")
    return scope, f"{env.lab.mount()}/{scope}"


def refusals(env, directory):
    """The rows of errors.csv as dicts."""
    text = env.guest.check(f"cat {directory}/t/errors.csv").text
    return list(csv.DictReader(io.StringIO(text)))


def unchanged(env, scope, directory):
    """Engine and mount show the table as it was; the mount within a few seconds."""
    got = env.lab.cat(f"{scope}/t")
    assert got == START.encode(), f"engine: {difference(got, START.encode())}"
    look = env.guest.run(
        f"for i in $(seq 40); do cmp -s {directory}/t.csv - <<'EOF' && exit 0\n{START}EOF\n"
        f"sleep 0.1; done; cat {directory}/t.csv; exit 1", 30
    )  # fmt: skip
    assert look.rc == 0, f"the mount goes on showing something else: {look}"


def check_refused(env, name, script):
    """Exit code, table, reason, and that the next good save works."""
    scope, directory = scope_with_table(env, name)
    done = run_in(env, directory, script)
    assert done.rc != 0, f"the tool did not notice: {done}; log {env.lab.log(800)}"
    unchanged(env, scope, directory)
    rows = refusals(env, directory)
    assert rows, "errors.csv is empty"
    told = ",".join(map(str, rows[-1].values()))
    assert "notanumber" in told and "qty" in told, f"errors.csv says only {told}"
    env.guest.check(f"echo 9,zoe,90 >> {directory}/t.csv")
    env.lab.expect(f"{scope}/t", START + "9,zoe,90\n")


def check_fault(env, name, row, mention):
    """A malformed append."""
    scope, directory = scope_with_table(env, f"fault_{name}")
    # Not printf of the shell: that writes line by line, and each line is an append of its own.
    done = env.guest.run(f"/usr/bin/printf '%b\\n' '{row}' >> {directory}/t.csv")
    assert done.rc != 0, f"the shell did not notice: {done}; log {env.lab.log(800)}"
    unchanged(env, scope, directory)
    rows = refusals(env, directory)
    assert rows, "errors.csv is empty"
    told = ",".join(map(str, rows[-1].values()))
    assert mention in told, f"errors.csv says only {told}"


def _register():
    for name, script in REFUSED.items():
        case(name=name)(lambda env, n=name, s=script: check_refused(env, n, s))
    for name, (row, mention) in FAULTS.items():
        case(name=name)(lambda env, n=name, r=row, m=mention: check_fault(env, n, r, m))


_register()


@case
def why_tells_the_reason_on_the_command_line(env):
    scope, directory = scope_with_table(env, "why")
    env.guest.run(f"echo 6,fay,notanumber >> {directory}/t.csv")
    said = env.lab.cli("why", f"{scope}/t").out
    assert b"notanumber" in said and b"qty" in said, said


@case
def last_error_is_prose(env):
    scope, directory = scope_with_table(env, "prose")
    env.guest.run(f"echo 6,fay,notanumber >> {directory}/t.csv")
    said = env.guest.check(f"cat {directory}/t/last-error.txt").text
    assert "notanumber" in said and "qty" in said, said


@case
def vim_interactive_keeps_the_buffer(env):
    """A refused :wq leaves the user in vim with the text; after a correction the save works."""
    scope, directory = scope_with_table(env, "vim_typed")
    strokes = [":%%s/,20/,notanumber/\\r", ":w\\r", ":%%s/,notanumber/,21/\\r", ":w!\\r", ":q\\r"]
    typed = "; ".join(f"sleep 0.7; printf '{s}'" for s in strokes)
    done = run_in(env, directory, f"({typed}; sleep 0.5) | timeout 30 script -qec "
                                  '"$VIM t.csv" /dev/null > $W/screen; cat $W/screen')  # fmt: skip
    # E667: over FUSE, fsync answers the verdict.
    told = any(word in done.out for word in (b"rror", b"E5", b"E667"))
    assert told, f"vim showed no error: {done}"
    env.lab.expect(f"{scope}/t", START.replace(",20", ",21"))


@case
def what_each_mount_option_tells_bash(env):
    """Measures: does `echo >>` of bash learn of EINVAL without `sync`, with `write=wait`?"""
    scope, _ = scope_with_table(env, "options")
    base = MOUNT_OPTIONS.removesuffix(",sync") + ",nosharecache"
    told = {}
    for tag, options in (
        ("async", base),
        ("wait", base + ",write=wait"),
        ("eager", base + ",write=eager"),
        ("sync", base + ",sync"),
    ):
        where = f"{env.lab.mount(options=options, tag=tag)}/{scope}"
        bash = env.guest.run(f"echo 6,fay,notanumber >> {where}/t.csv")
        tool = env.guest.run(f"/bin/echo 6,fay,notanumber >> {where}/t.csv")
        told[tag] = (bash.rc, tool.rc)
        env.lab.unmount(tag)
    summary = "; ".join(f"{k}: bash {b}, /bin/echo {t}" for k, (b, t) in told.items())
    env.note(f"exit codes of a refused append by mount option: {summary}")
    assert told["sync"][0] != 0, f"sync must tell bash: {summary}"
    assert all(tool != 0 for _, tool in told.values()), f"/bin/echo must be told: {summary}"
    got = env.lab.cat(f"{scope}/t")
    assert got == START.encode(), difference(got, START.encode())
