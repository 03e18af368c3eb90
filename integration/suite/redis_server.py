"""Redis servers and Sentinels of the cases' own, on directories of their own."""

import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

from lab import READY_SECONDS_MAX, LabError, free_port

# Every write is on disk before it is answered.
DURABLE = ("--appendonly", "yes", "--appendfsync", "always", "--save", "")
# What the server does without a configuration: a dump now and then.
DEFAULT = ("--appendonly", "no", "--save", "3600 1 300 100 60 10000")
# For cases that never stop the server.
MEMORY = ("--appendonly", "no", "--save", "")


class Redis:
    """A redis-server of its own, unless told otherwise with every write on disk."""

    def __init__(self, base, persistence=DURABLE, options=(), password=None, port=None):
        self.base = Path(base)
        self.base.mkdir(parents=True, exist_ok=True)
        self.port = port or free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.persistence = persistence
        self.options = list(options)
        self.password = password
        self.process = None

    def start(self):
        """Starts it and waits until it answers PING."""
        with open(self.base / "redis.log", "ab") as log:
            self.process = subprocess.Popen(
                ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir",
                 str(self.base), *self.persistence, "--maxmemory-policy", "noeviction",
                 *self.options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + READY_SECONDS_MAX
        while True:
            try:
                answer = self.ask("PING")
            except (OSError, LabError):
                answer = None
            # Without a password it answers so, too.
            if answer is not None and answer.startswith((b"+PONG", b"-NOAUTH")):
                return self
            if time.monotonic() > deadline:
                raise LabError(f"redis-server does not answer: {self.log()}")
            time.sleep(0.05)

    def ask(self, *words):
        """A command of plain words; the first part of its answer."""
        with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
            if self.password:
                connection.sendall(f"AUTH {self.password}\r\n".encode())
                connection.recv(4096)
            connection.sendall(" ".join(words).encode() + b"\r\n")
            return connection.recv(1 << 16)

    def log(self):
        """The end of its log."""
        return (self.base / "redis.log").read_text("utf-8", "replace")[-2000:]

    def copy(self, base):
        """Another server, not started, with what this one has stored."""
        shutil.copytree(self.base, base)
        return Redis(base, self.persistence)

    def stop(self):
        """Ends it at once, as `kill -9`."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


class Sentinel:
    """A Sentinel that watches a master under the name `lake`."""

    def __init__(self, base, master_port, quorum):
        self.base = Path(base)
        self.base.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        config = self.base / "sentinel.conf"
        config.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {self.base}\n"
            f"sentinel monitor lake 127.0.0.1 {master_port} {quorum}\n"
            "sentinel down-after-milliseconds lake 1000\n"
            "sentinel failover-timeout lake 4000\n"
        )
        with open(self.base / "sentinel.log", "ab") as log:
            self.process = subprocess.Popen(
                ["redis-server", str(config), "--sentinel"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def ask(self, *words):
        """A command of plain words; the first part of its answer."""
        with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
            connection.sendall(" ".join(words).encode() + b"\r\n")
            return connection.recv(1 << 16)

    def stop(self):
        """Ends it."""
        self.process.kill()
        self.process.wait()


@contextmanager
def running(*servers):
    """Stops the servers at the end, whatever happens."""
    try:
        yield servers
    finally:
        for server in servers:
            server.stop()
