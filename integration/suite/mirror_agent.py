"""Independent readers on mirrors: reads one JSON request a line, answers with one JSON line each.

Runs in the environment of requirements-mirrors.txt, apart from the suite. An answer holds the rows
that each reader found, as sorted lists of texts in the spelling of the CSV files.
"""

import base64
import datetime
import decimal
import functools
import json
import math
import os
import sys
import traceback
from pathlib import Path

REPLIES = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

import deltalake  # noqa: E402
import duckdb  # noqa: E402
import polars  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.dataset  # noqa: E402
from pyiceberg.table import StaticTable  # noqa: E402


def cell(value):
    """A value as its CSV cell has it; None is NULL."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(bytes(value)).decode()
    if isinstance(value, datetime.datetime):
        zone = "" if value.tzinfo is None else "Z"
        if zone:
            value = value.astimezone(datetime.timezone.utc).replace(tzinfo=None)
        text = value.isoformat()
        return (text.rstrip("0") if "." in text else text) + zone
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else repr(value)
    if isinstance(value, decimal.Decimal):
        return f"{value:f}"
    if isinstance(value, (list, dict)):
        return json.dumps(value, separators=(",", ":"))
    return str(value)


def told(table):
    """Columns and sorted rows of an Arrow table."""
    rows = [[cell(row[name]) for name in table.column_names] for row in table.to_pylist()]
    rows.sort(key=lambda row: [(text is None, text) for text in row])
    return {"columns": table.column_names, "rows": rows}


@functools.cache
def ducks():
    """A DuckDB that has loaded its extensions from packages."""
    connection = duckdb.connect()
    connection.execute("SET autoinstall_known_extensions = false; SET TimeZone = 'UTC'")
    for package in sorted(Path(deltalake.__file__).parent.parent.glob("duckdb_extension_*")):
        for extension in package.glob("extensions/*/*.duckdb_extension"):
            connection.execute(f"LOAD '{extension}'")
    return connection


def duck(sql):
    """DuckDB's answer."""
    answer = ducks().cursor().execute(sql).arrow()
    return told(answer if isinstance(answer, pa.Table) else answer.read_all())


def of_polars(frame):
    """A frame's rows, in the types of Arrow."""
    return told(frame.to_arrow())


def delta(path, version=None, options=None):
    """A Delta table, newest or at a version; `options` are those of its storage."""
    table = deltalake.DeltaTable(path, version=version, storage_options=options)
    out = {"deltalake": told(table.to_pyarrow_table())}
    if version is not None:
        return out, {"version": table.version()}
    engine = deltalake.QueryBuilder().register("mirror", table)
    out |= {
        "deltalake sql": told(pa.table(engine.execute("SELECT * FROM mirror").read_all())),
        "polars": of_polars(
            polars.scan_delta(path, storage_options=options).collect()
        ),
    }
    if not options:
        out["duckdb"] = duck(f"SELECT * FROM delta_scan('{path}')")
    return out, {"version": table.version(), "files": len(table.file_uris())}


# Storage options of PyIceberg.
ICEBERG_OPTIONS = {
    "AWS_ENDPOINT_URL": "s3.endpoint",
    "AWS_ACCESS_KEY_ID": "s3.access-key-id",
    "AWS_SECRET_ACCESS_KEY": "s3.secret-access-key",
    "AWS_REGION": "s3.region",
}


def iceberg(path, snapshot=None, options=None):
    """An Iceberg table, newest or at a snapshot id."""
    named = {ICEBERG_OPTIONS[k]: v for k, v in (options or {}).items() if k in ICEBERG_OPTIONS}
    table = StaticTable.from_metadata(path, named)
    scan = table.scan(snapshot_id=snapshot)
    out = {"pyiceberg": told(scan.to_arrow())}
    if snapshot is None and not options:
        out["polars"] = of_polars(polars.scan_iceberg(table).collect())
        out["duckdb"] = duck(f"SELECT * FROM iceberg_scan('{path}')")
    files = [task.file.file_path for task in scan.plan_files()]
    return out, {"snapshots": [s.snapshot_id for s in table.snapshots()], "paths": sorted(files)}


def parquet(path):
    """The folder that `latest.json` names."""
    latest = json.loads((Path(path) / "latest.json").read_text())
    folder = Path(path) / latest["folder"]
    pattern = folder / "*.parquet"
    out = {
        "pyarrow": told(pa.dataset.dataset(folder, format="parquet").to_table()),
        "polars": of_polars(polars.scan_parquet(pattern).collect()),
        "duckdb": duck(f"SELECT * FROM read_parquet('{pattern}')"),
    }
    return out, {"version": latest["version"]}


def answer(request):
    """One request's answer."""
    read = {"delta": delta, "iceberg": iceberg, "parquet": parquet}[request.pop("do")]
    readers, facts = read(**request)
    return {"readers": readers, "facts": facts}


for line in sys.stdin:
    try:
        reply = answer(json.loads(line))
    except BaseException as error:  # whatever a reader raises is its answer
        reply = {"error": str(error), "trace": traceback.format_exc()[-3000:]}
    REPLIES.write(json.dumps(reply) + "\n")
    REPLIES.flush()
