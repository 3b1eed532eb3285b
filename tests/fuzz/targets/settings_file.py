"""A configuration file: it becomes settings, or an error that says where and what; nothing else is ever
raised.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from cluster.config import load
from cluster.errors import UsageError

SEEDS = (
    b"""listen: [http://0.0.0.0:80]
cache: { memory: 64MiB, keep: false }
admin: http://127.0.0.1:9180
limits: { header: 8KiB, header_timeout: 10s }
sites:
  - hosts: [example.org, "*.example.org"]
    origin: http://127.0.0.1:8000
    access: { deny: [203.0.113.0/24, "2001:db8::/32"] }
    rate_limits: [{ name: everyone, rate: 50/s, burst: 200, key: [address, path] }]
    routes:
      - prefix: /api/
        origin: { url: http://127.0.0.1:9000, first_byte_timeout: 5s }
        cache: false
""",
    b"""workers: 2
cache: { memory: 64MiB }
sites:
  - origin: { url: "http://a:1", first_byte_timeout: 1h30m }
    https_only: false
    routes: [{ prefix: /d, origin: ./public, compression: false }]
""",
    b"a: &a [1, 2]\nsites: *a\n<<: {b: c}\nd: !!binary x\ne: ${HOME:-x}\nf: 2020-01-01\n? [x]\n: y\n",
)
WORDS = (
    b"sites:", b"  - ", b"origin: ", b"routes: ", b"prefix: /", b"cache: ", b"tls: ", b"acme: ", b"{", b"}",
    b"[", b"]", b": ", b"\n", b"&a ", b"*a", b"<<: ", b"!!", b"'", b'"', b"|\n", b">-\n", b"${", b"true",
    b"null", b"1.5", b"-1", b"99999999999999999999", b".inf", b"0x7f", b"http://[::1]:0", b"https://",
    b"http://u:p@h:99999/?q", b"\t", b"\xc3\xa4", b"10s", b"1h30m", b"5/0s", b"1e999s", b"rate_limits: ",
    b"access: ", b"rewrite: ", b"hosts: ", b"limits: ", b"% ", b"---\n", b"...\n", b"9" * 400 + b"s",
)  # fmt: skip
MAX_BYTES = 1024

FOLDER = TemporaryDirectory(prefix="edgecluster-fuzz-")
FILE = Path(FOLDER.name) / "edge.yaml"


def check(data: bytes) -> None:
    FILE.write_bytes(data)
    try:
        settings = load(FILE, environment={})
    except UsageError as error:
        assert str(FILE) in str(error)
        return
    assert load(FILE, environment={}) == settings
