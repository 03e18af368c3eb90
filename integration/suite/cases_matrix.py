"""Every tool and every reason to refuse: the tool's exit code, its message, and the table after it.

The matrix of the design: a tool that ends with 0 although its rows were refused has lost them for
its user. All tools of a case work on one table one after the other, which the refusals must leave
as it is; so the case fails at the first tool that gets a row in.
"""

import csv
import io

from cases_write import PREPARE
from lab import MOUNT_OPTIONS, difference
from runner import LONG, case
from tools import START

# Each appends the file $W/bad to t.csv, or saves t.csv with its rows at the end.
TOOLS = {
    "bash_echo": 'echo "$BAD" >> t.csv',
    "bash_printf": "printf '%s\\n' \"$BAD\" >> t.csv",
    "dash_echo": "dash -c 'echo \"$BAD\" >> t.csv'",
    "bin_echo": '/bin/echo "$BAD" >> t.csv',
    "cat_append": "cat $W/bad >> t.csv",
    "tee_append": "tee -a t.csv < $W/bad > /dev/null",
    "dd_append": "dd if=$W/bad of=t.csv oflag=append conv=notrunc status=none",
    "awk_append": "gawk '{ print >> \"t.csv\" } END { exit close(\"t.csv\") != 0 }' $W/bad",
    "python_close": "python3 -c \"import os; f = open('t.csv', 'a'); "
                    "f.write(os.environ['BAD'] + chr(10)); f.close()\"",
    "python_with": "python3 -c \"import os\nwith open('t.csv', 'a') as f: "
                   "f.write(os.environ['BAD'] + chr(10))\"",
    "cat_over": "cat t.csv $W/bad > $W/y; cat $W/y > t.csv",
    "cp_over": "cat t.csv $W/bad > $W/y; cp $W/y t.csv",
    "tee_over": "cat t.csv $W/bad > $W/y; tee t.csv < $W/y > /dev/null",
    "dd_over": "cat t.csv $W/bad > $W/y; dd if=$W/y of=t.csv status=none",
    "sort_o": "cat t.csv $W/bad > $W/y; LC_ALL=C sort -o t.csv -k1,1r $W/y",
    "sed_i": 'sed -i "\\$a $BAD" t.csv',
    "perl_i": "perl -i -pe 'print \"$ENV{BAD}\\n\" if eof && !$done++; ' t.csv",
    "vim": "$VIM -es -c '$r '$W/bad -c wq t.csv",
    "vim_in_place": "$VIM -es -c 'set backupcopy=yes' -c '$r '$W/bad -c wq t.csv",
    "mv_over": "cat t.csv $W/bad > t.tmp; mv t.tmp t.csv",
    "rsync": "cat t.csv $W/bad > $W/t.csv; rsync --ignore-times $W/t.csv t.csv",
    "python_write_text": "python3 -c \"import os, pathlib; p = pathlib.Path('t.csv'); "
                         "p.write_text(p.read_text() + os.environ['BAD'] + chr(10))\"",
    "echo_and_sync": "echo \"$BAD\" >> t.csv && sync t.csv",
}  # fmt: skip
# One for each way in which a verdict reaches a program: with other reasons than a bad value.
SOME = ("bash_echo", "bin_echo", "dd_append", "cp_over", "sed_i", "perl_i", "mv_over")
# What is refused, and the code that errors.csv tells it by.
ERRORS = {
    "not_a_number": ("6,fay,notanumber", "MNT-1203"),
    "too_few_fields": ("6,fay", "MNT-1201"),
    "key_that_is_there": ("2,fay,60", "MNT-1311"),
    "no_key": (",fay,60", "MNT-1313"),
    "open_quote": ('6,"fay,60', "MNT-1202"),
}
# A key that is there twice in one text is told as that.
ALIKE = {"MNT-1311": {"MNT-1311", "MNT-1312"}, "MNT-1313": {"MNT-1313", "MNT-1205"}}

EACH = r"""
printf '%s\n' "$BAD" > $W/bad; export BAD W
tool() {
    ( eval "$2" ) > $W/out 2>&1; code=$?
    rm -f t.tmp sed?????? t.csv~ $W/t.csv
    same=no
    for try in 1 2 3 4 5 6 7 8 9 10; do
        cmp -s t.csv "$WANT" && same=yes && break; sleep 0.2
    done
    printf '%s\t%s\t%s\t%s\n' "$1" $code $same "$(tr '\n\t' '  ' < $W/out | tail -c 200)"
}
"""


def run_all(env, directory, bad, tools=TOOLS):
    """The outcome of each tool: exit code, whether the table is as before, what it said."""
    (env.guest.share / "matrix.csv").write_text(START)
    script = PREPARE + EACH + "".join(f"tool {name} {quote(s)}\n" for name, s in tools.items())
    done = env.guest.run(script, 110, {
        "DIR": directory, "BAD": bad, "WANT": f"{env.guest.guest_share}/matrix.csv",
    })  # fmt: skip
    assert done.rc == 0 or done.out, done
    rows = [line.split("\t") for line in done.text.splitlines()]
    assert [row[0] for row in rows] == list(tools), done
    return {name: (int(code), same == "yes", said) for name, code, same, said in rows}


def quote(script):
    """A shell word."""
    return "'" + script.replace("'", "'\\''") + "'"


def check(env, name, bad, code, tools):
    """All tools notice, nothing is changed, and each refusal is in errors.csv with its code."""
    scope = f"acme/matrix_{name}"
    env.lab.load(f"{scope}/t", START, "id")
    directory = f"{env.lab.mount()}/{scope}"
    told = run_all(env, directory, bad, tools)
    silent = {name: said for name, (code, _, said) in told.items() if code == 0}
    assert not silent, f"ended with 0 although refused: {silent}"
    changed = [name for name, (_, same, _) in told.items() if not same]
    assert not changed, f"the table was changed, or shown changed, by {changed}"
    got = env.lab.cat(f"{scope}/t")
    assert got == START.encode(), difference(got, START.encode())
    rows = list(csv.DictReader(io.StringIO(
        env.guest.check(f"sleep 1.1; cat {directory}/t/errors.csv").text)))  # fmt: skip
    codes = [row["code"] for row in rows]
    assert set(codes) <= ALIKE.get(code, {code}), f"other reasons than {code}: {set(codes)}"
    attempts = {row["attempt"] for row in rows}
    assert len(attempts) >= len(tools), f"{len(tools)} refusals, {len(attempts)} in errors.csv"
    for row in rows:
        assert row["reason"] and row["remedy"] and row["kept"], row
        assert row["errno"] == "EINVAL", row


def register(name, bad, code):
    """The case of one reason: with all tools for the commonest, or where there is time."""
    whole = LONG or name == "not_a_number"
    tools = TOOLS if whole else {tool: TOOLS[tool] for tool in SOME}
    case(name=name)(lambda env: check(env, name, bad, code, tools))


for _name, (_bad, _code) in ERRORS.items():
    register(_name, _bad, _code)


@case
def a_read_only_export(env):
    """Nothing can be written, each tool says so, and no refusal is recorded of what never came."""
    lab = env.own_lab("matrix_ro").init()
    lab.config.write_text('exports = ["192.168.77.0/24(ro)"]\n')
    lab.load("acme/shop/t", START, "id")
    lab.start()
    check_read_only(env, lab)


def check_read_only(env, lab):
    """All tools on a mount that takes no writes."""
    told = run_all(env, f"{lab.mount()}/acme/shop", "6,fay,60")
    silent = {name: said for name, (code, _, said) in told.items() if code == 0}
    # It warns and ends with 0 on every read-only file system.
    warned = silent.pop("perl_i", "Read-only file system")
    assert "Read-only file system" in warned, warned
    assert not silent, f"ended with 0 on a read-only export: {silent}"
    assert all(same for _, same, _ in told.values()), told
    # The client asks before it opens what exists (ACCESS), and words that as permission.
    words = ("Read-only file system", "Permission denied")
    spoke = [name for name, (_, _, said) in told.items() if any(w in said for w in words)]
    assert len(spoke) >= len(TOOLS) - 4, f"only {spoke} named the reason: {told}"
    got = lab.cat("acme/shop/t")
    assert got == START.encode(), difference(got, START.encode())


@case
def without_the_sync_option(env):
    """Programs that check `close` hear of it on any mount; which do not is what the manual says."""
    scope = "acme/matrix_async"
    env.lab.load(f"{scope}/t", START, "id")
    options = MOUNT_OPTIONS.removesuffix(",sync") + ",nosharecache"
    point = env.lab.mount(options=options, tag="matrix")
    told = run_all(env, f"{point}/{scope}", "6,fay,notanumber")
    env.lab.unmount("matrix")
    silent = {name for name, (code, _, _) in told.items() if code == 0}
    env.note(f"refused and not told on a mount without sync: {sorted(silent) or 'nobody'}")
    assert silent <= {"bash_echo", "bash_printf", "dash_echo"}, silent
    got = env.lab.cat(f"{scope}/t")
    assert got == START.encode(), difference(got, START.encode())
