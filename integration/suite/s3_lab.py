"""A lake in a bucket: the server, and a lab whose gateway and command line use it."""

import json
import os
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from pathlib import Path

from lab import Lab, LabError, free_port
from redis_server import MEMORY, Redis

ACCESS_KEY, SECRET_KEY, BUCKET = "TESTKEY", "test/secret+key", "lake"


class S3:
    """The server; see s3_server.py."""

    def __init__(self, base):
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.log = Path(base) / "s3.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        server = Path(__file__).resolve().parent / "s3_server.py"
        python = os.environ.get("MOUNTABLE_S3_PYTHON") or f"{sys.prefix}-s3/bin/python"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [python, "-B", str(server), str(self.port), ACCESS_KEY, SECRET_KEY, BUCKET],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env={"PATH": os.environ.get("PATH", ""), "HOME": str(base)},
                start_new_session=True,
            )
        if self.process.stdout.readline() != b"ready\n":
            raise LabError(f"the S3 server does not start: {self.log.read_text()[-2000:]}")

    def control(self, **wanted):
        """Sets what the server does wrong, or forgets the requests so far."""
        body = json.dumps(wanted).encode() if wanted else None
        request = urllib.request.Request(
            f"{self.endpoint}/_control", body, method="PUT" if wanted else "GET"
        )
        with urllib.request.urlopen(request, timeout=10) as told:
            return json.load(told)

    def heal(self):
        """Takes all faults back and forgets the requests so far."""
        self.control(ignore_conditions=False, fail=0, lose=0, delay=0, forget=True)

    def requests(self):
        """[what, key] of every request since the last `control(forget=True)`."""
        return self.control()

    def stop(self):
        """Ends it; the bucket is gone."""
        self.process.kill()
        self.process.wait()


class S3Lab(Lab):
    """A lab with its lake in the bucket; the settings come from the configuration file."""

    def __init__(self, env, name, s3, prefix, options=None, **more):
        super().__init__(env, name, **more)
        self.directory, self.lake = self.lake, f"s3://{BUCKET}/{prefix}"
        self.s3 = s3
        self.options = {
            "endpoint": s3.endpoint,
            "access_key_id": ACCESS_KEY,
            "secret_access_key": SECRET_KEY,
            "region": "us-east-1",
            "allow_http": "true",
            **(options or {}),
        }
        self.write_config()

    def write_config(self):
        """The configuration file with the storage's options."""
        lines = [f'{name} = "{value}"' for name, value in self.options.items() if value is not None]
        text = self.config.read_text().split("[storage]")[0]
        self.config.write_text(text + "[storage]\n" + "\n".join(lines) + "\n")

    def environment(self):
        foreign = ("AWS_", "STORAGE_", "SUPERTABLE_", "REDIS_")
        kept = {k: v for k, v in super().environment().items() if not k.startswith(foreign)}
        return {**kept, "MOUNTABLE_CONFIG": str(self.config), **self.extra}

    def profile(self, name):
        """Variables that name a profile with the keys in a file of its own."""
        path = self.base / "credentials"
        path.write_text(
            f"[default]\naws_access_key_id = NOBODY\n\n[{name}]\n"
            f"aws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n"
        )
        return {"AWS_SHARED_CREDENTIALS_FILE": str(path), "AWS_PROFILE": name}

    def close(self):
        # The bucket is gone with its server; only directories are left to remove.
        self.lake = self.directory
        super().close()


def shared_server(env):
    """One server for all cases; each uses a prefix of its own."""
    if getattr(env, "s3", None) is None:
        env.s3 = S3(env.work / "labs" / "s3-server")
        env.at_end.append(env.s3.stop)
    return env.s3


@contextmanager
def bucket(env, name, persistence=MEMORY):
    """(s3, redis): the server without any fault, and a catalogue for one case."""
    s3 = shared_server(env)
    redis = Redis(env.work / "labs" / f"{name}-redis", persistence).start()
    try:
        s3.heal()
        yield s3, redis
    finally:
        s3.heal()
        redis.stop()


def s3_lab(env, name, s3, redis, prefix=None, **options):
    """A lab on the bucket, closed after the case; `prefix` is that of another lab's lake."""
    lab = S3Lab(env, name, s3, prefix or f"{name}/pre", catalog=redis.url, **options)
    lab.prefix = prefix or f"{name}/pre"
    env.labs.append(lab)
    return lab
