"""Runs commands that arrive over TCP, one JSON line each, in the machine that has the NFS client.

Request: {"script", "timeout", "env", "cwd"}; reply: {"rc", "out", "err", "timed_out"} with the
output in base64. A command that outlives its time is killed with its whole process group; one
that cannot be killed (a hanging mount) is left behind and reported as timed out.
Arguments: ADDRESS PORT SCRATCH-DIRECTORY SHARE-DIRECTORY.
"""

import base64
import json
import os
import shutil
import signal
import socketserver
import subprocess
import sys
import tempfile

OUTPUT_BYTES_MAX = 64 << 20
# hostfs forgets a file's pages when nobody has it open; what most commands need stays open.
PINNED = (
    "bash cat cmp cp cut find gawk grep head ls mkdir mv perl python3 rm rsync script sed seq "
    "sleep sort stat tail tee timeout touch tr vim wc"
).split()


def pin():
    """Keeps open what the commands consist of; the descriptors are not inherited."""
    paths = [shutil.which(name) for name in PINNED]
    with open("/proc/self/maps") as maps:
        paths += {line.split()[-1] for line in maps}
    for path in paths:
        if path and path.startswith("/"):
            os.open(os.path.realpath(path), os.O_RDONLY | os.O_CLOEXEC)


def execute(request, scratch, share):
    environment = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": scratch,
        "LC_ALL": "C.UTF-8",
        "TERM": "xterm",
        "SHARE": share,
        "SCRATCH": scratch,
    }
    environment.update(request.get("env") or {})
    with tempfile.TemporaryFile(dir=scratch) as out, tempfile.TemporaryFile(dir=scratch) as err:
        process = subprocess.Popen(
            ["/bin/bash", "-c", request["script"]],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            cwd=scratch,
            env=environment,
            start_new_session=True,
        )
        timed_out = False
        try:
            code = process.wait(request["timeout"])
        except subprocess.TimeoutExpired:
            timed_out = True
            code = 124
            os.killpg(process.pid, signal.SIGKILL)
            try:
                process.wait(3)
            except subprocess.TimeoutExpired:
                pass
        texts = []
        for stream in (out, err):
            stream.seek(0)
            texts.append(base64.b64encode(stream.read(OUTPUT_BYTES_MAX)).decode())
    return {"rc": code, "out": texts[0], "err": texts[1], "timed_out": timed_out}


class Agent(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            try:
                reply = execute(json.loads(line), *self.server.places)
            except Exception as error:  # the driver must get an answer whatever happens
                reply = {"rc": 125, "out": "", "timed_out": False}
                reply["err"] = base64.b64encode(f"agent: {error!r}".encode()).decode()
            self.wfile.write(json.dumps(reply).encode() + b"\n")


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


def main():
    address, port, scratch, share = sys.argv[1:5]
    pin()
    with Server((address, int(port)), Agent) as server:
        server.places = (scratch, share)
        server.serve_forever()


main()
