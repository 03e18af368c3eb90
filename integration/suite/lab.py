"""A lake with a gateway in front of it, the command line beside it and a mount in the guest."""

import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from guest import GATEWAY_ADDRESS

# What docs and mount-scripts recommend; `sync` makes `echo >>` in a shell tell the truth.
MOUNT_OPTIONS = (
    "vers=3,proto=tcp,mountproto=tcp,nolock,hard,timeo=600,retrans=2,"
    "actimeo=1,lookupcache=pos,nosuid,nodev,sync"
)
CONFIG = 'exports = ["192.168.77.0/24(rw,no_root_squash)"]\n'
READY_SECONDS_MAX = 20
STOP_SECONDS_MAX = 15


class LabError(AssertionError):
    """The gateway or a command did not do what the fixture needs."""


@dataclass
class Run:
    """What a command of the `mountable` binary came to."""

    rc: int
    out: bytes
    err: bytes
    seconds: float

    def __str__(self):
        return f"exit {self.rc}, stdout {self.out[-800:]!r}, stderr {self.err[-2000:]!r}"


def free_port():
    """A TCP port nobody listens on in this namespace."""
    with socket.socket() as probe:
        probe.bind((GATEWAY_ADDRESS, 0))
        return probe.getsockname()[1]


class Lab:
    """One lake directory, one state directory, one gateway process, one or more mounts."""

    closes_end_saves = False  # NFSv3 has no close

    def __init__(self, env, name, catalog=None, lake=None, state=None, serve_options=()):
        self.env = env
        self.name = name
        self.base = Path(env.work) / "labs" / name
        self.base.mkdir(parents=True, exist_ok=True)
        self.lake = Path(lake or self.base / "lake")
        self.state = Path(state or self.base / "state")
        self.config = self.base / "config.toml"
        self.config.write_text(CONFIG)
        self.log_path = self.base / "gateway.log"
        self.catalog = catalog
        self.serve_options = list(serve_options)
        self.port = free_port()
        # Further variables of the binary.
        self.extra = {}
        self.process = None
        self.log_start = 0
        self.mounts = {}
        self.mount_generation = 0

    # ---- the command line

    def lake_options(self):
        """`--lake`, and `--catalog` where it is not the embedded one."""
        options = ["--lake", str(self.lake)]
        return options + (["--catalog", self.catalog] if self.catalog else [])

    def command(self, *words, stdin=None, timeout=60):
        """Runs the binary with these arguments and nothing added."""
        before = time.monotonic()
        process = subprocess.Popen(
            [str(self.env.binary), *map(str, words)],
            stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment(),
            start_new_session=True,
        )
        try:
            out, err = process.communicate(stdin, timeout)
        except subprocess.TimeoutExpired as error:
            said = f"stdout {error.stdout!r}, stderr {error.stderr!r}"
            raise LabError(f"mountable {words} still runs after {timeout} s: {said}") from error
        finally:
            # Also when the case's own time is over.
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        return Run(process.returncode, out, err, time.monotonic() - before)

    def environment(self):
        """The environment of the binary: a home of its own, nothing of the caller's settings."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("MOUNTABLE")}
        own = {"HOME": str(self.base), "RUST_BACKTRACE": "1", "NO_COLOR": "1"}
        return {**kept, **own, **self.extra}

    def cli(self, *words, stdin=None, timeout=60):
        """A verb on this lake; fails unless it succeeds."""
        done = self.command(*self.lake_options(), *words, stdin=stdin, timeout=timeout)
        if done.rc:
            raise LabError(f"mountable {' '.join(map(str, words))}: {done}")
        return done

    def refused(self, *words, timeout=60):
        """A verb on this lake that must fail in an orderly way; its outcome."""
        done = self.command(*self.lake_options(), *words, timeout=timeout)
        orderly(done, f"mountable {' '.join(map(str, words))}")
        return done

    def init(self):
        """Makes the lake."""
        words = ["init", str(self.lake)] + (["--catalog", self.catalog] if self.catalog else [])
        done = self.command(*words)
        if done.rc:
            raise LabError(f"mountable {' '.join(words)}: {done}")
        return self

    def load(self, table, text, keys=None, mode=None):
        """Loads CSV text (or the file at a path) into a table, new if need be."""
        path = text
        if isinstance(text, (bytes, str)):
            path = self.base / f"load-{table.replace('/', '-')}.csv"
            path.write_bytes(text.encode() if isinstance(text, str) else text)
        words = ["load", table, path]
        words += ["--keys", keys] if keys else []
        words += ["--mode", mode] if mode else []
        return self.cli(*words, timeout=300)

    def cat(self, table, timeout=60):
        """The table as CSV, read by the engine without the gateway; `table` may have @VERSION."""
        return self.cli("cat", table, timeout=timeout).out

    def expect(self, table, wanted, seconds=30):
        """Waits until the engine reads `wanted` from the table."""
        wanted = wanted.encode() if isinstance(wanted, str) else wanted
        deadline = time.monotonic() + seconds
        while True:
            got = self.cat(table)
            if got == wanted:
                return
            if time.monotonic() > deadline:
                raise LabError(f"{table} read by the engine: {difference(got, wanted)}")
            time.sleep(0.2)

    # ---- the gateway

    def serve_words(self):
        """The arguments that start the gateway."""
        return ["serve", *self.lake_options(), "--nfs", f"{GATEWAY_ADDRESS}:{self.port}",
                "--state", str(self.state), "--config", str(self.config),
                *self.serve_options]  # fmt: skip

    def start(self):
        """Starts the gateway and waits until its port answers."""
        with open(self.log_path, "ab") as log:
            # What `log` shows begins with this process.
            self.log_start = log.tell()
            self.process = subprocess.Popen(
                [str(self.env.binary), *self.serve_words()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment(),
                start_new_session=True,
            )
        deadline = time.monotonic() + READY_SECONDS_MAX
        while True:
            try:
                socket.create_connection((GATEWAY_ADDRESS, self.port), 1).close()
                return self
            except OSError as error:
                if self.process.poll() is not None:
                    code = self.process.returncode
                    raise LabError(f"gateway ended {code}: {self.log()}") from error
                if time.monotonic() > deadline:
                    raise LabError(f"gateway does not listen: {self.log()}") from error
                time.sleep(0.02)

    def alive(self):
        """Whether the gateway runs."""
        return self.process is not None and self.process.poll() is None

    def kill9(self):
        """Ends the gateway as a power cut would."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def stop(self):
        """Asks the gateway to end; its exit code."""
        if self.process is None:
            return None
        self.process.terminate()
        try:
            return self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired as error:
            self.kill9()
            raise LabError(f"gateway ignores SIGTERM: {self.log()}") from error

    def log(self, size=3000):
        """The end of the gateway's log."""
        try:
            return self.log_path.read_bytes()[self.log_start :][-size:].decode("utf-8", "replace")
        except FileNotFoundError:
            return "(no log)"

    def peak_rss_kib(self):
        """Highest resident memory of the gateway so far."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
        raise LabError("no VmHWM")

    # ---- the mount

    def mount(self, path="/", options=MOUNT_OPTIONS, tag="main"):
        """Mounts (once per tag) and gives the directory in the guest."""
        if self.mount_generation != self.env.guest.generation:
            self.mounts.clear()
            self.mount_generation = self.env.guest.generation
        if tag not in self.mounts:
            point = f"{self.env.guest.scratch}/{self.name}.{tag}"
            done = self.try_mount(point, path, options)
            if done.rc:
                raise LabError(f"mount {path}: {done}; gateway log: {self.log()}")
            self.mounts[tag] = point
        return self.mounts[tag]

    def try_mount(self, point, path="/", options=MOUNT_OPTIONS):
        """One attempt to mount; its outcome."""
        ports = f"port={self.port},mountport={self.port}"
        source = f"{GATEWAY_ADDRESS}:{path}"
        return self.env.guest.run(
            f"mkdir -p {point} && timeout 20 mount -t nfs -o {options},{ports} {source} {point}", 30
        )

    def mount_elsewhere(self, tag="elsewhere", options=MOUNT_OPTIONS):
        """Mounts as another client machine; its directory in the guest."""
        if tag not in self.mounts or self.mount_generation != self.env.guest.generation:
            self.mount()
            relay = Relay(self.port)
            self.env.at_end.append(relay.close)
            point = f"{self.env.guest.scratch}/{self.name}.{tag}"
            done = self.env.guest.run(
                f"mkdir -p {point} && unshare --uts sh -c 'hostname {tag} && exec timeout 20 mount "
                f"-t nfs -o {options},port={relay.port},mountport={relay.port} "
                f"{GATEWAY_ADDRESS}:/ {point}'", 30
            )  # fmt: skip
            if done.rc:
                raise LabError(f"mount as {tag}: {done}; gateway log: {self.log()}")
            self.mounts[tag] = point
        return self.mounts[tag]

    def unmount(self, tag="main"):
        """Unmounts, by force if need be."""
        point = self.mounts.pop(tag, None)
        if point and self.mount_generation == self.env.guest.generation:
            self.env.guest.run(f"timeout 10 umount {point} || umount -f -l {point}", 20)

    def settle(self):
        """Finishes every pending save through the mount; the outcome of the command."""
        return self.env.guest.run(f"echo sync > {self.mount()}/.control", 60)

    def close(self):
        """Unmounts, ends the gateway, removes the files."""
        if self.alive():
            for tag in list(self.mounts):
                self.unmount(tag)
        elif self.mount_generation == self.env.guest.generation:
            for point in self.mounts.values():
                self.env.guest.run(f"umount -f -l {point}", 20)
        self.mounts.clear()
        if self.alive():
            try:
                self.stop()
            except LabError:
                self.kill9()
        if not self.env.keep:
            for directory in (self.lake, self.state):
                shutil.rmtree(directory, ignore_errors=True)


class Relay:
    """A second door to a gateway, on another port: a kernel client that mounts through it is
    another client machine to the gateway, with another address and, in a UTS namespace of its
    own, another name."""

    def __init__(self, port):
        self.port = free_port()
        self.to = (GATEWAY_ADDRESS, port)
        self.listener = socket.create_server((GATEWAY_ADDRESS, self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            far = socket.create_connection(self.to)
            for source, target in ((near, far), (far, near)):
                threading.Thread(target=self._copy, args=(source, target), daemon=True).start()

    @staticmethod
    def _copy(source, target):
        try:
            while data := source.recv(1 << 20):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self):
        """Takes no more connections."""
        self.listener.close()


def orderly(done, what):
    """A failure must have an exit code, a reason, and be no crash."""
    assert done.rc > 0, f"{what}: must fail with an exit code, got {done}"
    assert done.err.strip(), f"{what}: failed without a reason"
    for word in (b"panicked", b"RUST_BACKTRACE", b"stack backtrace"):
        assert word not in done.err, f"{what}: crashed: {done}"


def difference(got, wanted):
    """The first place where two texts differ."""
    place = next((i for i, (a, b) in enumerate(zip(got, wanted)) if a != b), None)
    if place is None:
        place = min(len(got), len(wanted))
    start = max(0, place - 60)
    return (
        f"{len(got)} bytes for {len(wanted)}, first difference at byte {place}: "
        f"got {got[start:place + 120]!r}, wanted {wanted[start:place + 120]!r}"
    )
