"""The machine with the kernel NFS client: this one if its kernel can, else User Mode Linux.

One guest lives as long as the suite; a command costs milliseconds. A guest that stops answering
(for instance because of a mount that cannot be interrupted) is killed and started again; the
`generation` then changes, so that whoever had mounted something knows that it is gone.
"""

import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
GATEWAY_ADDRESS = "192.168.77.1"
GUEST_ADDRESS = "192.168.77.2"
AGENT_PORT = 7001
BOOT_SECONDS_MAX = 60


class GuestError(Exception):
    """The guest does not start or does not answer."""


@dataclass
class Outcome:
    """What a command in the guest came to."""

    rc: int
    out: bytes
    err: bytes
    timed_out: bool

    @property
    def text(self):
        return self.out.decode("utf-8", "replace")

    def __str__(self):
        late = " (timed out)" if self.timed_out else ""
        return f"exit {self.rc}{late}, stdout {self.out[-1500:]!r}, stderr {self.err[-1500:]!r}"


def has_kernel_nfs():
    """Whether this machine's own kernel can mount NFS."""
    subprocess.run(["modprobe", "nfsv3"], capture_output=True, check=False)
    words = Path("/proc/filesystems").read_text().split()
    return "nfs" in words


class Guest:
    """Runs scripts; `share` is a host directory that the guest sees as $SHARE."""

    def __init__(self, work, kind="auto"):
        self.work = Path(work)
        self.share = self.work / "share"
        self.share.mkdir(parents=True, exist_ok=True)
        if kind == "auto":
            kind = "native" if has_kernel_nfs() else "uml"
        self.kind = kind
        self.generation = 0
        self.process = None
        self.address = GUEST_ADDRESS if kind == "uml" else GATEWAY_ADDRESS
        # Where commands run and mount things: tmpfs in both kinds.
        self.scratch = "/run/it"
        self.guest_share = "/run/share" if kind == "uml" else str(self.share)

    def prepare_network(self):
        """The tap device and the addresses, in the namespace that the driver lives in."""
        for command in (
            "ip link set lo up",
            "ip tuntap add dev tap0 mode tap",
            f"ip addr add {GATEWAY_ADDRESS}/24 dev tap0",
            "ip link set tap0 up",
            # Checksum and segmentation offload stall large transfers to the guest for seconds.
            "ethtool -K tap0 tso off gso off gro off sg off tx off",
        ):
            done = subprocess.run(command.split(), capture_output=True, text=True, check=False)
            if done.returncode:
                raise GuestError(f"{command}: {done.stderr.strip()}")

    def start(self):
        """Boots the guest and waits until it answers."""
        for name in ("guest_agent.py", "guest_init.sh"):
            shutil.copy(HERE / name, self.share / name)
        (self.share / "guest_init.sh").chmod(0o755)
        log = open(self.work / "guest.log", "ab")
        arguments = self._uml_command() if self.kind == "uml" else self._native_command()
        # HOME and TMPDIR: where User Mode Linux keeps its control socket and its memory.
        environment = {**os.environ, "HOME": str(self.work)}
        self.process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )
        log.close()
        self.generation += 1
        deadline = time.monotonic() + BOOT_SECONDS_MAX
        while True:
            try:
                socket.create_connection((self.address, AGENT_PORT), 1).close()
                break
            except OSError as error:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    tail = (self.work / "guest.log").read_bytes()[-2000:]
                    self.kill()
                    raise GuestError(f"guest does not start: {error}; log {tail!r}") from error
                time.sleep(0.05)
        done = self.run("grep -w nfs /proc/filesystems && uname -r")
        if done.rc:
            raise GuestError(f"guest kernel has no NFS client: {done}")

    def _uml_command(self):
        return [
            "linux.uml", "quiet", "mem=1G", "root=/dev/root", "rootfstype=hostfs", "rootflags=/",
            "ro", f"init={self.share / 'guest_init.sh'}", f"share={self.share}",
            f"addr={GUEST_ADDRESS}/24", f"agent_port={AGENT_PORT}",
            "vec0:transport=tap,ifname=tap0,depth=128", "con=null", "con0=null,fd:1", "ssl=null",
        ]  # fmt: skip

    def _native_command(self):
        # In the suite's own mount namespace: nothing of this reaches the machine's directories.
        for directory in ("/run", "/var/lib/nfs"):
            if self.generation == 0 and os.path.isdir(directory):
                subprocess.run(["mount", "-t", "tmpfs", "tmpfs", directory], check=True)
        for directory in (self.scratch, "/run/lock"):
            Path(directory).mkdir(parents=True, exist_ok=True)
        agent = str(self.share / "guest_agent.py")
        return [sys.executable, agent, self.address, str(AGENT_PORT), self.scratch,
                self.guest_share]  # fmt: skip

    def kill(self):
        """Ends the guest at once, with everything in it."""
        if self.process is not None:
            try:
                os.killpg(self.process.pid, 9)
            except ProcessLookupError:
                pass
            self.process.wait()
            self.process = None

    def run(self, script, timeout=60, env=None):
        """Runs a bash script; its exit code, stdout and stderr. Restarts a guest that hangs."""
        if self.process is None or self.process.poll() is not None:
            self.kill()
            self.start()
        request = {"script": script, "timeout": timeout, "env": env or {}}
        try:
            with socket.create_connection((self.address, AGENT_PORT), 10) as connection:
                connection.settimeout(timeout + 15)
                connection.sendall(json.dumps(request).encode() + b"\n")
                line = connection.makefile("rb").readline()
            reply = json.loads(line)
        except (OSError, ValueError) as error:
            self.kill()
            raise GuestError(f"guest hangs, killed it: {error!r} in {script[:200]!r}") from error
        return Outcome(
            reply["rc"],
            base64.b64decode(reply["out"]),
            base64.b64decode(reply["err"]),
            reply["timed_out"],
        )

    def check(self, script, timeout=60, env=None):
        """Like `run`, and fails unless the exit code is 0."""
        done = self.run(script, timeout, env)
        assert done.rc == 0, f"{script[:300]!r}: {done}"
        return done

    def drop_caches(self):
        """Makes the next read ask the server."""
        self.check("sync; echo 3 > /proc/sys/vm/drop_caches")
