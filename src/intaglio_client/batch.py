"""Sign many files, a few at a time, with one identity and one line of progress."""

import asyncio
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from intaglio_client.client import AsyncClient
from intaglio_client.errors import ClientError, Forbidden, Unauthenticated, Unreachable, Unusable
from intaglio_client.pdf import Signing, sign_pdf_async
from intaglio_client.profile import read_file
from intaglio_client.signer import ServiceTimeStamper


class Job(msgspec.Struct, frozen=True):
    """A document to sign and where the signed one goes."""

    source: Path
    target: Path


def jobs_for(files: Sequence[Path], out_dir: Path | None, *, overwrite: bool) -> list[Job]:
    """Return the jobs that the command line means; raises `Unusable` before anything is signed.

    Without a folder there are two files, the document and the signed one. A document is
    never replaced by its signed self, and another file only if `overwrite`.
    """
    if out_dir is None:
        if len(files) != 2:
            raise Unusable("Name one document and one output file, or use --out-dir for several documents.")
        jobs = [Job(files[0], files[1])]
    else:
        jobs = [Job(each, out_dir / each.name) for each in files]
    targets = [job.target.resolve() for job in jobs]
    twice = {target for target in targets if targets.count(target) > 1}
    if twice:
        raise Unusable(f"Two documents have the same name: {min(twice).name}.")
    for job in jobs:
        if not job.source.is_file():
            raise Unusable(f"There is no document {job.source}.")
        if job.source.resolve() == job.target.resolve():
            raise Unusable(f"{job.source} would be replaced by its signed self; name another output.")
        if job.target.exists() and not overwrite:
            raise Unusable(f"{job.target} exists; use --overwrite to replace it.")
    return jobs


async def sign_all(
    client: AsyncClient, jobs: Sequence[Job], request: Mapping[str, Any], signing: Signing, *, at_once: int
) -> list[tuple[Job, ClientError]]:
    """Sign every document and return those that failed, with why.

    After a failure that the next document would meet as well (not reached, not known, not
    allowed) the rest is left alone and counts as failed with the same error.
    """
    # pyHanko warns that nothing is fetched; the evidence comes from the service.
    logging.getLogger("pyhanko").setLevel(logging.ERROR)
    stamper = ServiceTimeStamper(client)
    places = asyncio.Semaphore(at_once)
    failed: list[tuple[Job, ClientError]] = []
    final: list[ClientError] = []

    async def run(job: Job, progress: Progress) -> None:
        async with places:
            try:
                if final:
                    raise final[0]
                document = read_file(job.source, "document")
                signed = await sign_pdf_async(client, document, request, signing, timestamper=stamper)
                write_whole(job.target, signed)
            except ClientError as error:
                if isinstance(error, Unreachable | Unauthenticated | Forbidden):
                    final.append(error)
                failed.append((job, error))
            progress.advance(task)

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=len(jobs) < 2) as progress:
        task = progress.add_task("signing", total=len(jobs))
        await asyncio.gather(*(run(job, progress) for job in jobs))
    return failed


def write_whole(target: Path, content: bytes) -> None:
    """Write a file in one step, so that there is never half of one; raises `Unusable`."""
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            part.write_bytes(content)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as unwritable:
        raise Unusable(f"{target} cannot be written: {unwritable.strerror}.") from unwritable
