"""What is a leak and what only looks like one, kind by kind; and that what is overwritten is the leak alone.

Keys are put together here, so that nobody takes this file for a leak.
"""

import json

import pytest

from worker.reasons import Leak
from worker.security.leaks.finder import finder
from worker.security.leaks.inspection import Inspection

ALL = finder(frozenset(Leak))


def inspected(text: bytes) -> tuple[list[Leak], bytes]:
    inspection = Inspection(ALL, 1 << 20)
    masked = inspection.feed(text, last=True)
    assert len(masked) == len(text)
    return sorted(inspection.found), masked


CARDS = [
    "4111111111111111", "4111 1111 1111 1111", "4111-1111-1111-1111", "5555555555554444",
    "5105 1051 0510 5100", "2223003122003222", "378282246310005", "3782 822463 10005", "6011111111111117",
    "3530111333300000",
    "30569309025904", "3056 930902 5904", "6200000000000005", "4222 222 222 222",
]  # fmt: skip
NO_CARDS = {
    "checksum": "4111111111111112",
    "issuer": "2111111111111118",
    "in a longer number": "94111111111111111",
    "before more digits": "41111111111111112",
    "in a word": "id4111111111111111",
    "before a word": "4111111111111111px",
    "decimals": "0.4111111111111111",
    "before decimals": "4111111111111111.5",
    "in a UUID": "ab12-4111111111111111",
    "before a part of a UUID": "4111111111111111-ab12",
    "in a row of groups": "9999 4111 1111 1111 1111",
    "before a row of groups": "4111 1111 1111 1111 9999",
    "parted in two ways": "4111-1111 1111-1111",
    "parted by two": "4111  1111  1111  1111",
    "grouped in another way": "41 11 11 11 11 11 11 11",
    "one digit": "4444 4444 4444 4444",
    "a barcode": "4006381333931",
    "milliseconds": "1700000000000",
    "nanoseconds": "1700000000000000000",
    "a snowflake": "1790000000000000001",
}


@pytest.mark.parametrize("number", CARDS)
@pytest.mark.parametrize(
    "around", ["%s", "<td>%s</td>", '{"card":"%s"}', "pay %s.", "a,%s,12/27", "No. %s\n"]
)
def test_a_card_number_is_overwritten_and_nothing_else(number: str, around: str) -> None:
    text = (around % number).encode()
    found, masked = inspected(text)
    assert found == [Leak.CARD_NUMBER]
    assert masked == (around % ("*" * len(number))).encode()


@pytest.mark.parametrize("number", NO_CARDS.values(), ids=NO_CARDS)
def test_what_only_looks_like_a_card_number_is_left(number: str) -> None:
    assert inspected(f"<td>{number}</td>".encode()) == ([], f"<td>{number}</td>".encode())


def test_several_card_numbers_in_a_row_are_all_found() -> None:
    assert (
        inspected(b"4111111111111111 5555555555554444 12/27")[1] == b"**************** **************** 12/27"
    )


B64 = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj"
BEGIN, END = "-----BEGIN ", "-----END "
KEYS = {
    "PKCS 8": f"{BEGIN}PRIVATE KEY-----\n{B64}\n{B64}\nabcd==\n{END}PRIVATE KEY-----",
    "RSA": f"{BEGIN}RSA PRIVATE KEY-----\r\n{B64}\r\n{END}RSA PRIVATE KEY-----",
    "encrypted": (
        f"{BEGIN}RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n{B64}\n"
        f"{END}RSA PRIVATE KEY-----"
    ),
    "OpenSSH": f"{BEGIN}OPENSSH PRIVATE KEY-----\n{B64}\n{B64}\n{END}OPENSSH PRIVATE KEY-----",
    "PGP": (
        f"{BEGIN}PGP PRIVATE KEY BLOCK-----\nVersion: GnuPG v2\n\n{B64}\n=aBcD\n"
        f"{END}PGP PRIVATE KEY BLOCK-----"
    ),
    "within JSON": f"{BEGIN}PRIVATE KEY-----\\n{B64}\\n{B64}\\n{END}PRIVATE KEY-----",
    "on one line": f"{BEGIN}PRIVATE KEY----- {B64} {B64} {END}PRIVATE KEY-----",
    "long": f"{BEGIN}PRIVATE KEY-----\n" + f"{B64}\n" * 200 + f"{END}PRIVATE KEY-----",
}


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_a_private_key_is_overwritten_to_its_end(key: str) -> None:
    text = f"before\n{key}\nHello world\n"
    found, masked = inspected(text.encode())
    assert found == [Leak.PRIVATE_KEY]
    assert masked.startswith(b"before\n***")
    assert masked.endswith(b"***\nHello world\n")
    assert set(masked[7:-13]) <= set(b"*\r\n")


@pytest.mark.parametrize(
    "text",
    [
        f"The file begins with {BEGIN}PRIVATE KEY----- and ends with {END}PRIVATE KEY-----",
        f"{BEGIN}CERTIFICATE-----\n{B64}\n{END}CERTIFICATE-----",
        f"{BEGIN}PUBLIC KEY-----\n{B64}\n{END}PUBLIC KEY-----",
        f"{BEGIN}PRIVATE KEY-----\n...\n{END}PRIVATE KEY-----",
    ],
)
def test_what_only_names_a_private_key_is_left(text: str) -> None:
    assert inspected(text.encode()) == ([], text.encode())


X = "0123456789abcdefABCDEFGHIJklmnopqrstuvwxyz0123456789abcdefABCDEFGHIJklmnopqrstuvwxyz"
ACCESS_KEYS = {
    "AWS": "AKIA" + "IOSFODNN7ABCDEFG",
    "AWS secret": 'aws_secret_access_key = "' + X[:40],
    "GitHub": "ghp_" + X[:36],
    "GitHub, fine-grained": "github_pat_" + X[:82],
    "GitLab": "glpat-" + X[:20],
    "Slack": "xoxb-" + "1234567890-" + X[:24],
    "Slack hook": "https://hooks.slack.com/services/" + "T01234567/B01234567/" + X[:24],
    "Stripe": "sk_live_" + X[:24],
    "SendGrid": "SG." + X[:22] + "." + X[:43],
    "npm": "npm_" + X[:36],
    "PyPI": "pypi-AgEIcHlwaS5vcmc" + X[:60],
    "Google": "GOCSPX-" + X[:28],
    "Azure": "AccountKey=" + X[:80] + "ABCDEF==",
    "DigitalOcean": "dop_v1_" + "0123456789abcdef" * 4,
    "Shopify": "shpat_" + "0123456789abcdef" * 2,
    "Vault": "hvs." + X[:24],
}


@pytest.mark.parametrize("key", ACCESS_KEYS.values(), ids=ACCESS_KEYS)
def test_an_access_key_is_overwritten(key: str) -> None:
    found, masked = inspected(f'{{"k": "{key}"}}'.encode())
    assert found == [Leak.ACCESS_KEY]
    assert masked == f'{{"k": "{"*" * len(key)}"}}'.encode()


@pytest.mark.parametrize(
    "text",
    [
        "AKIA" + "IOSFODNN7EXAMPLE",
        "AKIAshort",
        "pk_live_" + X[:24],
        "AIza" + X[:35],
        "ghp_short",
        "task-proj-x",
    ],
)
def test_what_is_meant_for_browsers_or_documentation_is_no_access_key(text: str) -> None:
    assert inspected(text.encode()) == ([], text.encode())


TRACES = {
    "Python": (
        "Traceback (most recent call last):\n"
        '  File "/srv/app/views.py", line 12, in <module>\n    return pay(card)\n           ^^^^^^^^^\n'
        '  File "/srv/app/pay.py", line 7, in pay\n    raise KeyError(card)\nKeyError: \'secret\''
    ),
    "Java": (
        "java.lang.IllegalStateException: no key for tenant\n"
        "\tat com.example.Keys.find(Keys.java:42)\n\tat java.base/java.lang.Thread.run(Thread.java:833)\n"
        "Caused by: java.io.IOException: /etc/keys: denied\n"
        "\tat com.example.Files.open(Files.java:7)\n\t... 12 more"
    ),
    "Kotlin, no message": "\n    at com.example.MainKt$main$1.invokeSuspend(Main.kt:12)",
    "Tomcat": "java.lang.NullPointerException\n\tcom.example.S.doGet(S.java:12)\n\ty.go(X.java:3)",
    ".NET": (
        "System.InvalidOperationException: Sequence contains no elements\r\n"
        "   at System.Linq.ThrowHelper.ThrowNoElementsException()\r\n"
        "   at Shop.Orders.Get(Int32 id) in C:\\src\\Shop\\Orders.cs:line 42\r\n"
        "   at lambda_method1(Closure , Object )"
    ),
    "Node": (
        "TypeError: Cannot read properties of undefined (reading 'id')\n"
        "    at Object.<anonymous> (/srv/app/server.js:12:34)\n"
        "    at async Router.handle (/srv/app/router.mjs:5:9)\n"
        "    at node:internal/process/task_queues:95:5"
    ),
    "PHP": (
        "PHP Fatal error:  Uncaught Exception: x in /var/www/a.php:3\nStack trace:\n"
        "#0 /var/www/b.php(12): pay('s')\n"
        "#1 {main}\n  thrown in /var/www/a.php on line 3"
    ),
    "PHP warning": "Warning: Undefined variable $x in /var/www/html/index.php on line 12",
    "PHP warning, HTML": "<b>Warning</b>:  Undefined variable $x in <b>/var/www/i.php</b> on line <b>12</b>",
    "Ruby": (
        "app/models/order.rb:12:in `find': missing (KeyError)\n\tfrom app/c.rb:3:in `show'\n"
        "\tfrom bin/rails:4:in `<main>'"
    ),
    "Go": (
        "panic: runtime error: index out of range [3]\n\ngoroutine 1 [running]:\nmain.find(0x3)\n"
        "\t/srv/app/main.go:12 +0x1d\nmain.main()\n\t/srv/app/main.go:7 +0x25"
    ),
    "Rust": (
        "thread 'main' panicked at src/main.rs:12:5:\nindex out of bounds\nstack backtrace:\n"
        "   0: rust_begin_unwind\n"
        "             at /rustc/abc/library/std/src/panicking.rs:645:5\n   1: app::main"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TRACES)
def test_a_stack_trace_is_found(name: str) -> None:
    found, masked = inspected(f"<pre>oops\n{TRACES[name]}\n\nBye.</pre>".encode())
    assert found == [Leak.STACK_TRACE]
    assert masked.startswith(b"<pre>oops\n")
    assert masked.endswith(b"\n\nBye.</pre>")


@pytest.mark.parametrize(
    "name", [name for name in TRACES if "PHP" not in name and name != "Kotlin, no message"]
)
def test_of_a_stack_trace_within_json_the_string_is_overwritten_and_the_json_stays_whole(name: str) -> None:
    text = json.dumps({"error": TRACES[name], "id": 7}).encode()
    found, masked = inspected(text)
    assert found == [Leak.STACK_TRACE]
    said = json.loads(masked)
    assert said["id"] == 7
    shown = said["error"].split("***")[0]
    assert TRACES[name].startswith(shown)
    assert len(shown) < 60


@pytest.mark.parametrize(
    ("name", "hidden"),
    [
        ("Python", ["views.py", "secret", "raise"]), ("Java", ["Keys.java", "tenant", "denied"]),
        (".NET", ["Orders.cs", "lambda_method1"]), ("Node", ["server.js", "task_queues", "undefined"]),
        ("PHP", ["b.php", "thrown"]), ("Ruby", ["order.rb", "bin/rails"]), ("Go", ["main.go", "index out"]),
        ("Rust", ["main.rs", "panicking.rs", "out of bounds"]),
    ],
)  # fmt: skip
def test_of_a_stack_trace_all_lines_are_overwritten(name: str, hidden: list[str]) -> None:
    _, masked = inspected(TRACES[name].encode())
    assert not [word for word in hidden if word.encode() in masked]


@pytest.mark.parametrize(
    "text",
    [
        "A traceback begins with 'Traceback (most recent call last):' and lists the calls.",
        "We met at Alice (see notes:12) and at Bob.",
        "Error: please fill in your name",
        'import x from "./a.js:1";\n// see server.js:12 for more',
        "at line 12 of the poem",
        "goroutine scheduling explained",
        "#1 in the charts (2024): a song",
        "Notice: the shop is closed on line 3 of the metro",
    ],
)
def test_prose_about_programs_is_no_stack_trace(text: str) -> None:
    assert inspected(text.encode()) == ([], text.encode())


SQL = [
    "You have an error in your SQL syntax; check the manual that corresponds to your MariaDB server version",
    "SQLSTATE[42S02]: Base table or view not found: 1146 Table 'shop.x' doesn't exist",
    "Warning: mysqli_fetch_array() expects parameter 1 to be mysqli_result",
    "Unknown column 'passwd' in 'where clause'",
    'ERROR:  syntax error at or near "FROM" at character 12',
    'ERROR: relation "users" does not exist',
    "PG::UndefinedTable: ERROR: relation",
    "org.postgresql.util.PSQLException: ERROR",
    "Unclosed quotation mark after the character string 'x'.",
    "Microsoft OLE DB Provider for SQL Server error '80040e14'",
    "[Microsoft][ODBC SQL Server Driver][SQL Server]Incorrect syntax",
    "System.Data.SqlClient.SqlException: Login failed",
    "ORA-00933: SQL command not properly ended",
    "PLS-00306: wrong number or types of arguments",
    "java.sql.SQLSyntaxErrorException: ORA",
    "SQLite3::SQLException: no such table: users",
    "sqlite3.OperationalError: no such column: x",
    'near "FROM": syntax error',
    "SQLCODE=-204, SQLSTATE=42704",
    "Microsoft JET Database Engine error",
]


@pytest.mark.parametrize("message", SQL)
def test_an_error_of_a_database_is_overwritten_to_the_end_of_its_text(message: str) -> None:
    found, masked = inspected(f"<p>Oops: {message}</p>".encode())
    assert found == [Leak.SQL_ERROR]
    assert masked.startswith(b"<p>Oops: ")
    assert masked.endswith(b"</p>")
    words = message.partition('"')[0]
    assert words[-12:].encode() not in masked


@pytest.mark.parametrize(
    "text",
    [
        "Learn SQL syntax in a day",
        "ORA-12 is a flight",
        "an unknown column in the temple",
        "near the syntax error page",
    ],
)
def test_prose_about_databases_is_no_error(text: str) -> None:
    assert inspected(text.encode()) == ([], text.encode())


LISTINGS = {
    "nginx": (
        "<html><head><title>Index of /backup/</title></head><body>\n<h1>Index of /backup/</h1><hr><pre>"
        '<a href="../">../</a>\n<a href="db.sql.gz">db.sql.gz</a>   1234\n</pre><hr></body></html>'
    ),
    "Apache": (
        "<h1>Index of /backup</h1>\n<table><tr><th>Name</th></tr>"
        "<tr><td><a href='db.sql.gz'>db.sql.gz</a></td></tr></table>"
    ),
    "Python": (
        "<h1>Directory listing for /backup/</h1>\n<hr>\n<ul>\n"
        "<li><a href='db.sql.gz'>db.sql.gz</a></li>\n</ul>"
    ),
    "Tomcat": "<h1>Directory Listing For [/backup/] - Up To [/]</h1><a href='db.sql.gz'>db.sql.gz</a></body>",
    "IIS": (
        '<pre><A HREF="/">[To Parent Directory]</A><br>'
        '<br> 1/2/2026 <A HREF="/b/db.sql.gz">db.sql.gz</A><br></pre>'
    ),
}


@pytest.mark.parametrize("name", LISTINGS)
def test_of_a_directory_listing_the_names_are_overwritten(name: str) -> None:
    found, masked = inspected(LISTINGS[name].encode())
    assert found == [Leak.DIRECTORY_LISTING]
    assert b"db.sql.gz" not in masked


@pytest.mark.parametrize(
    "text",
    ["<h1>Index of names</h1><ul><li>Abel</li></ul>", "<h2>Directory of members</h2>", "Index of /r/python"],
)
def test_an_index_of_something_else_is_no_listing(text: str) -> None:
    assert inspected(text.encode()) == ([], text.encode())


SOURCES = {
    "PHP": "<?php\n$db = new PDO('mysql:host=db', 'root', 'hunter2');\n?>",
    "wp-config": "<?php\n/** MySQL */\ndefine('DB_PASSWORD', 'hunter2');",
    "wp-config, shown": "define( 'DB_PASSWORD', 'hunter2' );",
    "JSP": '<%@ page import="java.sql.*" %>',
    "ASP": '<% Response.Write("hunter2") %>',
    ".env": "APP_NAME=shop\nDB_PASSWORD=hunter2\n",
    ".env, url": "DATABASE_URL=postgres://u:hunter2@db/shop",
    "settings.py": "SECRET_KEY = 'django-insecure-hunter2-hunter2'",
    "web.config": '<add connectionString="Server=db;User Id=sa;Password=hunter2;" />',
    "passwd": "root:x:0:0:hunter2:/root:/bin/bash\n",
    "htpasswd": "admin:$apr1$hunter2$hunter2hunter2\n",
    ".git/config": "[core]\n\trepositoryformatversion = 0\n\turl = https://hunter2@example.org\n",
}


@pytest.mark.parametrize("name", SOURCES)
def test_source_and_configuration_are_overwritten(name: str) -> None:
    found, masked = inspected(SOURCES[name].encode())
    assert found == [Leak.SOURCE_CODE]
    assert b"hunter2" not in masked


@pytest.mark.parametrize(
    "text",
    [
        '<?xml version="1.0"?>', "Begin with &lt;?php echo 1; ?&gt;", 'hljs.begin="<?php"',
        "<% if (x) { %><b><% } %>",
        "DB_PASSWORD=\n", "DB_PASSWORD=${SECRET}\n", "API_KEY=<your key>", "API_KEY=your-key-here",
        "PASSWORD = a field",
        "root: 0:0", "the_password=x",
    ],
)  # fmt: skip
def test_templates_and_prose_are_no_source(text: str) -> None:
    assert inspected(text.encode()) == ([], text.encode())
