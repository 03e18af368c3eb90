"""What the documents show is what happens: the tour of the README is typed into a shell below a real
mount and its output compared, and the commands of the documents are known to the binary."""

import itertools
import re
import subprocess
import time
from pathlib import Path

from lab import LabError
from runner import case

ROOT = Path(__file__).resolve().parent.parent.parent
DOCUMENTS = ("README.md", "docs/CLI.md", "docs/CONFIGURATION.md", "docs/OPERATIONS.md")
# A client sees what it changed itself at once, and small files of the gateway when its attribute
# cache is over: whoever types is not faster.
TYPING_SECONDS = 1.1
# Changes from run to run: dates of `ls`, times, ids of attempts, names in the trash, the client.
CHANGING = (
    (r"\b[A-Z][a-z]{2} [ \d]\d +(\d\d:\d\d|\d{4})\b", "DATE"),
    (r"\b20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", "TIME"),
    (r"\b\d{13}-[0-9a-f]{6}\b", "ATTEMPT"),
    (r"_\d{13}\b", "_DROPPED"),
    (r"\b\d{1,3}(\.\d{1,3}){3}/\S+?(?=[,\s]|$)", "CLIENT"),
)


def blocks(text):
    """The fenced blocks of a document, each as its lines."""
    found, inside = [], None
    for line in text.splitlines():
        if line.startswith("```"):
            if inside is None:
                inside = []
            else:
                found.append(inside)
                inside = None
        elif inside is not None:
            inside.append(line)
    return found


def steps(lines):
    """What is typed in a block, each with the lines that follow."""
    typed = []
    for line in lines:
        if line.startswith("$ "):
            typed.append((line[2:], []))
        elif typed:
            typed[-1][1].append(line)
    return typed


def normal(text):
    """Text without what differs between two runs."""
    for pattern, name in CHANGING:
        text = re.sub(pattern, name, text, flags=re.MULTILINE)
    return text.strip("\n")


def made_by_demo(lab, directory):
    """Makes the lake of the demo in a directory; what it said about that."""
    log = lab.base / "demo.log"
    with open(log, "wb") as out:
        demo = subprocess.Popen(
            [str(lab.env.binary), "demo", "--dir", str(directory), "--nfs", "127.0.0.1:0"],
            stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=lab.environment(),
        )  # fmt: skip
    deadline = time.monotonic() + 120
    try:
        while b"umount" not in log.read_bytes():
            if demo.poll() is not None or time.monotonic() > deadline:
                raise LabError(f"demo: {log.read_text()}")
            time.sleep(0.1)
    finally:
        demo.terminate()
        demo.wait(15)
    return log.read_text()


@case(seconds_max=300)
def the_tour_of_the_readme_is_true(env):
    text = (ROOT / "README.md").read_text()
    tour = [steps(lines) for lines in blocks(text.split("## Five minutes")[1].split("\n## ")[0])]
    assert len(tour) >= 7 and all(tour), tour
    lab = env.own_lab("readme")
    (_, made), *_ = tour[0]
    said = made_by_demo(lab, lab.base / "demo")
    lab.lake = lab.base / "demo" / "lake"
    assert "\n".join(made) in said, f"demo says {said!r}"
    lab.start()
    mount = lab.mount()
    compared = 0
    for command, shown in (step for block in tour[2:] for step in block):
        typed = command.replace("/mnt/lake", mount)
        done = env.guest.run(f"cd {mount}/acme/shop && exec bash -c \"$TYPED\" 2>&1", 90,
                             env={"TYPED": typed})  # fmt: skip
        got, wanted = normal(done.text), normal("\n".join(shown))
        # Programs say their own name as it was found.
        got, wanted = (t.replace("/bin/bash: ", "bash: ") for t in (got, wanted))
        assert got == wanted, f"$ {command}\nREADME:\n{wanted}\nnow:\n{got}"
        compared += bool(wanted)
        time.sleep(TYPING_SECONDS)
    assert compared > 12, f"only {compared} outputs are shown"


@case
def the_documents_name_no_command_that_is_not_there(env):
    lab = env.own_lab("verbs")
    known, checked = {}, 0
    for name in DOCUMENTS:
        for line in (line for lines in blocks((ROOT / name).read_text()) for line in lines):
            words = re.split(r"\s{2,}|#", line.strip().removeprefix("$ "))[0].split()
            words = words[words.index("mountable"):] if "mountable" in words else []
            # A verb, or a verb and what it does: `backup full`.
            rest = words[1:]
            while rest and rest[0].startswith("--"):
                rest = rest[1 if "=" in rest[0] else 2:]
            verb = tuple(itertools.takewhile(lambda w: re.fullmatch(r"[a-z]+", w), rest[:2]))
            if not verb:
                continue
            if verb not in known:
                done = lab.command(*verb, "--help")
                assert done.rc == 0, f"{name}: {line!r}: {done}"
                known[verb] = done.out.decode()
            for flag in (w.split("=")[0] for w in words if w.startswith("--")):
                assert flag in known[verb], f"{name}: {line!r}: no {flag}"
            checked += 1
    assert checked >= 8 and len(known) >= 5, (checked, sorted(known))
