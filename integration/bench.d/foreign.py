"""Writes a Parquet file's rows into a table by the SuperTable library, in its own environment."""

import sys

import pyarrow.parquet
from supertable.data_writer import DataWriter

organization, super_name, table, source = sys.argv[1:]
writer = DataWriter(super_name=super_name, organization=organization)
writer.write("superadmin", table, pyarrow.parquet.read_table(source), [])
