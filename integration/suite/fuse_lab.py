"""A lake that the binary mounts through FUSE on this machine, with the interface of `lab.Lab`."""

import subprocess
import time
from pathlib import Path

from host import Host
from lab import READY_SECONDS_MAX, Lab, LabError


class FuseLab(Lab):
    """`mountable serve --fuse`; its one mount belongs to the gateway and lives as long."""

    closes_end_saves = True

    def __init__(self, env, name, **options):
        super().__init__(env, f"fuse-{name}", **options)
        self.point = self.base / "mount"
        # Commands run here, not in a guest that would call a gateway over the network.
        self.mount_options = []
        self.user = None

    def serve_words(self):
        """The arguments that start the gateway."""
        return ["serve", *self.lake_options(), "--fuse", str(self.point), "--state",
                str(self.state), "--config", str(self.config), *self.mount_options,
                *self.serve_options]  # fmt: skip

    def start(self):
        """Starts the gateway and waits until it says that the lake is mounted."""
        with open(self.log_path, "ab") as log:
            self.log_start = log.tell()
            self.process = subprocess.Popen(
                [str(self.env.binary), *self.serve_words()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env=self.environment(),
                start_new_session=True,
                user=self.user,
                group=self.user,
                extra_groups=[] if self.user else None,
            )
        deadline = time.monotonic() + READY_SECONDS_MAX
        while not self.mounted():
            if self.process.poll() is not None:
                raise LabError(f"gateway ended {self.process.returncode}: {self.log()}")
            if time.monotonic() > deadline:
                raise LabError(f"gateway does not mount: {self.log()}")
            time.sleep(0.02)
        line = self.process.stdout.readline()
        if not line.startswith((b"mounted ", b"serving ")):
            raise LabError(f"gateway says {line!r}: {self.log()}")
        return self

    def mounted(self):
        """Whether something is mounted at the directory."""
        wanted = f" {self.point} "
        return any(wanted in line for line in Path("/proc/self/mountinfo").open())

    def mount(self, path="/", options=None, tag="main"):
        """The directory; sub-trees and options are NFS's."""
        if path != "/" or options or tag != "main":
            raise LabError("a FUSE mount has one root and no options of the client")
        return str(self.point)

    def unmount(self, tag="main"):
        """By force, without asking the gateway."""
        subprocess.run(["umount", "-l", self.point], capture_output=True, check=False)

    def wait_unmounted(self, seconds=10):
        """Waits until nothing is mounted there; fails otherwise."""
        deadline = time.monotonic() + seconds
        while self.mounted():
            if time.monotonic() > deadline:
                raise LabError(f"still mounted after {seconds} s; log {self.log(600)}")
            time.sleep(0.05)

    def close(self):
        """Ends the gateway; nothing may be left mounted."""
        if self.alive():
            try:
                self.stop()
            except LabError:
                self.kill9()
        self.unmount()
        super().close()


class FuseEnv:
    """What cases work with, for those that were written for NFS."""

    use_oracle = False

    def __init__(self, env):
        self.outer = env
        self.binary = env.binary
        self.work = env.work
        self.keep = env.keep
        self.guest = Host(env.work)
        self.shared = None

    @property
    def lab(self):
        """The gateway that the cases share."""
        if self.shared is None:
            self.shared = FuseLab(self, "shared").init().start()
        if not self.shared.alive():
            self.shared.unmount()
            self.shared.start()
        return self.shared

    def own_lab(self, name, **options):
        """A lake of the case's own, not yet made or served; closed after the case."""
        lab = FuseLab(self, name, **options)
        self.outer.labs.append(lab)
        return lab

    def note(self, text):
        """A measured fact for the report."""
        self.outer.note(text)

    def close(self):
        """Ends the shared gateway."""
        if self.shared is not None:
            self.shared.close()
        self.guest.close()


def fuse_env(env):
    """The FUSE side of a suite's environment, made once."""
    made = env.__dict__.get("fuse")
    if made is None:
        made = env.__dict__["fuse"] = FuseEnv(env)
        env.at_end.append(made.close)
    return made
