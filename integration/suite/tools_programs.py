"""How programs save: editors, desktop programs, libraries, version control.

Those that are no package of a few MB are played by a Python script that makes the calls that they
were seen to make (VS Code, LibreOffice, Excel, TextEdit, Kate, file managers). `unseen` in a
script is what such a program does before its next save: it compares time and size with what it
had noted, and would tell its user "the file changed on disk" if they differ.
"""

from tools import APPENDED, CHANGED, DELETED, START, Tool, keys

TWICE = CHANGED.replace("cid", "CID")

PLAYED = """
import os, sys, time
OLD, NEW, NEWER = open('t.csv').read(), None, None
NEW = OLD.replace('bob', 'BOB')
NEWER = NEW.replace('cid', 'CID')
def stamp():
    s = os.stat('t.csv')
    return s.st_mtime_ns, s.st_size
def note():
    global noted
    noted = stamp()
def unseen():
    time.sleep(1.2)
    os.close(os.open('t.csv', os.O_RDONLY))
    if stamp() != noted:
        sys.exit(f'file changed on disk: {noted} {stamp()}')
def put(name, text, flags=os.O_WRONLY | os.O_CREAT | os.O_EXCL, sync=False):
    fd = os.open(name, flags, 0o644)
    os.write(fd, text.encode())
    if sync:
        os.fsync(fd)
    os.close(fd)
"""


def played(script):
    """A program played by its calls."""
    return f"python3 - <<'EOF'\n{PLAYED}{script}\nEOF"


def emacs(*forms):
    """emacs with its lock link, backup and autosave, which batch mode leaves out by itself."""
    before = "(setq create-lockfiles t make-backup-files t)"
    inner = " ".join((before, *forms))
    return f"timeout 60 emacs -Q --batch t.csv --eval '(progn {inner})'"


def replaced(old, new):
    """An emacs form that replaces a word."""
    return f'(progn (goto-char (point-min)) (search-forward "{old}") (replace-match "{new}" t))'


EMACS_UNSEEN = ("(progn (sleep-for 1.2) "
                "(or (verify-visited-file-modtime (current-buffer)) (kill-emacs 9)))")  # fmt: skip
NVIM = "timeout 30 nvim --headless -u NONE -i NONE -c 'set directory=.'"

# Each saves without a change, with one, and with another one after a look at time and size.
EDITORS = [
    Tool("nvim",
         f"{NVIM} -c w -c '%s/bob/BOB/' -c w -c 'sleep 1200m' -c checktime -c '%s/cid/CID/' -c wq "
         "t.csv", TWICE, saves=2),
    Tool("vim_second_save_sees_no_change",
         "$VIM -es -c w -c '%s/bob/BOB/' -c w -c 'sleep 1200m' -c checktime -c '%s/cid/CID/' "
         "-c wq t.csv", TWICE, saves=2),
    Tool("emacs",
         emacs("(set-buffer-modified-p t)", "(save-buffer)", replaced("bob", "BOB"),
               '(or (file-symlink-p ".#t.csv") (kill-emacs 8))',
               "(auto-save-mode 1)", "(do-auto-save)",
               '(or (file-exists-p "#t.csv#") (kill-emacs 7))', "(save-buffer)",
               '(if (file-exists-p "#t.csv#") (kill-emacs 6))', EMACS_UNSEEN,
               replaced("cid", "CID"), "(setq backup-by-copying t buffer-backed-up nil)",
               "(save-buffer)", '(if (file-symlink-p ".#t.csv") (kill-emacs 5))') +
         " && grep -q BOB t.csv~ && rm t.csv~", TWICE, saves=2),
    Tool("joe", "export HOME=$W; " +
         keys("joe t.csv", "\\016\\016\\006\\006\\004\\004\\004BOB", "\\013d\\r",
              "\\016\\002\\002\\002\\004\\004\\004CID", "\\013x") + "; rm -f t.csv~",
         TWICE, saves=2),
    Tool("nano_two_saves",
         keys("nano --ignorercfiles t.csv", "\\034bob\\r", "BOB\\r", "a", "\\017", "\\r",
              "\\034cid\\r", "CID\\r", "a", "\\017", "\\r", "\\030"), TWICE, saves=2),
    Tool("ex", "printf '%%s/bob/BOB/\\nwq\\n' | vim -u NONE -i NONE -e -s t.csv", CHANGED),
]  # fmt: skip

DESKTOP = [
    Tool("gio_save", "sed s/bob/BOB/ t.csv > $W/y && gio save t.csv < $W/y", CHANGED),
    Tool("gio_save_with_backup",
         "sed s/bob/BOB/ t.csv > $W/y && gio save -b t.csv < $W/y && grep -q bob t.csv~ && "
         "rm t.csv~", CHANGED),
    Tool("gio_append", "echo 6,fay,60 | gio save -a t.csv", APPENDED),
    Tool("gio_copy_over", "sed s/bob/BOB/ t.csv > $W/y && gio copy $W/y t.csv", CHANGED),
    Tool("gio_copy_new", "gio copy $W/new.csv n.csv", START, {"n": "k,v\n1,one\n2,two\n"},
         saves=0),
    Tool("gedit_temporary_beside", played("""
put('.goutputstream-PQ8CZ3', NEW)
os.rename('.goutputstream-PQ8CZ3', 't.csv')
note(); unseen()
put('.goutputstream-C06BZ3', NEWER)
os.link('t.csv', 't.csv~')
os.rename('.goutputstream-C06BZ3', 't.csv')
os.remove('t.csv~')"""), TWICE, saves=2),
    Tool("vscode_truncate_and_write", played("""
for text in NEW, NEWER:
    fd = os.open('t.csv', os.O_RDWR)
    os.ftruncate(fd, 0)
    os.write(fd, text.encode())
    os.fdatasync(fd)
    os.close(fd)
    note(); unseen()"""), TWICE, saves=2),
    Tool("vscode_open_truncates", played("""
for text in NEW, NEWER:
    put('t.csv', text, os.O_WRONLY | os.O_TRUNC)
    note(); unseen()"""), TWICE, saves=2),
    Tool("libreoffice_in_place", played("""
put('.~lock.t.csv#', ',root,guest,21.11.2026 12:00,file:///root/.config;')
fd = os.open('t.csv', os.O_RDWR)
os.ftruncate(fd, 0)
for at in range(0, len(NEW), 32):
    os.pwrite(fd, NEW[at:at + 32].encode(), at)
os.fsync(fd)
os.close(fd)
note(); unseen()
assert open('.~lock.t.csv#').read().startswith(',root')
os.remove('.~lock.t.csv#')"""), CHANGED),
    Tool("libreoffice_temporary_beside", played("""
put('.~lock.t.csv#', ',root,guest,21.11.2026 12:00,file:///root/.config;')
put('lu12345abc.tmp', NEW, sync=True)
os.rename('lu12345abc.tmp', 't.csv')
note(); unseen()
os.remove('.~lock.t.csv#')"""), CHANGED),
    Tool("excel_two_renames", played("""
put('~$t.csv', '\\x05Admin' + ' ' * 150)
put('5F3A1000', NEW, sync=True)
os.rename('t.csv', '2C4B5D6E.tmp')
os.rename('5F3A1000', 't.csv')
assert 'bob' in open('2C4B5D6E.tmp').read()
os.remove('2C4B5D6E.tmp')
note(); unseen()
os.remove('~$t.csv')"""), CHANGED),
    Tool("textedit_directory_beside", played("""
os.mkdir('.sb-1a2b3c4d-XyZ012')
put('.sb-1a2b3c4d-XyZ012/t.csv', NEW)
os.rename('.sb-1a2b3c4d-XyZ012/t.csv', 't.csv')
os.rmdir('.sb-1a2b3c4d-XyZ012')
note(); unseen()"""), CHANGED),
    Tool("kate_temporary_beside", played("""
put('t.csv.AbCdEf', NEW, os.O_RDWR | os.O_CREAT | os.O_EXCL, sync=True)
os.chmod('t.csv.AbCdEf', 0o644)
os.rename('t.csv.AbCdEf', 't.csv')
note(); unseen()"""), CHANGED),
    Tool("file_managers_leave_their_files", played("""
for name in '.DS_Store', '._t.csv', 'Thumbs.db', 'desktop.ini', '.directory', '._.DS_Store':
    put(name, 'x' * 4096)
    with open(name, 'r+') as file:
        file.write('own')
    assert open(name).read().startswith('ownxxx'), name
os.makedirs('.Trash-0/files')
put('.Trash-0/files/old.csv', OLD)
os.remove('.Trash-0/files/old.csv')
os.rmdir('.Trash-0/files')
os.rmdir('.Trash-0')
for name in '.DS_Store', '._t.csv', 'Thumbs.db', 'desktop.ini', '.directory', '._.DS_Store':
    os.remove(name)"""), START, saves=0),
]  # fmt: skip

LIBRARIES = [
    Tool("pandas", """python3 - <<'EOF'
import pandas as p
d = p.read_csv('t.csv')
d.loc[d.name == 'bob', 'name'] = 'BOB'
d.to_csv('t.csv', index=False)
p.DataFrame({'id': [6], 'name': ['fay'], 'qty': [60]}).to_csv(
    't.csv', mode='a', header=False, index=False)
p.DataFrame({'k': [1, 2], 'v': ['one', 'two']}).to_csv('n.csv', index=False)
assert list(p.read_csv('t.csv').name)[1::4] == ['BOB', 'fay']
EOF""", CHANGED + "6,fay,60\n", {"n": "k,v\n1,one\n2,two\n"}, saves=2, keyless_too=True),
    Tool("python_csv_writer",
         "python3 - <<'EOF'\nimport csv\nrows = list(csv.reader(open('t.csv', newline='')))\n"
         "with open('t.csv', 'w', newline='') as f:\n"
         "    csv.writer(f, lineterminator='\\n').writerows(\n"
         "        [[c.replace('bob', 'BOB') for c in r] for r in rows])\nEOF", CHANGED),
    Tool("git_init_add_commit",
         "export HOME=$W; git init -q . && git add t.csv && "
         "git -c user.name=a -c user.email=a@b commit -qm one && git status --porcelain t.csv && "
         "git log --oneline && rm -rf .git", START, saves=0),
    Tool("git_checkout_goes_back",
         "export HOME=$W; g() { git -c user.name=a -c user.email=a@b \"$@\"; }; "
         "g init -q . && g add t.csv && g commit -qm one && sed -i s/bob/BOB/ t.csv && "
         "g commit -qam two && g checkout -q HEAD~1 -- t.csv && grep -q bob t.csv && "
         "g checkout -q HEAD -- t.csv && test -z \"$(g status --porcelain t.csv)\" && rm -rf .git",
         CHANGED, saves=3),
]  # fmt: skip

SHELLS = [
    Tool("nothing_redirected", ": > t.csv", "", here="id,name,qty\n", shrinks=True),
    Tool("truncate_to_nothing", "truncate -s 0 t.csv", "", here="id,name,qty\n", shrinks=True),
    Tool("emptied_then_appended",
         "sed s/bob/BOB/ t.csv > $W/y; : > t.csv; cat $W/y >> t.csv", CHANGED),
    Tool("rewritten_line_by_line",
         "sed s/bob/BOB/ t.csv > $W/y; head -1 $W/y > t.csv; tail -n +2 $W/y | "
         "while IFS= read -r l; do echo \"$l\" >> t.csv; done", CHANGED, saves_at_close=6),
    Tool("sed_redirected", "sed s/bob/BOB/ t.csv > $W/y; cat < $W/y > t.csv", CHANGED),
    Tool("dash_append", "dash -c 'echo 6,fay,60 >> t.csv'", APPENDED),
    Tool("two_processes_append",
         "a() { for i in $1 $2 $3 $4 $5; do echo $i,n$i,$i >> t.csv || exit 1; done; }; "
         "a 10 11 12 13 14 & p=$!; a 20 21 22 23 24 & wait $p && wait $! && "
         "sort -t, -k1,1n t.csv > $W/s && cp $W/s t.csv",
         START + "".join(f"{i},n{i},{i}\n" for i in [*range(10, 15), *range(20, 25)]), saves=None,
         keyless_too=True),
    Tool("two_processes_keep_it_open",
         "a() { exec 3>>t.csv; for i in $1 $2 $3 $4 $5; do echo $i,n$i,$i >&3 || exit 1; done; }; "
         "a 10 11 12 13 14 & p=$!; a 20 21 22 23 24 & wait $p && wait $! && "
         "sort -t, -k1,1n t.csv > $W/s && cp $W/s t.csv",
         START + "".join(f"{i},n{i},{i}\n" for i in [*range(10, 15), *range(20, 25)]), saves=None,
         keyless_too=True),
    Tool("cat_same_over", "cat t.csv > $W/y; cat $W/y > t.csv", START, saves=0),
    Tool("cp_same_over", "cp t.csv $W/y; cp $W/y t.csv", START, saves=0),
    Tool("mv_same_over", "cp t.csv t.tmp; mv t.tmp t.csv", START, saves=0),
    Tool("touch_of_an_empty_new_file", "touch n.csv && test -e n.csv && test ! -s n.csv && "
         "echo k,v > n.csv && printf '1,one\\n' | cat >> n.csv", START, {"n": "k,v\n1,one\n"},
         saves=0),
    Tool("empty_new_file_is_renamed", "touch n.csv && mv n.csv o.csv && cat $W/new.csv > o.csv",
         START, {"o": "k,v\n1,one\n2,two\n"}, saves=0),
    Tool("empty_new_file_is_removed", "touch n.csv && rm n.csv && test ! -e n.csv", START, saves=0),
    Tool("delete_and_write_anew", "sed /cid/d t.csv > $W/y; rm t.csv; cat $W/y > t.csv", DELETED,
         shrinks=True),
]  # fmt: skip

PROGRAMS = EDITORS + DESKTOP + LIBRARIES + SHELLS
