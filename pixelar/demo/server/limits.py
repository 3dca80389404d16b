"""Limits how many direct calls are answered at the same time.

Events that use a model wait in Gradio's queue, which is bounded. Those that only show something are
called directly, and nothing else bounds how many pictures they hold decoded at the same time.
"""

import asyncio

from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Turns"]


class Turns:
    """Makes calls of unqueued events wait for their turn.

    Arguments:
        app: The application that answers all requests.
        at_once: How many such calls are answered at the same time.
    """

    def __init__(self, app: ASGIApp, at_once: int) -> None:
        self.app, self.turns = app, asyncio.Semaphore(at_once)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or "/run/" not in scope["path"]:
            await self.app(scope, receive, send)
            return
        try:
            body = await Request(scope, receive).body()  # a slow sender delays no others
        except ClientDisconnect:
            return
        pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def again() -> Message:
            return pending.pop() if pending else await receive()

        async with self.turns:
            await self.app(scope, again, send)
