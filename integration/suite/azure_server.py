"""An emulator of Azure Blob Storage (Azurite) on the loopback, with one container.

    azure_server.py AZURITE PORT ACCOUNT KEY CONTAINER

Prints "ready" when the container is there, and ends with the process that started it.
"""

import subprocess
import sys
import time
from pathlib import Path

from azure.core.exceptions import AzureError
from azure.storage.blob import ContainerClient

START_SECONDS = 120


def start(program, port):
    """The emulator, all objects in memory."""
    node = Path(sys.executable).with_name("node")
    words = [node, program, "--inMemoryPersistence", "--blobHost", "127.0.0.1", "--blobPort", port,
             "--skipApiVersionCheck", "--silent", "--disableTelemetry"]  # fmt: skip
    return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=sys.stderr)


def make_container(emulator, url, key, name):
    """Waits for the emulator and makes the container."""
    last = time.monotonic() + START_SECONDS
    client = ContainerClient(url, name, credential=key, retry_total=0)
    while True:
        try:
            client.create_container()
            return
        except AzureError:
            if emulator.poll() is not None or time.monotonic() > last:
                raise
            time.sleep(0.2)


def main():
    program, port, account, key, container = sys.argv[1:]
    emulator = start(program, port)
    try:
        make_container(emulator, f"http://127.0.0.1:{port}/{account}", key, container)
        print("ready", flush=True)
        # The end of standard input is the end of who uses it.
        sys.stdin.read()
    finally:
        emulator.kill()
        emulator.wait()


if __name__ == "__main__":
    main()
