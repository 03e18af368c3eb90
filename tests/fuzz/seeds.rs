//! Inputs that are right, and words of their formats, for the mutations to begin with.

type Seeds = (&'static [&'static [u8]], &'static [&'static [u8]]);

const CSV_WORDS: &[&[u8]] = &[
    b",",
    b"\n",
    b"\r\n",
    b"\"",
    b"\"\"",
    b"\xef\xbb\xbf",
    b"\0",
    b"\r",
    b"NaN",
    b"inf",
    b"-inf",
    b"1e308",
    b"1e-400",
    b"9223372036854775807",
    b"-9223372036854775808",
    b"18446744073709551616",
    b"2026-11-21",
    b"2026-11-21T10:00:00.123456789Z",
    b"+23:59",
    b"24:00:00",
    b"PT1M30.5S",
    b"-P1DT2H",
    b"YWJj",
    b"[1.5,null]",
    b"[true,false]",
    b"\"{\"\"a\"\":1,\"\"b\"\":null}\"",
    b"true",
    b" 5 ",
    b"0.1",
    b"-0",
    b"\xff",
    b"\xe2\x82\xac",
    b"0000-01-01",
    b"+262143-12-31",
];

const JSON_WORDS: &[&[u8]] = &[
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"\"",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"null",
    b"true",
    b"{}",
    b"[]",
    b"1e400",
    b"1.8e+12",
    b"-1",
    b"4294967296",
    b"18446744073709551615",
    b"[[[[[[[[[[[[[[[[",
    b"\"path\":",
    b"\"pieces\":",
    b"\"resources\":",
];

const XDR_WORDS: &[&[u8]] = &[
    b"\0\0\0\0",
    b"\0\0\0\x01",
    b"\0\0\0\x02",
    b"\0\0\0\x04",
    b"\0\0\0\x08",
    b"\0\0\0\x40",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\x80\0\0\0",
    b"\0\x10\0\0",
    b"\0\x01\x86\xa3",
    b"\0\x01\x86\xa5",
    b"\0\0\0\x05t.csv\0\0\0",
    b"\0\0\0\x01.\0\0\0",
    b"\0\0\0\x02..\0\0",
    b"\0\0\0\x05a/b\0c\0\0\0",
    b"\0\0\0\x0a.mountable\0\0",
    b"\0\0\0\x04.at/",
];

const PARSE: &[&[u8]] = &[
    b"\x01\x01\x00a,b\n1,x\n",
    b"\x03\x00\x01\x02\x03text,1,1.5,true\n,,,\n\"a\"\"b\",-5,1e3,FALSE\n",
    b"\x03\x09\x0e\x0f\x102026-11-21,2026-11-21T10:00:00Z,PT5S,YWJj\n",
    b"\x01\x12\x14\"[1.5,null]\",\"{\"\"a\"\":1,\"\"b\"\":\"\"x\"\"}\"\n",
    b"\x02\x07\x08\x0d1.500,2.0000000001,2026-11-21T10:00:00.123456789\r\n",
    b"\x00\x00\n\"\"\nx\n",
];

const DIFF: &[&[u8]] = &[
    b"1,a\n2,b\n3,c\n\x1e1,a\n2,x\n3,c\n",
    b"1\n2\n3\n4\n5\n6\n7\n8\n\x1e8\n7\n6\n5\n4\n3\n2\n1\n",
    b"\"a\nb\",1\nx,2\n\x1e\"a\nb\",1\n\"x\n\",2\n",
    b"a\na\na\na\na\na\n\x1ea\na\nb\na\na\n",
];

const DIFF_WORDS: &[&[u8]] = &[b"\x1e", b"\n", b"\"", b",", b"a\n", b"\"\n\"", b"\r\n"];

const CONFIG: &[&[u8]] = &[
    b"cache_bytes=1GiB\nlake = \"/x\"\n[limits]\nrecord_bytes_max = \"1MiB\"\n",
    b"exports=10.0.0.0/8 ro\n[storage]\nregion = \"x\"\n[timing]\nsettle = \"2s\"\n",
    b"log.filter=debug\nredis.url = \"redis://u:p@h:1/0\"\n",
];

const CONFIG_WORDS: &[&[u8]] =
    &[b"=", b"[", b"]", b"\"", b"\n", b"99999999999GiB", b"-1", b"1e9", b"0x10", b"://", b"@"];

const CALLS: &[&[u8]] = &[
    b"\0\0\0\0\x01\0\0\0\0\0\0\0\x02\0\x01\x86\xa3\0\0\0\x03\0\0\0\0",
    b"\x03\x02\0\0\0\x05t.csv\0\0\0",
    b"\x06\x03\0\0\0\0\0\0\0\0\0\0\x10\0",
    b"\x07\x03\0\0\0\0\0\0\0\0\0\0\0\x04\0\0\0\x02\0\0\0\x04id\n1",
    b"\x08\x02\0\0\0\x05u.csv\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
    b"\x0e\x02\0\0\0\x05t.csv\0\0\0",
    b"\x10\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x10\0",
    b"\x11\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x10\0\0\0\x10\0",
    b"\x15\x03\0\0\0\0\0\0\0\0\0\0\0\0",
];

/// Seeds and words of a target.
pub(crate) fn of(target: &str) -> Seeds {
    match target {
        "csv_parse" => (PARSE, CSV_WORDS),
        "csv_header" => (&[b"id,name\n", b"\xef\xbb\xbf\"a,b\",c\r\n"], CSV_WORDS),
        "csv_infer" => (
            &[
                b"\x021,1.5,2026-11-21\n2,2,2026-11-22\n",
                b"\x01true,2026-11-21 10:00:00\nFALSE,2026-11-21T10:00:00.5\n",
                b"\x00007\n8\n",
            ],
            CSV_WORDS,
        ),
        "csv_diff" => (DIFF, DIFF_WORDS),
        "index" => (
            &[b"\x05\x02\x01\x01a\x05Int64\x03\x04\x05", b"\0\x01\0"],
            &[
                b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
                b"\x80",
                b"\x7f",
                b"\xff\xff\xff\xff\x0f",
            ],
        ),
        "layout" => (
            &[
                br#"{"digest":"d","columns":"c","files":["a","b"],"pieces":[0,0,5,50,1,3,4,44]}"#,
                b"\x28\xb5\x2f\xfd\x20\x02\x11\0\0{}",
            ],
            JSON_WORDS,
        ),
        "leaf_json" => (
            &[
                br#"{"version":3,"ts":1.8e+12,"path":"a/b","payload":{"x":NaN,"l":{}}}"#,
                br#"{"version":3.0,"ts":null,"path":"p","s":"NaN \" Infinity"}"#,
            ],
            JSON_WORDS,
        ),
        "snapshot_json" => (&[SNAPSHOT], JSON_WORDS),
        "config" => (CONFIG, CONFIG_WORDS),
        "paths" => (
            &[
                b"acme/shop/orders",
                b"acme/shop/tables/orders/data/year=2026/x.parquet",
                b"acme/shop/tables/orders/snapshots/00000000000000000001_1_ab_tables.json",
            ],
            &[b"/", b"..", b".", b"\0", b":", b"//", b"/../", b"%2e%2e", b"_tables.json", b"\\"],
        ),
        _ => (CALLS, XDR_WORDS),
    }
}

const SNAPSHOT: &[u8] = br#"{"snapshot_version":3,"location":"acme\/shop\/tables\/orders",
"previous_snapshot":"p","last_updated_ms":1.795253675e+12,"schema":{"b":"String","a":"Int64",
"__rowid__":"Int64","__timestamp__":"Datetime(time_unit='us', time_zone='UTC')"},
"resources":[{"file":"f\/1","file_size":10,"rows":4.0,"columns":4,"odd":{"kept":1}}],
"tombstone":["t1","t2"],"tombstone_rows":2,"stats_file":"s","stats_rows":7,
"rowid_high_watermark":9,"future":[1,2],"mountable":{"format":1},
"lineage":{"source_type":"write","role_name":"superadmin","write_id":"w","incoming_rows":4,
"overwrite_columns":{}}}"#;
