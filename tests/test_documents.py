"""What the documents promise exists: commands, the configuration in the README, files that are linked to."""

import re
import subprocess
import sys
from pathlib import Path
from textwrap import indent

import pytest
from click import Context

from cluster.cli import edgecluster
from cluster.config import load

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def test_the_configuration_in_the_readme_is_one_that_works(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    path = tmp_path / "edge.yaml"
    path.write_text(example)
    settings = load(path)
    (site,) = settings.worker.sites
    assert site.hosts == (b"example.org", b"www.example.org")
    assert sorted(route.prefix for route in site.routes) == [b"/", b"/api/", b"/images/"]
    api = next(route for route in site.routes if route.prefix == b"/api/")
    assert not api.cache.enabled
    assert api.origin.first_byte_timeout_s == 5
    assert settings.cache_bytes == 4 * 1024**3


def test_the_configuration_in_the_page_on_purging_is_one_that_works(tmp_path: Path) -> None:
    purge, cache = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/purging.md").read_text(), re.DOTALL)
    path = tmp_path / "edge.yaml"
    path.write_text(f"{purge}sites:\n  - origin: http://127.0.0.1:8000\n{indent(cache, '    ')}")
    [site] = load(path).worker.sites
    [route] = site.routes
    assert len(route.purgers) == 2
    assert route.cache.key.keep == (b"id", b"page")
    assert route.cache.key.device


def test_the_configuration_in_the_page_on_origins_is_one_that_works(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/origins.md").read_text(), re.DOTALL)
    path = tmp_path / "edge.yaml"
    path.write_text(example)
    [site] = load(path).worker.sites
    names = {route.prefix: getattr(route.origin, "name", None) for route in site.routes}
    assert names == {b"/": "shop", b"/static/": "shop.example/static/", b"/search/": None}


def test_the_configuration_in_the_page_on_faults_is_one_that_works(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/faults.md").read_text(), re.DOTALL)
    path = tmp_path / "edge.yaml"
    path.write_text(example)
    [origin] = load(path).worker.servers
    assert (origin.total_timeout_s, origin.queue, origin.response_bytes) == (120, 1000, 1024**3)


def test_the_configuration_in_the_page_on_leaks_is_one_that_works(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/leaks.md").read_text(), re.DOTALL)
    path = tmp_path / "edge.yaml"
    path.write_text(example)
    [site] = load(path).worker.sites
    modes = {route.prefix: getattr(route.leaks, "mode", None) for route in site.routes}
    assert modes == {b"/": "mask", b"/api/": "replace", b"/export/": "log", b"/docs/": None}


def test_the_example_of_the_cache_alone_prints_what_the_readme_says() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    promised = re.findall(r"print\(.*\)  # (.*)", example)
    run = subprocess.run(
        [sys.executable, "-c", example], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert run.stdout.splitlines() == promised == ["b'body'", "None"]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_that_are_shown_exist(document: Path) -> None:
    blocks = "".join(re.findall(r"```sh\n(.*?)```", document.read_text(), re.DOTALL))
    shown = set(re.findall(r"^edgecluster ([a-z][a-z-]+)", blocks, re.MULTILINE))
    assert shown <= set(edgecluster.list_commands(Context(edgecluster)))
    scripts = set(re.findall(r"\b(scripts/[a-z0-9-]+)\b", document.read_text()))
    assert all((ROOT / script).stat().st_mode & 0o111 for script in scripts)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_files_that_are_linked_to_exist(document: Path) -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)", document.read_text()) if "://" not in link]
    assert [link for link in links if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_source_files_that_are_named_exist(document: Path) -> None:
    named = set(re.findall(r"\b((?:worker|cluster|shmcache|tests|docs)/[\w/.]*)", document.read_text()))
    assert [name for name in sorted(named) if not (ROOT / name.rstrip(".")).exists()] == []
