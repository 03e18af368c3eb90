"""Talks to supertable_agent.py, which runs the Python library in an environment of its own."""

import json
import os
import platform
import subprocess
import sys
import threading
from pathlib import Path

from lab import LabError

ORGANIZATION, SUPER = "acme", "shop"
# Columns of the text tables of tools.py.
COLUMNS = [["id", "int64"], ["name", "text"], ["qty", "int64"]]


def interpreter():
    """Python of the environment with the library: beside the suite's own."""
    named = os.environ.get("MOUNTABLE_SUPERTABLE_PYTHON")
    return Path(named or f"{sys.prefix}-supertable/bin/python")


def interpreter_v1():
    """The same for release 2.0.2."""
    named = os.environ.get("MOUNTABLE_SUPERTABLE_V1_PYTHON")
    return Path(named or f"{sys.prefix}-supertable-v1/bin/python")


class Library:
    """A process with the library on the lake of a lab whose catalogue is in Redis."""

    python, agent = staticmethod(interpreter), "supertable_agent.py"

    def __init__(self, lab, redis):
        self.lab = lab
        self.redis_port = redis.port
        self.errors = lab.base / "supertable.log"
        # The library finds the lake and Redis by its own variables; nothing else reaches it.
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(lab.base),
            "TZ": "UTC",
            "STORAGE_TYPE": "LOCAL",
            "SUPERTABLE_HOME": str(lab.lake),
            "SUPERTABLE_REDIS_HOST": "127.0.0.1",
            "SUPERTABLE_REDIS_PORT": str(self.redis_port),
            "SUPERTABLE_LOG_LEVEL": "ERROR",
        }
        agent = Path(__file__).resolve().parent / self.agent
        with open(self.errors, "ab") as errors:
            self.process = subprocess.Popen(
                [str(self.python()), "-B", str(agent), ORGANIZATION, SUPER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                cwd=lab.base,
                start_new_session=True,
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def ask(self, do, **request):
        """Sends a request and waits for its answer; an error of the library fails the case."""
        answer = self.try_ask(do, **request)
        if "error" in answer:
            raise LabError(f"the library, {do} {str(request)[:300]}: {answer['trace']}")
        return answer

    def try_ask(self, do, **request):
        """The answer, which may be an error of the library."""
        self.process.stdin.write(json.dumps({"do": do, **request}).encode() + b"\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise LabError(f"the library ended: {self.errors.read_text()[-2000:]}")
        return json.loads(line)

    def later(self, do, **request):
        """Asks on a thread of its own; a function that waits and gives the answer."""
        box = []
        thread = threading.Thread(target=lambda: box.append(self.try_ask(do, **request)))
        thread.start()

        def wait():
            thread.join()
            return box[0]

        return wait

    def write(self, table, rows, columns=COLUMNS, **options):
        """One write of rows of text cells."""
        return self.ask("write", table=table, columns=columns, rows=rows, **options)

    def agrees(self, table, what):
        """Both sides read the same rows and columns; their number."""
        text = self.lab.cat(f"{ORGANIZATION}/{SUPER}/{table}").decode()
        got = self.ask("compare", table=table, text=text)
        same = not (got["columns"] or got["only_python"] or got["only_mountable"])
        if not same:
            raise LabError(f"{what}: Mountable and the library read {table} unlike: {got}")
        return got["rows"]


class LibraryV1(Library):
    """Release 2.0.2 of the library."""

    python, agent = staticmethod(interpreter_v1), "supertable_v1_agent.py"

    def __init__(self, lab, redis):
        place_httpfs(lab.base)
        super().__init__(lab, redis)


def place_httpfs(home):
    """Puts DuckDB's extension where DuckDB looks for it, so that it downloads none."""
    packages = interpreter_v1().parent.parent / "lib"
    (found,) = packages.glob("python3*/site-packages/duckdb_extension_httpfs/extensions/*/*")
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    folder = home / ".duckdb" / "extensions" / found.parent.name / f"linux_{machine}"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / found.name).exists():
        (folder / found.name).symlink_to(found)
