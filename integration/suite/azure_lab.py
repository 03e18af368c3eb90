"""A lake in a container of Azure Blob Storage: the emulator, and a lab that uses it."""

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from lab import Lab, LabError, free_port
from redis_server import MEMORY, Redis

# The public account of all emulators.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
CONTAINER = "lake"


class Azure:
    """The emulator; see azure_server.py."""

    def __init__(self, base):
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}/{ACCOUNT}"
        self.log = Path(base) / "azure.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        home = Path(os.environ.get("MOUNTABLE_AZURE") or f"{sys.prefix}-azure")
        server = Path(__file__).resolve().parent / "azure_server.py"
        program = home / "azurite" / "node_modules" / ".bin" / "azurite-blob"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [home / "bin/python", "-B", server, program, str(self.port), ACCOUNT, KEY, CONTAINER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={"PATH": os.environ.get("PATH", ""), "HOME": str(base)},
                start_new_session=True,
            )
        if self.process.stdout.readline() != b"ready\n":
            raise LabError(f"the Azure emulator does not start: {self.log.read_text()[-2000:]}")

    def stop(self):
        """Ends it; the container is gone."""
        self.process.stdin.close()
        self.process.wait()


class AzureLab(Lab):
    """A lab with its lake in the container; the settings come from the configuration file."""

    def __init__(self, env, name, azure, prefix, options=None, **more):
        super().__init__(env, name, **more)
        self.directory, self.lake = self.lake, f"az://{CONTAINER}/{prefix}"
        self.prefix = prefix
        wanted = {
            "account_name": ACCOUNT,
            "account_key": KEY,
            "endpoint": azure.endpoint,
            "allow_http": "true",
            **(options or {}),
        }
        lines = [f'{key} = "{value}"' for key, value in wanted.items()]
        self.config.write_text("\n".join([self.config.read_text() + "[storage]", *lines, ""]))

    def environment(self):
        foreign = ("AWS_", "AZURE_", "STORAGE_", "SUPERTABLE_", "REDIS_")
        kept = {k: v for k, v in super().environment().items() if not k.startswith(foreign)}
        return {**kept, "MOUNTABLE_CONFIG": str(self.config), **self.extra}

    def close(self):
        # The container is gone with its server; only directories are left to remove.
        self.lake = self.directory
        super().close()


@contextmanager
def container(env, name, persistence=MEMORY):
    """(azure, redis): one emulator for all cases, each of which uses a prefix of its own."""
    if getattr(env, "azure", None) is None:
        env.azure = Azure(env.work / "labs" / "azure-server")
        env.at_end.append(env.azure.stop)
    redis = Redis(env.work / "labs" / f"{name}-redis", persistence).start()
    try:
        yield env.azure, redis
    finally:
        redis.stop()


def azure_lab(env, name, azure, redis, prefix=None, **options):
    """A lab in the container, closed after the case; `prefix` is that of another lab's lake."""
    lab = AzureLab(env, name, azure, prefix or f"{name}/pre", catalog=redis.url, **options)
    env.labs.append(lab)
    return lab
