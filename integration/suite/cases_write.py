"""Every way of saving leads to the table that the same way leads to on the kernel's NFS server."""

from lab import difference
from runner import case
from tools import APPENDS, CREATIONS, EDITS, REWRITES

PREPARE = """
W=$SCRATCH/w; rm -rf $W; mkdir $W
printf 'k,v\\n1,one\\n2,two\\n' > $W/new.csv
export W VIM="vim -u NONE -i NONE -N"
cd "$DIR" || exit 99
"""
LOOK = r"""
cd "$DIR" || exit 99
find . -maxdepth 1 -mindepth 1 -type f -printf '%f\n' | LC_ALL=C sort
"""


def names(env, directory):
    """The files (no directories) that are left."""
    return env.guest.check(LOOK, env={"DIR": directory}).text.split()


def run_in(env, directory, script, timeout=90):
    """Runs a tool script there."""
    return env.guest.run(PREPARE + script, timeout, {"DIR": directory})


def on_oracle(env, tool):
    """What the kernel's server makes of the script: (exit code, names, content by name)."""
    directory = env.oracle.directory()
    (env.guest.share / "start.csv").write_text(tool.start)
    env.guest.check(f"cp $SHARE/start.csv {directory}/t.csv")
    done = run_in(env, directory, tool.script)
    left = names(env, directory)
    texts = {name: env.guest.check(f"cat {directory}/{name}").out for name in left}
    env.guest.run(f"rm -rf {directory}")
    return done, left, texts


def wanted(tool):
    """The files that must be there, with their content."""
    files = {f"{name}.csv": text.encode() for name, text in tool.others.items()}
    if tool.want is not None:
        files["t.csv"] = tool.want.encode()
    return files


def check_oracle(env, tool):
    """The script itself does what this file says it does."""
    done, left, texts = on_oracle(env, tool)
    assert done.rc == 0, f"kernel's server: {done}"
    assert left == sorted(wanted(tool)), f"kernel's server: names {left}"
    for name, text in wanted(tool).items():
        assert texts[name] == text, f"kernel's server: {name}: {difference(texts[name], text)}"


def check_gateway(env, tool, keys):
    """The script has the same effect on a table, and the engine agrees."""
    lab = env.lab
    scope = f"acme/{tool.name}_{'keyed' if keys else 'plain'}"
    lab.load(f"{scope}/t", tool.start, keys)
    version = lab.cli("log", f"{scope}/t").out if tool.same_version else None
    directory = f"{lab.mount()}/{scope}"
    done = run_in(env, directory, tool.script)
    assert done.rc == 0, f"{done}; gateway log: {lab.log(1200)}"
    if tool.shrinks:
        settled = lab.settle()
        assert settled.rc == 0, f"echo sync > .control: {settled}"
    for name, text in wanted(tool).items():
        got = env.guest.check(f"cat {directory}/{name}").out
        assert got == text, f"through the mount, {name}: {difference(got, text)}"
    left = names(env, directory)
    assert left == sorted(wanted(tool)), f"names left: {left}"
    for name, text in wanted(tool).items():
        lab.expect(f"{scope}/{name.removesuffix('.csv')}", text)
    if version is not None:
        assert lab.cli("log", f"{scope}/t").out == version, "a version was made of no change"


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


for _tool in APPENDS + EDITS + REWRITES + CREATIONS:
    register(_tool)
