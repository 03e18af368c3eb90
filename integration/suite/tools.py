"""Ways in which people change a file, as shell scripts with the content that they must lead to.

Each script runs in a directory that holds t.csv; $W is an empty directory on another file system,
$VIM a vim without the user's settings.
"""

from dataclasses import dataclass, field

START = "id,name,qty\n1,ann,10\n2,bob,20\n3,cid,30\n4,dee,40\n5,eve,50\n"
APPENDED = START + "6,fay,60\n"
CHANGED = START.replace("bob", "BOB")
DELETED = START.replace("3,cid,30\n", "")
LARGE_ROWS = 40_000


def large(row_changes=None):
    """A table of a few MB: several pages and several WRITEs of 1 MiB."""
    changes = row_changes or {}
    rows = (changes.get(i, f"{i},customer number {i:08d} of the long list,{i * 7 % 1000}\n")
            for i in range(1, LARGE_ROWS + 1))  # fmt: skip
    return "id,name,qty\n" + "".join(rows)


@dataclass
class Tool:
    """A script and what it must lead to."""

    name: str
    script: str
    want: str = None  # content of t.csv afterwards; None: t.csv is gone
    others: dict = field(default_factory=dict)  # other files that are tables afterwards
    start: str = START
    # The rewrite is shorter than the table and written in place: it must be confirmed.
    shrinks: bool = False
    keyless_too: bool = False
    # Snapshots of t that the script makes; None: as many as the client's WRITEs, or t is gone.
    saves: int | None = 1
    # The same where each close ends a save (FUSE), if that makes a difference.
    saves_at_close: int | None = None
    here: str = None  # what a table shows where it must differ from a plain file


def edit(command):
    """vim, not interactive."""
    return f"$VIM -es {command} -c '%s/bob/BOB/' -c wq t.csv"


def keys(command, *strokes):
    """An interactive editor on a terminal of its own; strokes are printf formats, one a pause.

    The first comes when the editor has drawn its screen: earlier the terminal would take control
    characters for signals."""
    typed = "; ".join(f"printf '{stroke}'; sleep 0.4" for stroke in strokes)
    ready = "until [ -s $W/screen ]; do sleep 0.1; done; sleep 0.5"
    run = f"timeout 30 script -qec \"{command}\" /dev/null > $W/screen"
    return f"({ready}; {typed}) | {run}"


APPENDS = [
    Tool("echo_append", "echo 6,fay,60 >> t.csv", APPENDED, keyless_too=True),
    Tool("echo_append_warm", "cat t.csv >/dev/null; echo 6,fay,60 >> t.csv", APPENDED,
         keyless_too=True),
    Tool("echo_append_cold", "echo 3 > /proc/sys/vm/drop_caches; echo 6,fay,60 >> t.csv", APPENDED),
    Tool("bin_echo_append", "/bin/echo 6,fay,60 >> t.csv", APPENDED),
    Tool("appends_in_a_row", "for i in 6 7 8 9; do echo $i,n$i,$i >> t.csv || exit 1; done",
         START + "6,n6,6\n7,n7,7\n8,n8,8\n9,n9,9\n", keyless_too=True, saves=4),
    Tool("here_document", "cat >> t.csv <<'EOF'\n6,fay,60\n7,\"gus, jr\",\nEOF",
         APPENDED + '7,"gus, jr",\n', keyless_too=True),
    Tool("two_rows_one_printf", "printf '6,fay,60\\n7,gus,70\\n' >> t.csv",
         APPENDED + "7,gus,70\n", saves=2),
    Tool("tee_append", "echo 6,fay,60 | tee -a t.csv >/dev/null", APPENDED),
    Tool("logger_keeps_it_open",
         "exec 3>>t.csv; for i in 6 7 8; do echo $i,n$i,$i >&3 || exit 1; done; exec 3>&-",
         START + "6,n6,6\n7,n7,7\n8,n8,8\n", keyless_too=True, saves=3),
    Tool("awk_appends_thousands",
         "awk 'BEGIN { for (i = 6; i <= 3000; i++) print i \",n\" i \",\" i }' >> t.csv",
         START + "".join(f"{i},n{i},{i}\n" for i in range(6, 3001)), saves=None),
    Tool("python_append",
         "python3 - <<'EOF'\nwith open('t.csv', 'a') as f:\n    f.write('6,fay,60\\n')\n"
         "    f.flush()\n    f.write('7,gus,70\\n')\nEOF",
         APPENDED + "7,gus,70\n", saves=2),
    Tool("dd_append", "printf '6,fay,60\\n' | dd of=t.csv oflag=append conv=notrunc status=none",
         APPENDED),
    Tool("ed_append", "printf 'a\\n6,fay,60\\n.\\nw\\nq\\n' | ed -s t.csv", APPENDED),
    Tool("append_to_large", "echo 40001,last,1 >> t.csv", large() + "40001,last,1\n",
         start=large()),
]  # fmt: skip

EDITS = [
    Tool("sed_i_change", "sed -i s/bob/BOB/ t.csv", CHANGED, keyless_too=True),
    Tool("sed_i_delete", "sed -i /cid/d t.csv", DELETED, keyless_too=True),
    Tool("sed_i_insert", "sed -i '/bob/a 6,fay,60' t.csv",
         START.replace("3,cid", "6,fay,60\n3,cid"), keyless_too=True),
    Tool("sed_i_all_at_once", "sed -i -e s/bob/BOB/ -e /cid/d -e '$a 6,fay,60' t.csv",
         CHANGED.replace("3,cid,30\n", "") + "6,fay,60\n", keyless_too=True),
    Tool("sed_i_changes_nothing", "sed -i s/nobody/x/ t.csv", START, saves=0),
    Tool("sed_i_bak", "sed -i.bak s/bob/BOB/ t.csv && grep -q bob t.csv.bak && rm t.csv.bak",
         CHANGED),
    Tool("sed_i_large", "sed -i 's/^20000,.*/20000,changed,1/' t.csv",
         large({20000: "20000,changed,1\n"}), start=large()),
    Tool("perl_pi", "perl -pi -e s/bob/BOB/ t.csv", CHANGED, keyless_too=True),
    Tool("perl_pi_orig", "perl -pi.orig -e s/bob/BOB/ t.csv && rm t.csv.orig", CHANGED),
    Tool("gawk_inplace", "gawk -i inplace '{ sub(/bob/, \"BOB\"); print }' t.csv", CHANGED),
    Tool("ed", "printf ',s/bob/BOB/\\nw\\nq\\n' | ed -s t.csv", CHANGED),
    Tool("sort_o", "{ head -1 t.csv; tail -n +2 t.csv | sort -r; } > $W/s && sort -s -k1,1r $W/s "
         ">/dev/null && cp $W/s t.csv",
         "id,name,qty\n5,eve,50\n4,dee,40\n3,cid,30\n2,bob,20\n1,ann,10\n"),
    Tool("sort_o_onto_itself", "LC_ALL=C sort -r -o t.csv t.csv",
         "id,name,qty\n5,eve,50\n4,dee,40\n3,cid,30\n2,bob,20\n1,ann,10\n", keyless_too=True),
    Tool("sponge", "sed s/bob/BOB/ t.csv | sponge t.csv", CHANGED),
    Tool("patch", "sed s/bob/BOB/ t.csv > $W/new; diff -u t.csv $W/new > $W/p; patch -s t.csv $W/p",
         CHANGED),
    Tool("vim_default", edit("-n"), CHANGED),
    Tool("vim_with_swap", edit(""), CHANGED),
    Tool("vim_backupcopy_yes", edit("-c 'set backupcopy=yes'"), CHANGED),
    Tool("vim_backupcopy_no", edit("-c 'set backupcopy=no'"), CHANGED),
    Tool("vim_nowritebackup", edit("-c 'set nowritebackup nobackup'"), CHANGED),
    Tool("vim_keeps_backup", edit("-c 'set backup backupcopy=no'") + " && rm t.csv~", CHANGED),
    Tool("vim_two_saves", "$VIM -es -c '%s/bob/BOB/' -c w -c '%s/cid/CID/' -c wq t.csv",
         CHANGED.replace("cid", "CID"), saves=2),
    Tool("vim_delete_line", "$VIM -es -c g/cid/d -c wq t.csv", DELETED, shrinks=True),
    Tool("vim_typed", keys("$VIM t.csv", ":%%s/bob/BOB/\\r", ":wq\\r"), CHANGED),
    Tool("nano_typed", keys("nano --ignorercfiles t.csv", "\\034bob\\r", "BOB\\r", "a",
                            "\\017", "\\r", "\\030"), CHANGED),
    Tool("nano_backup_typed", keys("nano --ignorercfiles -B t.csv", "\\034bob\\r", "BOB\\r", "a",
                                   "\\017", "\\r", "\\030") + "; rm -f t.csv~", CHANGED),
    Tool("python_r_plus",
         "python3 - <<'EOF'\nwith open('t.csv', 'r+') as f:\n    s = f.read()\n    f.seek(0)\n"
         "    f.write(s.replace('bob', 'BOB'))\n    f.truncate()\nEOF",
         CHANGED, keyless_too=True),
    Tool("python_r_plus_shorter",
         "python3 - <<'EOF'\nwith open('t.csv', 'r+') as f:\n    s = f.read()\n    f.seek(0)\n"
         "    f.write(s.replace('3,cid,30\\n', ''))\n    f.truncate()\nEOF",
         DELETED, shrinks=True, keyless_too=True),
    Tool("python_os_replace",
         "python3 - <<'EOF'\nimport os, tempfile\ns = open('t.csv').read().replace('bob', 'BOB')\n"
         "fd, name = tempfile.mkstemp(dir='.')\nwith os.fdopen(fd, 'w') as f:\n    f.write(s)\n"
         "    f.flush()\n    os.fsync(fd)\nos.replace(name, 't.csv')\nEOF",
         CHANGED),
    Tool("python_mmap",
         "python3 - <<'EOF'\nimport mmap\nwith open('t.csv', 'r+b') as f:\n"
         "    m = mmap.mmap(f.fileno(), 0)\n    i = m.find(b'bob')\n    m[i:i+3] = b'BOB'\n"
         "    m.flush()\nEOF",
         CHANGED),
    Tool("dd_middle",
         "printf B | dd of=t.csv bs=1 seek=$(grep -b -o bob t.csv | cut -d: -f1) conv=notrunc "
         "status=none",
         START.replace("bob", "Bob")),
]  # fmt: skip

REWRITES = [
    Tool("grep_v_then_cat", "grep -v cid t.csv > $W/y && cat $W/y > t.csv", DELETED, shrinks=True,
         keyless_too=True),
    Tool("cp_over", "sed s/bob/BOB/ t.csv > $W/y && cp $W/y t.csv", CHANGED, keyless_too=True),
    Tool("cp_p_over", "sed s/bob/BOB/ t.csv > $W/y && cp -p $W/y t.csv", CHANGED),
    Tool("cp_remove_destination",
         "sed s/bob/BOB/ t.csv > $W/y && cp --remove-destination $W/y t.csv", CHANGED),
    Tool("install", "sed s/bob/BOB/ t.csv > $W/y && install -m 644 $W/y t.csv", CHANGED),
    Tool("mv_from_elsewhere", "sed s/bob/BOB/ t.csv > $W/y && mv $W/y t.csv", CHANGED),
    Tool("mv_from_beside", "sed s/bob/BOB/ t.csv > t.tmp && mv t.tmp t.csv", CHANGED,
         keyless_too=True),
    Tool("mv_dot_name_beside", "sed /cid/d t.csv > .t.csv.new && mv -f .t.csv.new t.csv", DELETED),
    # Another size: rsync skips files of the same size and second.
    Tool("rsync", "sed s/bob/BOBBY/ t.csv > $W/t.csv && rsync $W/t.csv t.csv",
         START.replace("bob", "BOBBY")),
    Tool("rsync_archive", "sed s/bob/BOBBY/ t.csv > $W/t.csv; rm $W/new.csv; rsync -a $W/ ./",
         START.replace("bob", "BOBBY")),
    Tool("rsync_inplace", "sed s/bob/BOBBY/ t.csv > $W/t.csv && rsync --inplace $W/t.csv t.csv",
         START.replace("bob", "BOBBY")),
    Tool("tee", "sed s/bob/BOB/ t.csv > $W/y && tee t.csv < $W/y > /dev/null", CHANGED),
    Tool("dd_whole", "sed s/bob/BOB/ t.csv > $W/y && dd if=$W/y of=t.csv bs=16 status=none",
         CHANGED),
    Tool("cat_over_large", "sed 's/^39999,.*/39999,changed,1/' t.csv > $W/y && cat $W/y > t.csv",
         large({39999: "39999,changed,1\n"}), start=large()),
    Tool("cp_over_large", "sed 's/^5,.*/5,changed,1/' t.csv > $W/y && cp $W/y t.csv",
         large({5: "5,changed,1\n"}), start=large()),
    Tool("truncate_last_row", "truncate -s -9 t.csv", START.replace("5,eve,50\n", ""),
         shrinks=True),
    Tool("head_keeps_two", "head -3 t.csv > $W/y && cat $W/y > t.csv",
         "id,name,qty\n1,ann,10\n2,bob,20\n", shrinks=True, keyless_too=True),
    Tool("header_only", "head -1 t.csv > $W/y && cat $W/y > t.csv", "id,name,qty\n", shrinks=True),
    Tool("slow_writer", "sed s/bob/BOB/ t.csv > $W/y; (while IFS= read -r l; do echo \"$l\"; "
         "sleep 0.2; done < $W/y) > t.csv", CHANGED),
    Tool("touch_and_chmod", "touch t.csv && chmod 644 t.csv && touch -d '2026-01-01' t.csv", START,
         saves=0),
]  # fmt: skip

CREATIONS = [
    Tool("cp_new", "cp $W/new.csv n.csv", START,
         {"n": "k,v\n1,one\n2,two\n"}, saves=0),
    Tool("cp_a_new", "cp -a $W/new.csv n.csv", START, {"n": "k,v\n1,one\n2,two\n"}, saves=0),
    Tool("cat_new", "cat $W/new.csv > n.csv", START, {"n": "k,v\n1,one\n2,two\n"}, saves=0),
    Tool("mv_new_from_elsewhere", "mv $W/new.csv n.csv", START,
         {"n": "k,v\n1,one\n2,two\n"}, saves=0),
    Tool("header_then_rows", "echo k,v > n.csv && echo 1,one >> n.csv && echo 2,two >> n.csv",
         START, {"n": "k,v\n1,one\n2,two\n"}, saves=0),
    Tool("copy_of_a_table", "cp t.csv n.csv", START, {"n": START}, saves=0),
    Tool("vim_new", "$VIM -es -c 'r '$W/new.csv -c wq n.csv", START,
         {"n": "k,v\n1,one\n2,two\n"}, saves=0),
    Tool("rename", "mv t.csv n.csv", None, {"n": START}),
    Tool("rename_twice", "mv t.csv n.csv && mv n.csv o.csv && echo 6,fay,60 >> o.csv", None,
         {"o": APPENDED}),
]  # fmt: skip
