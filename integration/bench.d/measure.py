"""Numbers beside each other: samples of two sides, taken in turn, and the table of their ratios."""

import json
import statistics
import time
from dataclasses import dataclass, field


def timed(work):
    """Seconds that a call takes."""
    before = time.perf_counter()
    work()
    return time.perf_counter() - before


def in_turn(rounds, **sides):
    """Runs each side once a round, so that what else the machine does meets all of them alike.

    Each side is a function that returns its seconds; the samples by side."""
    samples = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            samples[name].append(side())
    return samples


@dataclass
class Line:
    """One row of the report."""

    item: str
    what: str
    ours: str
    peer: str
    ratio: float = None
    median: float = None
    target: float = None
    # True: the ratio must reach the target; False: it must not exceed it.
    at_least: bool = True

    @property
    def verdict(self):
        """Whether the best ratio of the run is as wanted."""
        if self.target is None or self.ratio is None:
            return ""
        good = self.ratio >= self.target if self.at_least else self.ratio <= self.target
        return "met" if good else "MISSED"


@dataclass
class Report:
    """The rows of a run."""

    judge: bool = True
    lines: list = field(default_factory=list)
    numbers: dict = field(default_factory=dict)

    def compare(self, item, what, ours, peer, target, at_least=True, unit=1e3, suffix="ms"):
        """Peer's time by ours: how many times faster we are, of minima and of medians."""
        self.numbers[f"{item} {what}"] = {"ours": ours, "peer": peer}
        show = lambda all_: f"{min(all_) * unit:.1f} {suffix}"  # noqa: E731
        self.add(Line(item, what, show(ours), show(peer), min(peer) / min(ours),
                      statistics.median(peer) / statistics.median(ours), target, at_least))  # fmt: skip

    def value(self, item, what, value, target, text, at_least=False, note=""):
        """A number that is judged by itself."""
        self.numbers[f"{item} {what}"] = value
        self.add(Line(item, what, text, note, value, None, target, at_least))

    def add(self, line):
        """Keeps a row and shows it."""
        if not self.judge:
            line.target = None
        self.lines.append(line)
        print(row(line), flush=True)

    def write(self, path):
        """The samples as JSON."""
        with open(path, "w") as out:
            json.dump(self.numbers, out, indent=1)


HEAD = ("item", "what", "ours", "peer", "min", "median", "target", "")
WIDTHS = (7, 66, 11, 11, 7, 7, 8, 6)


def cells(values):
    """One line of the table."""
    return " ".join(f"{value:<{width}}" for value, width in zip(values, WIDTHS, strict=True)).rstrip()


def row(line):
    """A row as text."""
    number = lambda value: "" if value is None else f"{value:.2f}"  # noqa: E731
    sign = ">=" if line.at_least else "<="
    target = "" if line.target is None else f"{sign} {line.target:g}"
    return cells((line.item, line.what, line.ours, line.peer, number(line.ratio),
                  number(line.median), target, line.verdict))  # fmt: skip
