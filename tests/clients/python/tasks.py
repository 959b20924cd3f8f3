"""What the programs of asyncio libraries share: cases that are coroutines, each with two clients."""

import asyncio

import case as t


def within(opened, closed):
    """Give an async case two clients of its own, and run it.

    `opened()` makes one, in the case's event loop; `closed(client)` is awaited for each.
    """

    def decorate(function):
        def wrapper(*args):
            async def body():
                clients = [opened() for _ in range(2)]
                try:
                    await asyncio.wait_for(function(*clients, *args), t.DEADLINE * 2)
                finally:
                    for client in clients:
                        await closed(client)

            asyncio.run(body())

        wrapper.__name__ = function.__name__
        return wrapper

    return decorate


async def refused(awaitable, kind):
    """Awaiting raises `kind`."""
    try:
        result = await awaitable
    except kind:
        return
    raise t.Failed(f"expected {kind}, returned {result!r}")
