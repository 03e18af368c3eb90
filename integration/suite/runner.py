"""Registers cases, runs them one by one and counts.

A case is a function that takes the environment and returns nothing; an exception is a failure.
"""

import fnmatch
import os
import signal
import time
import traceback
from pathlib import Path

from guest import Guest, GuestError
from lab import MOUNT_OPTIONS, Lab
from oracle import Oracle

CASES = []
CASE_SECONDS_MAX = 120
# With MOUNTABLE_LONG=1, cases that go on for a while do so for a minute.
LONG = os.environ.get("MOUNTABLE_LONG") == "1"


class Case:
    """A named check."""

    def __init__(self, group, name, run, seconds_max, oracle_only):
        self.group = group
        self.name = f"{group}.{name}"
        self.run = run
        self.seconds_max = seconds_max
        self.oracle_only = oracle_only


def case(run=None, *, seconds_max=CASE_SECONDS_MAX, oracle_only=False, name=None, group=None):
    """Registers a case; the group is the module name without `cases_`."""

    def register(function):
        where = group or function.__module__.removeprefix("cases_")
        CASES.append(Case(where, name or function.__name__, function, seconds_max, oracle_only))
        return function

    return register(run) if run else register


class CaseTimeout(BaseException):
    """A case took longer than it may; no handler for ordinary errors may swallow this."""


class Env:
    """What cases work with."""

    def __init__(self, binary, work, guest_kind, keep=False):
        self.binary = Path(binary) if binary else None
        self.work = Path(work)
        self.keep = keep
        self.guest = Guest(self.work, guest_kind)
        self.oracle = Oracle(self.guest, MOUNT_OPTIONS)
        self.labs = []
        self.shared = None
        self.notes = []
        self.at_end = []
        self.use_oracle = True

    @property
    def lab(self):
        """The gateway that all cases share which do not break it."""
        if self.shared is None:
            self.shared = Lab(self, "shared").init().start()
        if not self.shared.alive():
            self.shared.start()
        return self.shared

    def own_lab(self, name, **options):
        """A lake of the case's own, not yet made or served; closed after the case."""
        lab = Lab(self, name, **options)
        self.labs.append(lab)
        return lab

    def note(self, text):
        """A measured fact for the report; neither pass nor failure."""
        self.notes.append(text)
        print(f"     note: {text}", flush=True)

    def after_case(self):
        """Closes the case's own labs; the log if the shared gateway died meanwhile."""
        while self.labs:
            self.labs.pop().close()
        if self.shared is not None and not self.shared.alive():
            return f"the shared gateway ended: {self.shared.log()}"
        return None

    def close(self):
        """Ends everything."""
        self.after_case()
        for action in self.at_end:
            action()
        if self.shared is not None:
            self.shared.close()
        self.guest.kill()


def select(patterns):
    """The cases whose name contains or matches one of the patterns (all without patterns)."""
    if not patterns:
        return list(CASES)
    return [
        c for c in CASES if any(p in c.name or fnmatch.fnmatch(c.name, p) for p in patterns)
    ]  # fmt: skip


def run_case(env, one):
    """Runs a case within its time; the reason if it failed."""

    def late(_signal, _frame):
        raise CaseTimeout(f"took longer than {one.seconds_max} s")

    signal.signal(signal.SIGALRM, late)
    signal.alarm(one.seconds_max)
    reason = None
    try:
        one.run(env)
    except (Exception, CaseTimeout) as error:
        reason = explain(error)
    finally:
        signal.alarm(0)
    try:
        signal.alarm(60)
        died = env.after_case()
    except (Exception, CaseTimeout) as error:
        died = f"clean-up: {explain(error)}"
    finally:
        signal.alarm(0)
    if died:
        reason = f"{reason}\n{died}" if reason else died
    return reason


def explain(error):
    """The message and the line of the case that it came from."""
    frames = traceback.extract_tb(error.__traceback__)
    here = os.path.dirname(__file__)
    own = [f"{Path(f.filename).name}:{f.lineno}" for f in frames if f.filename.startswith(here)]
    place = " < ".join(reversed(own[-4:]))
    told = isinstance(error, (AssertionError, CaseTimeout, GuestError))
    text = str(error) if told else repr(error)
    return f"{text or repr(error)} [{place}]"


def run_all(env, chosen):
    """Runs the cases; (passed, failed names)."""
    passed, failed = 0, []
    for one in chosen:
        before = time.monotonic()
        reason = run_case(env, one)
        seconds = time.monotonic() - before
        if reason is None:
            passed += 1
            print(f"ok   {one.name} ({seconds:.2f} s)", flush=True)
        else:
            failed.append(one.name)
            print(f"FAIL {one.name} ({seconds:.2f} s): {reason}", flush=True)
    return passed, failed
