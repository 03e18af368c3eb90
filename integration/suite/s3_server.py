"""A server of the S3 protocol on the loopback: moto's S3 behind a door that checks signatures,
makes writes atomic, counts requests and can misbehave.

moto keeps objects in memory and honours `If-None-Match: *`, but looks and writes in two steps; the
door lets one write in at a time, which makes a create-only put what it is at the real service.

    s3_server.py PORT ACCESS_KEY SECRET_KEY BUCKET

`PUT /_control` with JSON sets what it does wrong, `GET /_control` gives the requests so far:

    ignore_conditions   true: a condition of a put is not looked at, as by an old server
    fail                number of requests to answer with 503 from now on
    lose                number of writes to carry out and answer with 500 from now on
    delay               seconds that each request takes longer
    forget              true: the requests so far are forgotten
"""

import hashlib
import hmac
import json
import sys
import threading
import time
from urllib.parse import parse_qs, unquote

from moto.core import DEFAULT_ACCOUNT_ID
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.s3.models import s3_backends
from werkzeug.serving import WSGIRequestHandler, make_server

WRITES = ("PUT", "POST", "DELETE")


class Door:
    """The WSGI application in front of moto's."""

    def __init__(self, access_key, secret_key):
        self.inner = DomainDispatcherApplication(create_backend_app)
        self.access_key = access_key
        self.secret_key = secret_key
        self.writing = threading.Lock()
        self.state = threading.Lock()
        self.requests = []
        self.faults = {"ignore_conditions": False, "fail": 0, "lose": 0, "delay": 0}

    def __call__(self, environ, start_response):
        if environ["PATH_INFO"] == "/_control":
            return self.control(environ, start_response)
        method = environ["REQUEST_METHOD"]
        with self.state:
            self.requests.append(describe(environ))
            fails = self.take("fail")
        if self.faults["delay"]:
            time.sleep(self.faults["delay"])
        if fails:
            return answer(start_response, "503 Slow Down", "SlowDown")
        wrong = self.wrong_signature(environ)
        if wrong:
            return answer(start_response, "403 Forbidden", wrong)
        if self.faults["ignore_conditions"]:
            environ.pop("HTTP_IF_NONE_MATCH", None)
            environ.pop("HTTP_IF_MATCH", None)
        if method not in WRITES:
            return self.inner(environ, start_response)
        with self.writing:
            done = list(self.inner(environ, start_response))
        with self.state:
            loses = self.take("lose")
        if loses:
            # The second call takes the place of the answer that was begun.
            status = "500 Internal Server Error"
            return answer(start_response, status, "InternalError", lost_answer())
        return done

    def take(self, fault):
        """Whether this request is one of those that the fault is for."""
        due = self.faults[fault] > 0
        self.faults[fault] -= int(due)
        return due

    def control(self, environ, start_response):
        """Reads or sets what the server does wrong."""
        with self.state:
            if environ["REQUEST_METHOD"] == "PUT":
                wanted = json.loads(read_body(environ))
                if wanted.pop("forget", False):
                    self.requests.clear()
                assert set(wanted) <= set(self.faults), wanted
                self.faults.update(wanted)
            body = json.dumps(self.requests).encode()
        start_response("200 OK", [("Content-Type", "application/json"),
                                  ("Content-Length", str(len(body)))])  # fmt: skip
        return [body]

    def wrong_signature(self, environ):
        """What is wrong with the signature (version 4) of a request."""
        header = environ.get("HTTP_AUTHORIZATION", "")
        if not header.startswith("AWS4-HMAC-SHA256 "):
            return "AccessDenied"
        fields = dict(f.strip().split("=", 1) for f in header.split(" ", 1)[1].split(","))
        access_key, *scope = fields["Credential"].split("/")
        if access_key != self.access_key:
            return "InvalidAccessKeyId"
        path, _, query = environ["RAW_URI"].partition("?")
        query = "&".join(sorted(p if "=" in p else p + "=" for p in query.split("&") if p))
        names = fields["SignedHeaders"].split(";")
        headers = "".join(f"{name}:{header_of(environ, name)}\n" for name in names)
        digest = header_of(environ, "x-amz-content-sha256")
        text = "\n".join(
            [environ["REQUEST_METHOD"], path, query, headers, fields["SignedHeaders"], digest]
        )
        text = "\n".join(["AWS4-HMAC-SHA256", header_of(environ, "x-amz-date"), "/".join(scope),
                          hashlib.sha256(text.encode()).hexdigest()])  # fmt: skip
        key = ("AWS4" + self.secret_key).encode()
        for part in [*scope, text]:
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        right = hmac.compare_digest(key.hex(), fields["Signature"])
        return None if right else "SignatureDoesNotMatch"


def header_of(environ, name):
    """A header as it is signed."""
    key = name.upper().replace("-", "_")
    if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        key = f"HTTP_{key}"
    return " ".join(environ.get(key, "").split())


def describe(environ):
    """[what, key] of a request: its method, or the sub-resource that makes it something else."""
    query = parse_qs(environ["QUERY_STRING"], keep_blank_values=True)
    what = environ["REQUEST_METHOD"]
    path = unquote(environ["RAW_URI"].partition("?")[0])
    if "list-type" in query or (what == "GET" and path.strip("/").count("/") == 0):
        what = "LIST"
    elif "uploads" in query or "uploadId" in query:
        what = "PART" if "partNumber" in query else f"{what} upload"
    return [what, path]


def read_body(environ):
    return environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))


def lost_answer():
    """What WSGI wants to hear before it lets another answer take the place of one begun."""
    try:
        raise RuntimeError("the answer is lost")
    except RuntimeError:
        return sys.exc_info()


def answer(start_response, status, code, *begun):
    """An error in the form of S3."""
    body = f"<Error><Code>{code}</Code><Message>{status}</Message></Error>".encode()
    headers = [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))]
    start_response(status, headers, *begun)
    return [body]


class Handler(WSGIRequestHandler):
    """Keeps connections open, says nothing."""

    protocol_version = "HTTP/1.1"

    def log_request(self, *_):
        pass


def main():
    port, access_key, secret_key, bucket = sys.argv[1:]
    s3_backends[DEFAULT_ACCOUNT_ID]["aws"].create_bucket(bucket, "us-east-1")
    door = Door(access_key, secret_key)
    server = make_server("127.0.0.1", int(port), door, threaded=True, request_handler=Handler)
    print("ready", flush=True)
    server.serve_forever()


main()
