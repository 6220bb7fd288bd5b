"""Processes beside the one that serves: they end with it, and their failures are theirs alone."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress

_PATIENCE_SECONDS = 3


async def run(
    module: str,
    *arguments: str,
    files: Sequence[int] = (),
    ready: Callable[[], None] | None = None,
    patience_seconds: float = _PATIENCE_SECONDS,
) -> int:
    """Run `python -m module arguments` and return how it ended; its input is open for as long as this process lives.

    It has the open `files`, too, under their numbers. `ready` is called once it has said a line. When this is cancelled
    its input ends, and it has `patience_seconds` to do so, too.
    """
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *arguments),
        stdin=pipe,
        stdout=None if ready is None else pipe,
        pass_fds=files,
    )
    try:
        if ready is not None and process.stdout is not None and await process.stdout.readline():
            ready()
        return await process.wait()
    finally:
        # Its input ends, and so does it; also when this process ends without a word.
        if process.stdin is not None:
            process.stdin.close()
        if process.returncode is None:
            await _end(process, patience_seconds)


async def parent_gone() -> None:
    """Return when the process that runs this one ends, or wants it to: when standard input does."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()


async def _end(process: asyncio.subprocess.Process, patience_seconds: float) -> None:
    try:
        await asyncio.wait_for(process.wait(), patience_seconds)
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
