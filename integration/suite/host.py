"""This machine as the place where scripts run: what `guest.Guest` is for NFS, for FUSE mounts."""

import os
import signal
import subprocess
import tempfile
from pathlib import Path

from guest import Outcome


class Host:
    """Runs scripts here, in the suite's own namespaces; `share` is a directory, seen as $SHARE."""

    kind = "host"
    # It is never started again, so what is mounted stays mounted.
    generation = 1

    def __init__(self, work):
        self.share = Path(work) / "host-share"
        self.share.mkdir(parents=True, exist_ok=True)
        self.guest_share = str(self.share)
        self.scratch = str(Path(work) / "host")
        Path(self.scratch).mkdir(exist_ok=True)
        # Another file system than the mount's, as in the guest.
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", self.scratch], check=True)

    def run(self, script, timeout=60, env=None, user=None):
        """Runs a bash script; its exit code, stdout and stderr."""
        environment = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": self.scratch,
            "LC_ALL": "C.UTF-8",
            "TERM": "xterm",
            "SHARE": self.guest_share,
            "SCRATCH": self.scratch,
            **(env or {}),
        }
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            process = subprocess.Popen(
                ["/bin/bash", "-c", script],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=self.scratch,
                env=environment,
                start_new_session=True,
                user=user,
                group=user,
                extra_groups=[] if user else None,
            )
            timed_out = False
            try:
                code = process.wait(timeout)
            except subprocess.TimeoutExpired:
                timed_out, code = True, 124
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            out.seek(0)
            err.seek(0)
            return Outcome(code, out.read(), err.read(), timed_out)

    def check(self, script, timeout=60, env=None, user=None):
        """Like `run`, and fails unless the exit code is 0."""
        done = self.run(script, timeout, env, user)
        assert done.rc == 0, f"{script[:300]!r}: {done}"
        return done

    def drop_caches(self):
        """Nothing: an open over FUSE checks the pages itself, and the caches of the whole machine
        are not the suite's to drop."""

    def close(self):
        """Takes the scratch directory away."""
        subprocess.run(["umount", "-l", self.scratch], check=False)
