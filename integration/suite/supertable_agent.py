"""The Python library on a lake: reads one JSON request a line, answers with one JSON line each.

Runs in the environment of requirements-supertable.txt, apart from the suite. Where the lake and its
Redis are comes by the library's own environment variables.
"""

import base64
import collections
import datetime
import decimal
import json
import os
import random
import struct
import sys
import time
import traceback

# Replies go to the real standard output; whatever the library prints goes to standard error.
REPLIES = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

import pyarrow as pa  # noqa: E402
from supertable.data_reader import DataReader, Status  # noqa: E402
from supertable.data_writer import DataWriter  # noqa: E402

ROLE = "superadmin"
SHOWN_MAX = 6


def arrow(columns, rows):
    """An Arrow table of cells given as text; `columns` is [[name, type], ...]."""
    kinds = {
        "timestamp": pa.timestamp("us"),
        "timestamptz": pa.timestamp("us", "UTC"),
        "date": pa.date32(),
        "time": pa.time64("us"),
        "binary": pa.binary(),
        "text": pa.string(),
        "bool": pa.bool_(),
    }
    arrays = []
    for at, (_, kind) in enumerate(columns):
        if kind.startswith("decimal("):
            kinds[kind] = pa.decimal128(*map(int, kind[8:-1].split(",")))
        made = kinds.get(kind)
        if made is not None and not pa.types.is_string(made):
            cells = [value(row[at], made) for row in rows]
            arrays.append(pa.array(cells, made))
            continue
        cells = pa.array([row[at] for row in rows], pa.string())
        arrays.append(cells.cast(kinds[kind] if kind in kinds else kind))
    return pa.table(arrays, names=[name for name, _ in columns])


def records(text):
    """CSV text as lists of cells: None for NULL, which an empty text in quotes is not."""
    out, row, at, size = [], [], 0, len(text)
    while at < size:
        if text[at] == '"':
            cell = ""
            while True:
                end = text.index('"', at + 1)
                cell += text[at + 1 : end]
                at = end + 1
                if at >= size or text[at] != '"':
                    break
                cell += '"'
        else:
            end = min(e for e in (text.find(",", at), text.find("\n", at), size) if e >= 0)
            cell, at = text[at:end] or None, end
        row.append(cell)
        if at < size and text[at] == ",":
            at += 1
            if at < size and text[at] != "\n":
                continue
            row.append(None)
        out.append(row)
        row = []
        at += 1
    return out


def value(cell, kind):
    """A cell of Mountable's text as the value that Arrow gives for `kind`."""
    if cell is None:
        return None
    if pa.types.is_boolean(kind):
        return {"true": True, "false": False}[cell]
    if pa.types.is_integer(kind):
        return int(cell)
    if pa.types.is_floating(kind):
        return float(cell)
    if pa.types.is_decimal(kind):
        return decimal.Decimal(cell)
    if pa.types.is_date(kind):
        return datetime.date.fromisoformat(cell)
    if pa.types.is_time(kind):
        return datetime.time.fromisoformat(cell)
    if pa.types.is_timestamp(kind):
        return datetime.datetime.fromisoformat(cell)
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return base64.b64decode(cell)
    return cell


def fingerprint(cell, kind):
    """A text that is equal for equal values: floats by their bits, moments in UTC."""
    if cell is None:
        return "NULL"
    if pa.types.is_floating(kind):
        form = "<f" if kind.bit_width == 32 else "<d"
        return "nan" if cell != cell else struct.pack(form, cell).hex()
    if isinstance(cell, datetime.datetime) and cell.tzinfo is not None:
        cell = cell.astimezone(datetime.timezone.utc).replace(tzinfo=None)
        return f"{cell!r} UTC"
    if isinstance(cell, decimal.Decimal):
        return str(cell)
    return repr(cell)


class Agent:
    """The operations; each takes the members of a request and returns those of an answer."""

    # How often `churn` appends, upserts, deletes and compacts.
    weights = (4, 4, 2, 1)

    def __init__(self, organization, super_name):
        self.organization, self.super_name = organization, super_name
        self.writer = DataWriter(super_name=super_name, organization=organization)

    def query(self, sql):
        """Result of a SELECT as an Arrow table."""
        reader = DataReader(self.super_name, self.organization, sql)
        frame, status, message = reader.execute(role_name=ROLE)
        if status != Status.OK:
            raise RuntimeError(f"{sql}: {status} {message}")
        return frame.to_arrow()

    def read(self, table, columns="*"):
        """All rows: names, types and cells as text."""
        got = self.query(f"SELECT {columns} FROM {table}")
        rows = zip(*(c.to_pylist() for c in got.columns), strict=True)
        return {
            "columns": got.column_names,
            "types": [str(field.type) for field in got.schema],
            "rows": [[None if cell is None else str(cell) for cell in row] for row in rows],
        }

    def compare(self, table, text):
        """Mountable's text of a table against the library's rows, both as bags."""
        got = self.query(f"SELECT * FROM {table}")
        head, *body = records(text)
        kinds = {field.name: field.type for field in got.schema}
        if sorted(head) != sorted(kinds):
            return {"columns": sorted(set(head) ^ set(kinds)), "rows": got.num_rows}
        columns = [got.column(name).to_pylist() for name in head]
        theirs = collections.Counter(
            tuple(fingerprint(c, kinds[n]) for c, n in zip(row, head, strict=True))
            for row in zip(*columns, strict=True)
        )
        ours = collections.Counter(
            tuple(fingerprint(value(c, kinds[n]), kinds[n]) for c, n in zip(row, head, strict=True))
            for row in body
        )
        return {
            "columns": [],
            "rows": got.num_rows,
            "only_python": sorted((theirs - ours).elements())[:SHOWN_MAX],
            "only_mountable": sorted((ours - theirs).elements())[:SHOWN_MAX],
        }

    def write(self, table, columns, rows, keys=(), delete=False, newer_than=None):
        """One write; the library's own counts."""
        data = arrow(columns, rows)
        counts = self.writer.write(
            ROLE, table, data, list(keys), newer_than=newer_than, delete_only=delete
        )
        return {"counts": list(counts)}

    def appends(self, table, columns, rows):
        """Each row as a write of its own."""
        for row in rows:
            self.writer.write(ROLE, table, arrow(columns, [row]), [])
        return {}

    def churn(self, table, first, seconds, seed):
        """Appends, upserts, deletes and compacts for some time, always with ids of its own.

        The rows that must be there by what was acknowledged, ids whose last write failed, how
        much was done, and the errors."""
        columns = [["id", "int64"], ["name", "text"]]
        dice, rows, open_ids, done, errors = random.Random(seed), {}, [], 0, []
        new, end = first, time.monotonic() + seconds
        while time.monotonic() < end:
            at = dice.choice([*rows, new]) if dice.random() < 0.5 else new
            what = dice.choices(["append", "upsert", "delete", "compact"], self.weights)[0]
            if what in ("append", "delete") and (at in rows) != (what == "delete"):
                at, what = (new, "append") if what == "append" else (at, "upsert")
            new += at == new
            name = f"{what} {done}"
            try:
                if what == "compact":
                    self.writer.compact(ROLE, table, small_only=dice.random() < 0.5)
                elif what == "delete":
                    data = arrow(columns[:1], [[str(at)]])
                    self.writer.write(ROLE, table, data, ["id"], delete_only=True)
                    del rows[at]
                else:
                    keys = ["id"] if what == "upsert" else []
                    self.writer.write(ROLE, table, arrow(columns, [[str(at), name]]), keys)
                    rows[at] = name
                done += 1
            except Exception as error:  # noqa: BLE001  # a refusal is part of the answer
                errors.append(f"{what} {at}: {error!r}"[:200])
                if what != "compact":
                    open_ids.append(at)
                    rows.pop(at, None)
        return {"rows": list(rows.items()), "open": open_ids, "done": done, "errors": errors}

    def stall(self, seconds):
        """From now on, each write pauses between the look at its lock and the publication, as a
        machine that swaps or is stopped would: the race that the library leaves open."""

        def pause(*_):
            time.sleep(random.random() * seconds)

        # The check itself is left out too, since the case takes the lock away all the time.
        self.writer._assert_lock_still_held = pause  # noqa: SLF001
        return {}

    def compact(self, table, small_only=True):
        """Folds small files and drains the deletion vector."""
        stats = self.writer.compact(ROLE, table, small_only=small_only)
        return {"stats": {k: v for k, v in stats.items() if isinstance(v, (int, str))}}


def main(kind):
    """Answers until standard input ends."""
    agent = kind(sys.argv[1], sys.argv[2])
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(agent, request.pop("do"))(**request)
        except Exception as error:  # noqa: BLE001  # told to the suite
            answer = {"error": repr(error), "trace": traceback.format_exc()[-1500:]}
        REPLIES.write(json.dumps(answer) + "\n")
        REPLIES.flush()


if __name__ == "__main__":
    main(Agent)
