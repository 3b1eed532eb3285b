"""Users with cookies and credentials of their own ask for the same URLs; nobody may get another's answer.

The origin marks its answers in many ways and writes into each body and into a field for whom it was made.
Some answers come late, so that requests of several users, in all workers, wait for the same fetch. The suite
runs it shortly, `scripts/crossing` long.
"""

import argparse
import asyncio
import itertools
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from tests.support.cluster import Cluster, settings
from tests.support.scripted_origin import Recorded, ScriptedOrigin, Step, answer, script

WORKERS = 4
CLIENTS = 64
URLS_OF_A_KIND = 400  # each is asked for by a crowd, a few times, and then left
CROWD = 24
LATE_S = 0.02


@dataclass(frozen=True, slots=True)
class Kind:
    """How an origin marks a class of answers, and who may get them beside the user they were made for."""

    fields: tuple[str, ...]
    is_shared: bool
    cookie: bool = True  # users send Cookie, or
    authorization: bool = False  # Authorization, or both
    anonymous: bool = False  # requests of nobody in particular are mixed in
    anonymous_is_shared: bool = False  # what was made for nobody in particular is for everybody
    padding: int = 0  # bytes, so that large bodies are followed while they arrive


KINDS = {
    "private": Kind(("Cache-Control: private, max-age=60",), False),
    "private-named": Kind(('Cache-Control: private="x-user", max-age=60',), False),
    "no-store": Kind(("Cache-Control: no-store",), False),
    "unmarked": Kind((), False),
    "unmarked-tagged": Kind(('ETag: "same"',), False, anonymous=True),
    "vary-cookie": Kind(("Cache-Control: max-age=60", "Vary: Cookie"), False, anonymous=True),
    "vary-cookie-large": Kind(("Cache-Control: max-age=60", "Vary: Cookie"), False, padding=300_000),
    "vary-both": Kind(
        ("Cache-Control: max-age=60, public", "Vary: Cookie, Authorization"), False, authorization=True
    ),
    "vary-star": Kind(("Cache-Control: max-age=60", "Vary: *"), False),
    "set-cookie": Kind(("Cache-Control: max-age=60", "Set-Cookie: session=new"), False),
    "authorised": Kind(
        ("Cache-Control: max-age=60",),
        False,
        cookie=False,
        authorization=True,
        anonymous=True,
        anonymous_is_shared=True,
    ),
    "authorised-large": Kind(
        ("Cache-Control: max-age=60",), False, cookie=False, authorization=True, padding=300_000
    ),
    "private-large": Kind(("Cache-Control: private",), False, padding=300_000),
    "no-cache": Kind(("Cache-Control: no-cache", "Vary: Cookie", 'ETag: "same"'), False),
    "public": Kind(("Cache-Control: public, max-age=60",), True, authorization=True, anonymous=True),
    "public-large": Kind(("Cache-Control: public, max-age=60",), True, padding=300_000),
    "s-maxage": Kind(("Cache-Control: s-maxage=60",), True, authorization=True),
    "plain": Kind(("Cache-Control: max-age=60",), True),
}


@dataclass(slots=True)
class Outcome:
    """What happened in one run."""

    requests: int = 0
    fetched: int = 0  # requests that reached the origin
    crossings: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)  # other answers than a whole 200
    by_kind: dict[str, Counter[str]] = field(
        default_factory=dict
    )  # hits, collapsed, forwarded, waited in vain, of others

    def counts(self) -> Iterator[str]:
        """A line per kind."""
        for kind, count in self.by_kind.items():
            words = ", ".join(f"{what} {number}" for what, number in sorted(count.items()))
            yield f"{kind:20} {words}"


def user_of(request: Recorded) -> str:
    """Whom a request came from, by what its fields say."""
    cookie = request.headers.get("cookie", "").removeprefix("user=")
    return cookie or request.headers.get("authorization", "").removeprefix("Bearer ") or "nobody"


def respond(request: Recorded) -> Step:
    """The origin: `/KIND/NUMBER`, every other number late."""
    _, name, number = request.target.split("/")
    kind = KINDS[name]
    user = user_of(request)
    body = f"for {user};".encode() + b"." * kind.padding
    whole = answer(body, headers=(*kind.fields, f"X-User: {user}"))
    if int(number) % 2:
        return script(LATE_S, whole[:-1], LATE_S, whole[-1:]) if kind.padding else script(LATE_S, whole)
    return whole


def plan(requests: int, users: int, seed: int) -> list[tuple[str, str, str]]:
    """(kind, path, user) of every request: crowds for one URL, shuffled into each other a little."""
    choose = random.Random(seed)
    names = [f"u{number}" for number in range(users)]
    planned: list[tuple[str, str, str]] = []
    while len(planned) < requests:
        crowds = []
        for kind in choose.sample(list(KINDS), 4):
            path = f"/{kind}/{choose.randrange(URLS_OF_A_KIND)}"
            asking = [*names, "nobody"] if KINDS[kind].anonymous else names
            crowds += [(kind, path, choose.choice(asking)) for _ in range(CROWD)]
        choose.shuffle(crowds)
        planned += crowds
    return planned[:requests]


def run(state_dir: Path, *, requests: int, users: int = 2, seed: int = 1) -> Outcome:
    """One run; the cluster is started and stopped here."""
    outcome = Outcome(by_kind={name: Counter() for name in KINDS})
    with (
        ScriptedOrigin(respond) as origin,
        Cluster(settings(state_dir, origin=origin.url, workers=WORKERS)) as edge,
    ):
        port = urlsplit(edge.url).port
        assert port is not None
        asyncio.run(_ask_all(port, plan(requests, users, seed), outcome))
        outcome.fetched = len(origin.requests)
    return outcome


async def _ask_all(port: int, planned: list[tuple[str, str, str]], outcome: Outcome) -> None:
    left = iter(planned)

    async def client() -> None:
        """One request after another; a new connection now and then, so that every worker gets some."""
        while first := next(left, None):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for kind, path, user in itertools.chain([first], itertools.islice(left, 49)):
                await _exchange(reader, writer, kind, path, user, outcome)
            writer.close()

    await asyncio.gather(*(client() for _ in range(CLIENTS)))


async def _exchange(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    kind: str,
    path: str,
    user: str,
    outcome: Outcome,
) -> None:
    fields = f"Cookie: user={user}\r\n" if KINDS[kind].cookie and user != "nobody" else ""
    fields += f"Authorization: Bearer {user}\r\n" if KINDS[kind].authorization and user != "nobody" else ""
    writer.write(f"GET {path} HTTP/1.1\r\nHost: edge.test\r\n{fields}\r\n".encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    status, *lines = head.rstrip().split("\r\n")
    told = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(told["content-length"]))
    outcome.requests += 1
    made_for = body.partition(b";")[0].removeprefix(b"for ").decode("latin-1")
    _note(outcome, kind, user, made_for, status, told)
    if told["x-user"] != made_for:
        outcome.broken.append(f"{path}: head for {told['x-user']}, body for {made_for}")


def _note(outcome: Outcome, kind: str, user: str, made_for: str, status: str, told: dict[str, str]) -> None:
    count = outcome.by_kind[kind]
    cache = told.get("cache-status", "")
    if "collapsed=?0" in cache:
        count["waited in vain"] += 1  # for an answer that was another's
    else:
        count["collapsed" if "; collapsed" in cache else "hits" if "; hit" in cache else "forwarded"] += 1
    if status != "HTTP/1.1 200 OK":
        outcome.broken.append(f"{kind}: {status}")
    if made_for != user:
        count["of others"] += 1
        if not (KINDS[kind].is_shared or (KINDS[kind].anonymous_is_shared and made_for == "nobody")):
            outcome.crossings.append(f"{kind}: {user} got what was made for {made_for}: {cache}")


def main() -> int:
    """Run, print what happened; 1 if anybody got what was made for another."""
    parser = argparse.ArgumentParser(prog="crossing", description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--users", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgecluster-crossing-") as directory:
        outcome = run(
            Path(directory) / "state",
            requests=arguments.requests,
            users=arguments.users,
            seed=arguments.seed,
        )
    sys.stdout.write("\n".join(outcome.counts()) + "\n")
    sys.stdout.write(f"requests {outcome.requests}, of them to the origin {outcome.fetched}\n")
    sys.stdout.write(f"crossings {len(outcome.crossings)}, other wrong answers {len(outcome.broken)}\n")
    for line in (*outcome.crossings[:20], *outcome.broken[:20]):
        sys.stdout.write(f"  {line}\n")
    return 1 if outcome.crossings or outcome.broken else 0


if __name__ == "__main__":
    sys.exit(main())
