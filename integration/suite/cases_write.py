"""Every way of saving leads to the table that the same way leads to on the kernel's NFS server."""

from lab import difference
from runner import case
from tools import APPENDS, CREATIONS, EDITS, REWRITES
from tools_programs import PROGRAMS

# One script for all of it, because a command in the guest is what costs time: make the directory,
# run the tool, then print each file that is left as a line "NAME SIZE" and its bytes.
PREPARE = """
W=$SCRATCH/w; rm -rf $W; mkdir $W
printf 'k,v\\n1,one\\n2,two\\n' > $W/new.csv
export W VIM="vim -u NONE -i NONE -N"
cd "$DIR" || exit 99
"""
COLLECT = r"""
[ -z "$START_FILE" ] || { mkdir -p "$DIR" && cp "$START_FILE" "$DIR/t.csv" || exit 98; }
( eval "$TOOL" ) > $SCRATCH/tool.out 2> $SCRATCH/tool.err; rc=$?
tail -c 1500 $SCRATCH/tool.out $SCRATCH/tool.err >&2
[ -z "$CONFIRM" ] || echo sync > "$CONFIRM" || { echo "sync through .control failed" >&2; exit 97; }
cd "$DIR" || exit 99
for f in * .[!.]*; do
    [ -f "$f" ] || continue
    cat "$f" > $SCRATCH/one || exit 96
    printf '%s %d\n' "$f" $(stat -c %s $SCRATCH/one)
    cat $SCRATCH/one
done
exit $rc
"""


def run_in(env, directory, script, timeout=90):
    """Runs a tool script there."""
    return env.guest.run(PREPARE + script, timeout, {"DIR": directory})


def run_and_collect(env, directory, script, start="", confirm=""):
    """Runs a tool script there; (outcome, content of the files that are left by name)."""
    variables = {
        "DIR": directory,
        "TOOL": PREPARE + script,
        "START_FILE": start,
        "CONFIRM": confirm,
    }
    done = env.guest.run(COLLECT, 100, variables)
    files, rest = {}, done.out
    while rest:
        line, _, rest = rest.partition(b"\n")
        name, _, size = line.decode().rpartition(" ")
        files[name], rest = rest[: int(size)], rest[int(size) :]
    done.out = b""
    return done, files


def compare(files, wanted_files, where):
    """Names and contents are what the tool must leave."""
    assert sorted(files) == sorted(wanted_files), f"{where}: names left: {sorted(files)}"
    for name, text in wanted_files.items():
        assert files[name] == text, f"{where}: {name}: {difference(files[name], text)}"


def wanted(tool, here=False):
    """The files that must be there, with their content; `here`: below the mount of a lake."""
    files = {f"{name}.csv": text.encode() for name, text in tool.others.items()}
    text = tool.here if here and tool.here is not None else tool.want
    if text is not None:
        files["t.csv"] = text.encode()
    return files


def check_oracle(env, tool):
    """The script itself does on the kernel's server what tools.py says it does."""
    directory = env.oracle.directory()
    (env.guest.share / "start.csv").write_text(tool.start)
    start = f"{env.guest.guest_share}/start.csv"
    done, files = run_and_collect(env, directory, tool.script, start)
    assert done.rc == 0, f"kernel's server: {done}"
    compare(files, wanted(tool), "kernel's server")


def check_gateway(env, tool, keys):
    """The script has the same effect on a table, and the engine agrees."""
    lab = env.lab
    scope = f"acme/{tool.name}_{'keyed' if keys else 'plain'}"
    lab.load(f"{scope}/t", tool.start, keys)
    before = snapshots(lab, f"{scope}/t")
    directory = f"{lab.mount()}/{scope}"
    confirm = f"{lab.mount()}/.control" if tool.shrinks else ""
    done, files = run_and_collect(env, directory, tool.script, confirm=confirm)
    assert done.rc == 0, f"{done}; gateway log: {lab.log(1200)}"
    wanted_files = wanted(tool, here=True)
    compare(files, wanted_files, "through the mount")
    for name, text in wanted_files.items():
        lab.expect(f"{scope}/{name.removesuffix('.csv')}", text)
    assert tables_in_lake(lab, scope) == sorted(wanted_files), "something else is in the lake"
    saves = tool.saves
    if lab.closes_end_saves and tool.saves_at_close is not None:
        saves = tool.saves_at_close
    if saves is not None and "t.csv" in wanted_files:
        made = snapshots(lab, f"{scope}/t") - before
        assert made == saves, f"{made} snapshots were made by {saves} saves"


def snapshots(lab, table):
    """How many snapshots a table has."""
    return len(lab.cli("log", table, "--quiet").out.splitlines())


def tables_in_lake(lab, scope):
    """The tables of a SuperTable as files of the mount; fails if other files are in the lake."""
    found = set()
    for path in (lab.lake / scope).rglob("*"):
        if path.is_file():
            assert path.suffix in (".parquet", ".json", ".bin", ".dv"), f"{path} is in the lake"
    for line in lab.cli("ls", scope).out.decode().splitlines()[1:]:
        found.add(line.split()[0].rpartition("/")[2] + ".csv")
    return sorted(found)


def register(tool):
    """One case on the gateway (two for tables without keys), one on the kernel's server alone."""

    def keyed(env):
        if env.use_oracle:
            check_oracle(env, tool)
        check_gateway(env, tool, "id")

    case(name=tool.name, group="write")(keyed)
    if tool.keyless_too:
        case(name=f"{tool.name}_without_keys", group="write")(
            lambda env: check_gateway(env, tool, None)
        )
    case(name=tool.name, group="write", oracle_only=True)(lambda env: check_oracle(env, tool))


for _tool in APPENDS + EDITS + REWRITES + CREATIONS + PROGRAMS:
    register(_tool)
