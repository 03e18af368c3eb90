"""Queries: on the command line, compared with another engine; parts, formats and views through a mount."""

import csv
import io
import json

from runner import case

# Rows with NULLs, empty text, quotes, decimals, dates and times, in several data files.
HEADER = "id,city,amount,day,at,note\n"
CITIES = ["Wien", "Graz", "", '"a, b"', '""', "Linz"]


def row(n):
    city = CITIES[n % len(CITIES)]
    amount = "" if n % 7 == 3 else f"{n * 37 % 1000}.{n % 100:02d}"
    day = "" if n % 11 == 5 else f"2026-{n // 40 % 12 + 1:02d}-{n % 28 + 1:02d}"
    at = f"2026-01-{n // 30 % 28 + 1:02d}T{n % 24:02d}:30:00"
    note = "" if n % 3 else f"note {n}"
    return f"{n},{city},{amount},{day},{at},{note}\n"


def filled(env, name):
    """A lab with `sales` (several files, deleted rows) and `places`."""
    lab = env.own_lab(f"sql_{name}").init()
    columns = "id:int64,city:text,amount:decimal(10,2),day:date,at:timestamp,note:text"
    lab.cli("create", "acme/shop/sales", "--columns", columns, "--keys", "id")
    for first in (0, 200, 400):
        lab.load("acme/shop/sales", HEADER + "".join(row(n) for n in range(first, first + 200)))
    lab.cli("delete", "acme/shop/sales", "--where", "id BETWEEN 150 AND 260")
    lab.load("acme/shop/places", "city,country\nWien,AT\nGraz,AT\n\"a, b\",XX\n")
    return lab


def rows(out):
    return list(csv.reader(io.StringIO(out.decode())))


@case
def answers_equal_those_of_another_engine(env):
    import duckdb

    lab = filled(env, "duckdb")
    files = {}
    for table in ("sales", "places"):
        files[table] = lab.base / f"{table}.parquet"
        lab.cli("export", f"acme/shop/{table}", "--format", "parquet", "-o", files[table])
    there = duckdb.connect()
    for table, path in files.items():
        there.sql(f"CREATE VIEW {table} AS SELECT * FROM read_parquet('{path}')")
    queries = [
        "SELECT count(*), count(amount), min(id), max(id) FROM sales",
        "SELECT id FROM sales WHERE id = 321 OR id = 200 OR id IS NULL",
        "SELECT id, amount FROM sales WHERE amount > 500.25 AND note IS NOT NULL ORDER BY id",
        "SELECT id FROM sales WHERE city IN ('Wien', '') AND day < DATE '2026-05-01' ORDER BY id",
        "SELECT id FROM sales WHERE NOT (city = 'Graz' OR amount < 300) ORDER BY id",
        "SELECT id FROM sales WHERE \"at\" BETWEEN TIMESTAMP '2026-01-03 00:00:00' "
        "AND TIMESTAMP '2026-01-09 12:00:00' ORDER BY id",
        "SELECT id FROM sales WHERE note LIKE 'note 3%' ORDER BY id LIMIT 7",
        "SELECT country, count(*), sum(amount) FROM sales JOIN places ON sales.city = places.city "
        "GROUP BY country ORDER BY country",
        "SELECT s.id FROM sales s LEFT JOIN places p ON s.city = p.city "
        "WHERE p.city IS NULL ORDER BY s.id",
        "SELECT city, sum(amount) FROM sales GROUP BY city HAVING count(*) > 50 "
        "ORDER BY city NULLS LAST",
        "WITH few AS (SELECT * FROM sales WHERE id % 50 = 0) SELECT id, row_number() OVER "
        "(ORDER BY id DESC) FROM few ORDER BY id",
    ]
    assert len(there.sql("SELECT * FROM sales").fetchall()) == 600 - 111
    for number, query in enumerate(queries):
        out = lab.base / f"answer{number}.parquet"
        lab.cli("sql", query, "--in", "acme/shop", "--format", "parquet", "-o", out)
        got = there.sql(f"SELECT * FROM read_parquet('{out}')").fetchall()
        wanted = there.sql(query).fetchall()
        assert got and got == wanted, f"{query}: {got[:5]} for {wanted[:5]}"


@case
def queries_on_the_command_line(env):
    lab = filled(env, "cli")
    scope = ("--in", "acme/shop")
    # As many rows, in the order and in the text of the file.
    whole = lab.cat("acme/shop/sales")
    assert lab.cli("sql", "SELECT * FROM acme.shop.sales", "--format", "csv").out == whole
    text = lab.cli("sql", "SELECT id, city FROM sales LIMIT 2", *scope).out.decode()
    assert text.splitlines() == ["id  city", "0   Wien", "1   Graz"], text
    read = lab.cli("sql", *scope, "--format", "json", stdin=b"SELECT count(*) AS n FROM sales")
    assert json.loads(read.out) == [{"n": 489}], read.out
    file = lab.base / "query.sql"
    file.write_text("-- how many\nSELECT count(*) AS n FROM shop WHERE _table = 'places';\n")
    assert lab.cli("sql", "-f", file, "--format", "csv").out == b"n\n3\n"
    # Versions.
    before = lab.cli("sql", "SELECT count(*) AS n FROM sales@3", *scope, "--format", "csv").out
    assert before == b"n\n600\n", before
    last = rows(lab.cli("sql", "SELECT operation, removed FROM sales$snapshots ORDER BY version "
                        "DESC LIMIT 1", *scope, "--format", "csv").out)  # fmt: skip
    assert last[1] == ["delete", "111"], last
    # What is skipped is told.
    plan = lab.cli("sql", "EXPLAIN SELECT id FROM sales WHERE id = 321", *scope).out.decode()
    assert "files=3, files_skipped=2" in plan and "bytes_skipped=" in plan, plan
    # Refusals.
    for words, rc in (
        (("sql", "DELETE FROM sales", *scope), 2),
        (("sql", "COPY sales TO '/tmp/x.csv'", *scope), 2),
        (("sql", "SELECT nothing FROM sales", *scope), 2),
        (("sql", "SELECT * FROM nobody", *scope), 3),
        (("sql", "SELECT * FROM sales", *scope, "--set", "sql.rows_max=488"), 2),
        (("sql", "SELECT * FROM sales a, sales b", *scope, "--set", "sql.rows_max=9"), 2),
    ):
        done = lab.refused(*words)
        assert done.rc == rc, f"{words}: {done}"
    edge = lab.cli("sql", "SELECT * FROM sales", *scope, "--set", "sql.rows_max=489",
                   "--format", "csv")  # fmt: skip
    assert edge.out == whole
    # Export of an answer.
    out = lab.base / "few.tsv"
    lab.cli("export", "--sql", "SELECT id, city FROM sales WHERE id IN (0, 3)", *scope,
            "--format", "tsv", "-o", out)  # fmt: skip
    assert out.read_bytes() == b'id\tcity\n0\tWien\n3\t"a, b"\n'


@case
def parts_formats_and_views_are_files(env):
    lab = filled(env, "tree")
    lab.start()
    here = f"{lab.mount()}/acme/shop"
    run = lambda script: env.guest.check(f"cd {here} && {script}").out  # noqa: E731
    whole = lab.cat("acme/shop/sales").decode()
    lines = whole.splitlines(keepends=True)
    text = lambda script: run(script).decode()  # noqa: E731
    assert text("cat sales/.head/3.csv") == "".join(lines[:4])
    assert text("cat sales/.tail/2.csv") == lines[0] + "".join(lines[-2:])
    assert text("stat -c %s sales/.tail/2.csv").strip() == str(len(lines[0] + "".join(lines[-2:])))
    graz = [line for line in lines if line.split(",")[1] == "Graz"]
    assert text("cat sales/.by/city/Graz.csv") == lines[0] + "".join(graz)
    assert text("cat sales/.cols/day,id.csv").splitlines()[:2] == ["day,id", "2026-01-01,0"]
    assert text("head -2 sales.tsv | tail -1").startswith("0\tWien\t0.00\t")
    first = json.loads(text("head -1 sales.jsonl"))
    assert first["id"] == 0 and first["city"] == "Wien", first
    assert text("head -c 4 sales.parquet") == "PAR1"
    assert "sales.tsv" not in text("ls") and ".views" not in text("ls")
    # A view: saved, looked at, broken, repaired, removed.
    run("echo 'SELECT city, count(*) AS n FROM sales GROUP BY city ORDER BY n DESC, city LIMIT 1' "
        "> .views/top.sql")  # fmt: skip
    assert text("ls .views") == "top.sql\n"
    answer = text("cat .views/top.csv")
    assert answer.splitlines()[0] == "city,n" and len(answer.splitlines()) == 2, answer
    run("sed -i 's/LIMIT 1/LIMIT 2/' .views/top.sql")
    wanted = env.guest.check(
        f"for i in $(seq 300); do [ $(wc -l < {here}/.views/top.csv) = 3 ] && exit 0; sleep 0.1; "
        "done; exit 1"
    )
    assert wanted.rc == 0
    run("echo 'SELECT nothing FROM sales' > .views/bad.sql")
    assert "nothing" in text("cat .views/bad.error")
    assert text("cat .views/bad.csv 2>/dev/null || echo none") == "none\n"
    # The answer follows the table.
    run("echo 'SELECT count(*) AS n FROM sales' > .views/count.sql")
    assert text("cat .views/count.csv") == "n\n489\n"
    run("echo '9001,Wien,1.00,,,' >> sales.csv")
    env.guest.check(
        f"for i in $(seq 300); do [ \"$(tail -1 {here}/.views/count.csv)\" = 490 ] && exit 0; "
        "sleep 0.1; done; exit 1"
    )
    run("rm .views/bad.sql .views/count.sql")
    assert text("ls .views") == "top.sql\n"
    lab.unmount()
    lab.stop()
