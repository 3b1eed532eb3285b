"""Calls that block, in threads of their own beside the control process's loop."""

import asyncio
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")


async def in_thread(work: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
    """What `work` gives, which blocks. In a thread that nobody waits for when the process is told to end."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def give(result: T | None, error: BaseException | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]

    def body() -> None:
        result, fault = None, None
        try:
            result = work(*args, **named)
        except BaseException as error:
            fault = error
        try:
            loop.call_soon_threadsafe(give, result, fault)
        except RuntimeError:  # the loop has ended
            return

    threading.Thread(target=body, daemon=True).start()
    return await done
