"""An order on its way through its states (RFC 8555 7.1.6), until its certificate lies on disk.

What is needed to go on with it after a crash is on disk before it is needed. When to order, from whom, and
what becomes of failures is the caller's business.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from cluster.acme.challenges import put_down, take_away
from cluster.acme.store import Order, Store
from cluster.control.thread import in_thread
from shmcache.core import Cache

if TYPE_CHECKING:
    from cluster.acme.authority import Authority, Challenge, OrderState

log = logging.getLogger("edgecluster.control")

POLL_S: Final = 1.0


async def obtain(authority: "Authority", store: Store, cache: Cache, kinds: Sequence[str]) -> None:
    """Order, prove, fetch, save. `kinds`: the challenges we may answer, the best first.

    Raises AuthorityError or OSError; an order that may still succeed stays on disk for the next time.
    """
    from cluster.acme.authority import AuthorityError  # heavy, and of no use to those without an authority

    order = store.order()
    if order is not None and order.directory == authority.settings.directory:
        try:
            await in_thread(authority.look, store.name, order)
        except AuthorityError as error:
            if error.is_general:
                raise
            order = None  # the authority does not know it any more
        else:
            log.info("going on with the order for %s", store.name)
    else:
        order = None
    if order is None:
        order = await in_thread(authority.new_order, store.name)
        store.save_order(order)
    answered: dict[str, Challenge] = {}
    try:
        await _follow(authority, store, cache, kinds, order, answered)
    finally:
        for challenge in answered.values():
            take_away(cache, store.name, challenge)


async def _follow(
    authority: "Authority",
    store: Store,
    cache: Cache,
    kinds: Sequence[str],
    order: Order,
    answered: "dict[str, Challenge]",
) -> None:
    """Until the certificate is there. `answered` is told of each challenge that was put down, by its kind."""
    from cluster.acme.authority import AuthorityError

    while True:
        state: OrderState = await in_thread(authority.look, store.name, order)
        if state.status == "valid":
            try:
                chain = await in_thread(authority.chain, state)
            except AuthorityError as error:
                if not error.is_general:  # this order comes to nothing
                    store.drop_order()
                raise
            store.save_pair(order.key, chain)
            log.info("%s has a new certificate", store.name)
            return
        if state.status == "invalid":
            store.drop_order()
            raise AuthorityError(f"the authority refused: {state.error or 'no reason given'}")
        if state.status == "ready":
            await in_thread(authority.finalize, state)
        if state.challenges:
            challenge = _chosen(state.challenges, kinds)
            answered[challenge.kind] = challenge
            if not put_down(cache, store.name, challenge):  # again and again: it may have had to make room
                raise AuthorityError("the cache has no room for the answer to the authority's challenge")
            await in_thread(authority.answer, challenge)
        await asyncio.sleep(POLL_S)


def _chosen(offered: "Sequence[Challenge]", kinds: Sequence[str]) -> "Challenge":
    """The challenge to answer: of the first kind that is offered."""
    from cluster.acme.authority import AuthorityError

    by_kind = {challenge.kind: challenge for challenge in offered}
    found = next((by_kind[kind] for kind in kinds if kind in by_kind), None)
    if found is None:
        raise AuthorityError(
            f"the authority wants the name proven by {' or '.join(by_kind)}; we may by {' or '.join(kinds)}: "
            "see 'challenge' of 'acme'"
        )
    return found
