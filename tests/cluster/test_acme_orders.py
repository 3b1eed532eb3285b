"""Orders with an authority that answers what it should not: nothing is put in place of a good certificate."""

import asyncio
from pathlib import Path

import pytest

from cluster.acme.authority import MOST_CHARACTERS, AuthorityError
from cluster.acme.challenges import HTTP_01
from cluster.acme.store import Store
from cluster.control.orders import obtain
from tests.support.scripted_authority import CHAIN, GOOD, ISSUED, NAME, OTHER, PEM, ScriptedAuthority
from tests.support.segments import cache_segment


def attempt(folder: Path, **instead: tuple[int, bytes]) -> Store:
    """Go on with an order of which the certificate is there."""
    answers = {path: (*answer, "") for path, answer in (GOOD | instead).items()}
    store = Store(folder, NAME)
    store.save_order(ISSUED)
    with cache_segment() as segment:
        authority = ScriptedAuthority(folder, answers)
        authority.open()
        asyncio.run(obtain(authority, store, segment.cache, (HTTP_01,)))
    return store


def test_the_certificate_is_saved_with_its_key_and_nothing_else(tmp_path: Path) -> None:
    store = attempt(tmp_path, chain=(200, b"Hello.\n" + PEM + CHAIN + CHAIN))
    pair = store.pair()
    assert pair is not None and len(pair.chain) == 2
    assert store.pair_file.read_bytes() == PEM + CHAIN + CHAIN
    assert store.order() is None


@pytest.mark.parametrize("chain", [b"", b"<html>", OTHER, PEM])
def test_a_certificate_that_is_no_use_replaces_nothing_and_its_order_is_forgotten(
    tmp_path: Path, chain: bytes
) -> None:
    attempt(tmp_path)
    with pytest.raises(AuthorityError, match="a certificate that is no use"):
        attempt(tmp_path, chain=(200, chain))
    store = Store(tmp_path, NAME)
    assert store.pair() is not None
    assert store.order() is None


def test_an_order_whose_certificate_cannot_be_fetched_now_is_kept(tmp_path: Path) -> None:
    with pytest.raises(AuthorityError):
        attempt(tmp_path, chain=(503, b""))
    assert Store(tmp_path, NAME).order() == ISSUED


@pytest.mark.parametrize("path", ["directory", "valid"])
@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"{}", b'{"newOrder": 1, "status": "valid"}', b"[" * 9000],
)
def test_a_document_of_another_kind_is_the_authority_s_failure(
    tmp_path: Path, path: str, body: bytes
) -> None:
    with pytest.raises(AuthorityError) as failed:
        attempt(tmp_path, **{path: (200, body)})
    assert str(failed.value).isprintable() and len(str(failed.value)) <= MOST_CHARACTERS
