"""What identifies rows, how columns change, and how anything is taken back: through the mount."""

import csv
import io
import time

from lab import difference
from runner import case
from tools import APPENDED, CHANGED, START


def table(env, name, text=START, keys="id"):
    """A fresh SuperTable with one table; (its name, its directory in the guest)."""
    scope = f"acme/tables_{name}"
    env.lab.load(f"{scope}/t", text, keys)
    return f"{scope}/t", f"{env.lab.mount()}/{scope}"


def refused(env, directory, script, *mentions):
    """A script that must fail, with what last-error.txt says about it."""
    done = env.guest.run(f"cd {directory}; {script}")
    assert done.rc != 0, f"{script} was taken"
    told = env.guest.check(f"sleep 1.1; cat {directory}/t/last-error.txt").text
    for mention in mentions:
        assert mention in told, f"{mention!r} is not in {told}"


@case
def rows_without_a_key_may_be_alike(env):
    name, directory = table(env, "keyless", keys=None)
    env.guest.check(f"cd {directory}; echo 2,bob,20 >> t.csv; echo 2,bob,20 >> t.csv")
    env.lab.expect(name, START + "2,bob,20\n2,bob,20\n")
    env.guest.check(f"cd {directory}; sed -i '$d' t.csv; sed -i '$s/20/21/' t.csv")
    env.lab.expect(name, START + "2,bob,21\n")


@case
def a_key_of_two_columns(env):
    name, directory = table(env, "composite", keys="id,name")
    env.guest.check(f"cd {directory}; echo 2,ben,1 >> t.csv")
    refused(env, directory, "echo 2,bob,99 >> t.csv", "same key", "line 8", "line 3")
    env.lab.expect(name, START + "2,ben,1\n")


@case
def keys_can_be_set_later(env):
    name, directory = table(env, "later", START + "2,bob,20\n", keys=None)
    done = env.guest.run(f"echo 'keys = [\"id\"]' > {directory}/t/config.toml")
    assert done.rc != 0, "two rows have the key 2"
    env.guest.check(f"cd {directory}; sed -i '$d' t.csv; echo 'keys = [\"id\"]' > t/config.toml")
    refused(env, directory, "echo 2,ben,1 >> t.csv", "MNT-1311", "line 7", "line 3")
    env.lab.expect(name, START)
    assert '"id"' in env.guest.check(f"sleep 1.1; grep keys {directory}/t/config.toml").text


@case
def a_key_without_a_value_is_refused(env):
    name, directory = table(env, "null")
    refused(env, directory, "echo ,nobody,1 >> t.csv", "no value", "line 7")
    refused(env, directory, "sed -i s/^2,/,/ t.csv", "no value", "line 3")
    env.lab.expect(name, START)


@case
def keys_that_occur_twice_are_refused_with_both_lines(env):
    name, directory = table(env, "twice")
    refused(env, directory, "/usr/bin/printf '6,x,1\\n7,y,1\\n6,z,1\\n' >> t.csv",
            "MNT-1312", "line 9", "line 7")  # fmt: skip
    refused(env, directory, "sed -i s/^4,/3,/ t.csv", "line 5", "line 4")
    env.lab.expect(name, START)


@case
def a_column_is_added_with_values_for_some_rows(env):
    name, directory = table(env, "added")
    env.guest.check(f"cd {directory}; sed -i -e '1s/$/,note/' -e '3s/$/,first/' "
                    "-e '2s/$/,/' -e '4,$s/$/,/' t.csv")  # fmt: skip
    lines = [line + "," for line in START.splitlines()]
    lines[0], lines[2] = "id,name,qty,note", "2,bob,20,first"
    env.lab.expect(name, "".join(line + "\n" for line in lines))
    env.guest.check(f"cd {directory}; echo 6,fay,60,last >> t.csv")
    env.lab.expect(name, "".join(line + "\n" for line in lines) + "6,fay,60,last\n")


@case
def a_column_is_dropped_renamed_and_moved(env):
    name, directory = table(env, "columns")
    env.guest.check(f"cd {directory}; sed -i 1s/name/who/ t.csv")
    env.lab.expect(name, START.replace("name", "who"))
    env.guest.check(f"cd {directory}; gawk -F, -v OFS=, '{{ print $3, $1, $2 }}' t.csv > "
                    "$SCRATCH/y; cp $SCRATCH/y t.csv")  # fmt: skip
    moved = "".join("{2},{0},{1}\n".format(*line.split(",")) for line in
                    START.replace("name", "who").splitlines())  # fmt: skip
    env.lab.expect(name, moved)
    env.guest.check(f"cd {directory}; cut -d, -f2,3 t.csv > t.tmp; mv t.tmp t.csv")
    wanted = "".join(line.split(",", 1)[1] + "\n" for line in moved.splitlines())
    env.lab.expect(name, wanted)
    # What was dropped is in the history.
    old = env.guest.check(f"sleep 1.1; cd {directory}; cat t/.at/$(($(tail -1 t/history.csv | "
                          "cut -d, -f1) - 1))/t.csv").text  # fmt: skip
    assert old == moved, old


@case
def headers_that_cannot_be_are_refused(env):
    name, directory = table(env, "headers")
    refused(env, directory, "sed -i 1s/name/id/ t.csv", "MNT-1221")
    refused(env, directory, "sed -i 1s/name// t.csv", "MNT-1222")
    refused(env, directory, "sed -i 1d t.csv", "MNT-1220", "header")
    refused(env, directory, "sed -i 1s/,qty// t.csv", "line")
    env.lab.expect(name, START)


@case
def values_that_a_column_cannot_hold_are_refused_with_the_remedy(env):
    name, directory = table(env, "narrow")
    refused(env, directory, "sed -i s/,20/,20.5/ t.csv", "qty", "20.5", "What to do: ")
    refused(env, directory, "sed -i s/,20/,many/ t.csv", "qty", "many", "What to do: ")
    env.lab.expect(name, START)


@case
def a_type_is_changed_in_the_configuration(env):
    """To a wider one by editing the type in config.toml; a type that holds not every value is
    refused with the place and the remedy."""
    name, directory = table(env, "retyped")
    refused(env, directory, "echo 6,fay,60.5 >> t.csv", "qty", "60.5", "config.toml")
    env.guest.check(f"cd {directory}/t; sed -i 's/^qty = .*/qty = \"decimal(10,2)\"/' config.toml")
    wanted = "".join(f"{line}.00\n" if line[0] != "i" else line + "\n" for line in START.split())
    env.lab.expect(name, wanted)
    env.guest.check(f"sleep 1.1; cd {directory}; grep -q 'decimal(10,2)' t/config.toml; "
                    "grep -q 'Decimal128(10, 2)' t/schema.json; echo 6,fay,60.5 >> t.csv")  # fmt: skip
    env.lab.expect(name, wanted + "6,fay,60.50\n")
    refused(env, directory, "sed -i 's/^qty = .*/qty = \"int64\"/' t/config.toml",
            "config.toml refused", "line 7", "60.50", "choose a type that holds it")  # fmt: skip
    refused(env, directory, "sed -i 's/^name = .*/name = \"int46\"/' t/config.toml", "int46",
            "What to do: ")  # fmt: skip
    env.lab.expect(name, wanted + "6,fay,60.50\n")


@case
def refused_rows_are_repaired_and_appended(env):
    name, directory = table(env, "repaired")
    env.guest.check(f"cd {directory}; ! echo 6,fay,sixty >> t.csv && cd t/rejected && "
                    "f=$(ls | tail -1) && sed s/sixty/60/ $f | tail -n +2 >> ../../t.csv",
                    30)  # fmt: skip
    env.lab.expect(name, APPENDED)


@case
def time_travel_by_time(env):
    name, directory = table(env, "at")
    rows = list(csv.DictReader(io.StringIO(
        env.guest.check(f"cat {directory}/t/history.csv").text)))  # fmt: skip
    time.sleep(0.01)
    env.guest.check(f"sed -i s/bob/BOB/ {directory}/t.csv")
    env.lab.expect(name, CHANGED)
    when = rows[-1]["time"]
    assert env.guest.check(f"cat {directory}/t/.at/{when}/t.csv").text == START
    env.guest.check(f"cd {directory}; cp t/.at/{when}/t.csv t.csv")
    env.lab.expect(name, START)


@case
def an_overwrite_is_undone_by_version(env):
    name, directory = table(env, "undo")
    env.guest.check(f"cd {directory}; v=$(tail -1 t/history.csv | cut -d, -f1); "
                    f"printf 'id,name,qty\\n9,zoe,90\\n' > $SCRATCH/y; mv $SCRATCH/y t.csv; "
                    f"echo sync > {env.lab.mount()}/.control; cat t.csv; "
                    f"cp t/.at/$v/t.csv t.csv")  # fmt: skip
    env.lab.expect(name, START)


@case
def a_dropped_table_is_restored_on_the_command_line(env):
    name, directory = table(env, "restored")
    scope = name.rpartition("/")[0]
    env.guest.check(f"rm {directory}/t.csv; echo sync > {env.lab.mount()}/.control")
    listed = env.lab.cli("restore", scope, "--quiet").out.decode().split()
    assert len(listed) >= 1, listed
    dropped = next(word for word in listed if word.startswith("t_") or word.startswith("t."))
    env.lab.cli("restore", scope, dropped)
    text = env.guest.check(f"sleep 1.2; cat {directory}/t.csv; wc -l < {directory}/t/history.csv")
    assert text.text.startswith(START), difference(text.out, START.encode())
    env.guest.check(f"echo 6,fay,60 >> {directory}/t.csv")
    env.lab.expect(name, APPENDED)
