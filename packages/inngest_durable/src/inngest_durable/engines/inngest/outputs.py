"""How runs end, as the server has recorded it, and who may see that: the wait URL's side of an Inngest server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from msgspec.structs import replace

from ..._core.model import Finish, RecordedRequest, Run, RunStatus
from ..base import Clock, Watch
from .answers import finish_of, kept_response, kept_result
from .api import Answer, InngestApi, RefusedError, UnreachableError
from .follow import Followed
from .state import state_of
from .tokens import Tokens

logger = logging.getLogger("inngest_durable")

# The server answers a poll after five minutes at the latest; one that takes longer is lost.
_POLL_SECONDS = 330.0
# Between looks at a run, if nothing says when to look.
_PAUSE_SECONDS = 1.0
# A client that is sent here again finds the poll that it has waited for.
_LINGER_SECONDS = 5.0
# The server has a moment to say how a run has ended, however short a client wants to wait.
_LEAST_SECONDS = 0.5
_CONFIRM_SECONDS = 30.0
_FIRST_LOOK_SECONDS = 0.05

_NO_REQUEST = RecordedRequest("GET", "http", "", "", b"", b"", (), None, None, "1.1", b"")


class Outputs:
    """
    The ends of runs, whichever process has ended them.

    What a client is answered was recorded by the server: memory only says when to ask it.

    Args:
        api: The server.
        followed: What this process knows of runs; it gets notice of those that others have ended.
        clock: The engine's time.
        pause_seconds: Between looks at a run, if nothing says when to look.
    """

    def __init__(
        self, api: InngestApi, followed: Followed, clock: Clock, *, pause_seconds: float = _PAUSE_SECONDS
    ) -> None:
        self._api = api
        self._followed = followed
        self._clock = clock
        self._pause_seconds = pause_seconds
        self._tokens = Tokens(api)
        self._polls: dict[str, _Shared] = {}
        self._looks: dict[str, _Shared] = {}

    def issued(self, run_id: str, token: str) -> None:
        """Note the token that the server has given for a run that began here."""
        self._tokens.issued(run_id, token)

    def token(self, run_id: str) -> str:
        """Return the token that opens the run's wait URL; empty if this process has none."""
        return self._tokens.of(run_id)

    async def opens(self, run_id: str, token: str) -> bool:
        """
        Whether *token* opens the run's wait URL.

        The server is asked about a token that it has not given to this process. While it cannot be asked, such a
        token opens nothing.
        """
        if self._tokens.is_known(run_id, token):
            return True
        try:
            if not await self._tokens.is_accepted(run_id, token):
                return False
            await self._adopt(run_id)
        except (UnreachableError, RefusedError) as error:
            logger.warning("the token of a run could not be checked: %s [run=%s]", error, run_id)
        return self._tokens.is_known(run_id, token)

    async def ended(self, run_id: str, timeout_seconds: float) -> Run | None:
        """Return the run as soon as the server has its end, or unfinished after the timeout; None if unknown."""
        known = self._followed.run(run_id)
        if known is None and not self.token(run_id):
            return None
        if not self._followed.closed:
            least = _CONFIRM_SECONDS if known is not None and known.status.is_final else _LEAST_SECONDS
            with self._share(self._polls, run_id, _LINGER_SECONDS) as poll:
                await asyncio.wait((poll,), timeout=max(least, timeout_seconds))
                if poll.done() and not poll.cancelled() and (run := poll.result()) is not None:
                    return run
        known = self._followed.run(run_id) or self._bare(run_id)
        # Whatever was seen here, it counts when the server has it.
        return replace(known, status=RunStatus.RUNNING, response=None) if known.status.is_final else known

    @contextmanager
    def watch(self, run_id: str) -> Iterator[Watch]:
        """Follow a run for the duration of a block; what other processes do with it is looked up at the server."""
        with self._followed.watch(run_id) as watch, self._share(self._looks, run_id, 0.0):
            yield watch

    async def close(self) -> None:
        """Stop asking the server. Those who wait get the run as it is."""
        tasks = [shared.task for shared in (*self._polls.values(), *self._looks.values())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @contextmanager
    def _share(
        self, shared: dict[str, _Shared], run_id: str, linger_seconds: float
    ) -> Iterator[asyncio.Task[Run | None]]:
        """Let several callers have one task for a run, which ends some time after the last one has gone."""
        found = shared.get(run_id)
        if found is None or found.task.done():
            work = self._poll(run_id) if shared is self._polls else self._look(run_id)
            found = shared[run_id] = _Shared(asyncio.get_running_loop().create_task(work))
        found.users += 1
        try:
            yield found.task
        finally:
            found.users -= 1
            linger = 0.0 if found.task.done() else linger_seconds
            asyncio.get_running_loop().call_later(linger, _drop, shared, run_id, found)

    async def _poll(self, run_id: str) -> Run | None:
        """Ask until the run has ended; None when the engine stops."""
        token = self.token(run_id)
        while not self._followed.closed:
            try:
                answer = await self._answer(run_id, token) if token else None
                if (answer is not None or not token) and (run := await self._run_of(run_id, answer)) is not None:
                    self._followed.end(run)
                    return run
            except RefusedError:
                # A token is good for an hour: from then on the run itself is looked at.
                if token:
                    token = ""
                    continue
            except UnreachableError as error:
                logger.debug("the end of a run could not be asked for yet: %s [run=%s]", error, run_id)
            await asyncio.sleep(self._pause_seconds)
        return None

    async def _answer(self, run_id: str, token: str) -> Answer | None:
        """Wait for the answer of the output URL, which looks every two seconds only; sooner if this process knows."""
        asking = asyncio.ensure_future(self._api.output(run_id, token, _POLL_SECONDS))
        told = asyncio.ensure_future(self._told_end(run_id))
        try:
            await asyncio.wait((asking, told), return_when=asyncio.FIRST_COMPLETED)
            if asking.done() or self._followed.closed:
                return asking.result() if asking.done() else None
            told.result()
        finally:
            asking.cancel()
            told.cancel()
            await asyncio.gather(asking, told, return_exceptions=True)
        return await self._api.output(run_id, token, _POLL_SECONDS)

    async def _told_end(self, run_id: str) -> None:
        """Wait until this process has ended the run and the server knows that, or the engine stops."""
        with self._followed.watch(run_id) as watch:
            while not watch.closed:
                watch.look()
                status = self._followed.status(run_id)
                if status is not None and status.is_final:
                    break
                await watch.news(None)
        pause = _FIRST_LOOK_SECONDS
        # The state of a run goes when it ends.
        while not self._followed.closed and await self._api.actions(run_id) is not None:
            await asyncio.sleep(pause)
            pause = min(2 * pause, self._pause_seconds)

    async def _run_of(self, run_id: str, answer: Answer | None) -> Run | None:
        """Return the run with the end that the server has; None if it has none yet."""
        kept = None if answer is None else kept_response(answer.status, answer.headers, answer.body)
        if kept is None and answer is not None:
            # One that ended in its client's request: the server has kept nothing but a body, which holds all.
            kept = kept_result(answer.body)[0]
        known = self._followed.run(run_id) or self._bare(run_id)
        if kept is not None and known.status in (RunStatus.COMPLETED, RunStatus.FAILED):
            return replace(known, response=kept.response)
        finish = await self._finish(run_id, is_sure=kept is not None)
        if kept is not None:
            # The run itself is reported from a cache, and may seem to be still running.
            status = RunStatus.FAILED if kept.response.status >= 500 else RunStatus.COMPLETED
            finish = replace(finish or Finish(status, None), response=kept.response)
        elif finish is None and answer is not None and known.status is RunStatus.CANCELLED:
            finish = Finish(RunStatus.CANCELLED, None)
        if finish is None:
            return None
        ended = replace(known, status=finish.status, response=finish.response, failure=finish.failure)
        return replace(ended, owner="", wake_at=None, ended_at=known.ended_at or self._clock.now())

    async def _finish(self, run_id: str, *, is_sure: bool) -> Finish | None:
        try:
            run = await self._api.run(run_id)
        except (UnreachableError, RefusedError):
            if not is_sure:
                raise
            return None
        return None if run is None else finish_of(run.status, run.output)

    async def _look(self, run_id: str) -> None:
        """Check from time to time what other processes have done with a run, until it has ended."""
        while not self._followed.closed:
            await asyncio.sleep(self._pause_seconds)
            status = self._followed.status(run_id)
            if status is not None and status.is_final:
                return
            try:
                if not await self._adopt(run_id):
                    await self.ended(run_id, _CONFIRM_SECONDS)
            except (UnreachableError, RefusedError) as error:
                logger.debug("a run could not be looked at: %s [run=%s]", error, run_id)

    async def _adopt(self, run_id: str) -> bool:
        """Let those who follow the run know what the server has of it; False if it has nothing."""
        found = await self._api.actions(run_id, tries=1)
        if found is None:
            return False
        state = state_of(found)
        if (run := state.run(run_id, "", b"")) is not None:
            self._followed.adopt(run, state)
        return True

    def _bare(self, run_id: str) -> Run:
        """Return a run of which nothing is known but that there is one."""
        return Run(run_id, "", "", _NO_REQUEST, self._clock.now())


class _Shared:
    """A task of one run, and how many wait for it."""

    __slots__ = ("task", "users")

    def __init__(self, task: asyncio.Task[Run | None]) -> None:
        self.task = task
        self.users = 0


def _drop(shared: dict[str, _Shared], run_id: str, mine: _Shared) -> None:
    if not mine.users:
        mine.task.cancel()
        if shared.get(run_id) is mine:
            del shared[run_id]
