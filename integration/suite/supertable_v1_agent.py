"""supertable_agent.py for release 2.0.2 of the library, whose reader gives pandas frames: they make
floats of integers beside NULLs, so the result is taken where DuckDB gives it.

Runs in the environment of requirements-supertable-v1.txt.
"""

import duckdb
import pyarrow as pa
from supertable.data_reader import DataReader, Status
from supertable_agent import ROLE, Agent, main

CONNECT = duckdb.connect
# The results that were fetched, as Arrow tables.
FETCHED = []


class Connection:
    """A connection of DuckDB that keeps what is fetched from it in its own types."""

    def __init__(self, *where, **options):
        self.inner = CONNECT(*where, **options)

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def execute(self, *words):
        """As DuckDB's, but for the object that it returns."""
        self.inner.execute(*words)
        return self

    def fetchdf(self):
        """The frame that the library wants."""
        FETCHED.append(self.inner.fetch_arrow_table())
        return FETCHED[-1].to_pandas(date_as_object=True, timestamp_as_object=True)


duckdb.connect = Connection


class V1Agent(Agent):
    """The operations of release 2.0.2, which compacts by itself only."""

    weights = (4, 4, 2, 0)

    def query(self, sql):
        """Result of a SELECT as an Arrow table; one without rows if there are no data files."""
        FETCHED.clear()
        _, status, message = DataReader(self.super_name, self.organization, sql).execute(
            role_name=ROLE
        )
        if status == Status.OK:
            return FETCHED[-1]
        if "No parquet files" in str(message):
            return self.empty(sql.split()[-1])
        raise RuntimeError(f"{sql}: {status} {message}")

    def empty(self, table):
        """A table without data files has columns all the same; the reader gives none of them."""
        leaf = self.writer.catalog.get_leaf(self.organization, self.super_name, table)
        names = list(((leaf or {}).get("payload") or {}).get("schema") or {})
        return pa.table([pa.array([], pa.string()) for _ in names], names=names)

    def configure(self, table, keys):
        """Shows the newest row of each key only, and deletes by naming keys."""
        self.writer.configure_table(ROLE, table, primary_keys=keys, dedup_on_read=True)
        return {}

    def tables(self):
        """Names of the tables by their pointers."""
        leaves = self.writer.catalog.scan_leaf_items(self.organization, self.super_name)
        return {"names": sorted(leaf["simple"] for leaf in leaves)}


if __name__ == "__main__":
    main(V1Agent)
