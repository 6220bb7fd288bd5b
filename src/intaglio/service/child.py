"""Processes of low priority beside the one that serves: they end with it, and their failures are theirs alone."""

import asyncio
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress

_PATIENCE_SECONDS = 3


async def run(module: str, *arguments: str) -> int:
    """Run `python -m module arguments` and return how it ended; its input is open for as long as this process lives."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *arguments, stdin=asyncio.subprocess.PIPE
    )
    try:
        return await process.wait()
    finally:
        # Its input ends, and so does it; also when this process ends without a word.
        if process.stdin is not None:
            process.stdin.close()
        if process.returncode is None:
            await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    try:
        await asyncio.wait_for(process.wait(), _PATIENCE_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()


@asynccontextmanager
async def kept(work: Coroutine[None, None, None], name: str) -> AsyncIterator[None]:
    """Have `work`, which runs children for ever, done for as long as the block lasts."""
    task = asyncio.create_task(work, name=name)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
