"""Following a transcript entry by entry: the same rules for the run that goes on with it and for `verify`.

    begun ─► confirmed by k (ceremony) ─► step by step ─► closing ─► closed by all present
    each step: confirmed by k (step) ─► step.begun ─► step.completed | step.failed
    resumed, at any place before the end, and always after step.failed: confirmed by k (ceremony) again

Nothing but confirmations may stand where a quorum is missing.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime

from cryptography.exceptions import InvalidSignature

from intaglio.ceremony import artefact, evidence
from intaglio.ceremony.entry import (
    CEREMONY,
    CLOSING,
    Absent,
    Begun,
    Closed,
    Closing,
    Confirmed,
    Resumed,
    Signed,
    StepBegun,
    StepCompleted,
    StepFailed,
    kind,
)
from intaglio.ceremony.officer import officer_key
from intaglio.ceremony.reading import read
from intaglio.ceremony.script import Script
from intaglio.ceremony.steps import Input, Step
from intaglio.ceremony.transcript import Link, statement, wrong
from intaglio.errors import Conflict, ContentRefused, RequestRefused
from intaglio.staff.signature import check, encoded


class Progress:
    """Where a ceremony is, by its transcript; `advance` raises `Conflict` naming the entry that does not hold."""

    def __init__(self, first: Link) -> None:
        begun = first.entry
        if not isinstance(begun, Begun):
            raise wrong(1, f"a transcript begins with begun, not with {kind(first.entry)}")
        try:
            self.script: Script = read(begun.script.encode())
            self.known = evidence.Known(self.script.home)
            if self.script.home.new != (begun.home is None):
                raise ContentRefused("The home is not as expected.", {"home": "new, or not new"})
            if begun.home is not None:
                self.known.begin(begun.home)
            if self.script.software not in {None, begun.software}:
                raise ContentRefused("The software is not as expected.", {"software": begun.software})
        except RequestRefused as error:
            raise wrong(1, f"{error} {error.fields}") from error
        self.id = first.hash.hex()
        self.begun = begun
        self.home = begun.home
        self.at: datetime = begun.at
        self.sequence = 1
        self.head = first.hash
        # Who confirmed the ceremony since it began or was resumed: they are present.
        self.present: list[str] = []
        self.opening = True
        # Who confirmed, or was asked and did not, what is to come next; and the hashes they confirmed.
        self.agreed: list[str] = []
        self.asked: set[str] = set()
        self.agreed_inputs: dict[str, str] | None = None
        self.done: dict[str, StepCompleted] = {}
        self.open: StepBegun | None = None
        self.failures: dict[str, str] = {}
        self.stopped = False
        self.closing: Closing | None = None
        self.closed: list[str] = []
        # When a step first began: a step that failed or was interrupted may have done its work then.
        self.first_begun: dict[str, datetime] = {}

    @property
    def next(self) -> Step | None:
        """The step that is open or to come, None when all are done."""
        return next((step for step in self.script.steps if step.id not in self.done), None)

    @property
    def complete(self) -> bool:
        """Whether every step is done and every officer present has closed."""
        return self.closing is not None and self.closed == self.closing.present

    def confirmed(self, covers: str) -> list[str]:
        """Return who has confirmed the ceremony, or the step that is to come."""
        return self.agreed if self.opening == (covers == CEREMONY) else []

    def advance(self, link: Link) -> None:
        """Take the next entry; raises `Conflict` when it cannot stand there or does not hold."""
        entry = link.entry
        if self.complete:
            raise self._wrong(link, "the ceremony was closed before it")
        if entry.at < self.at:
            raise self._wrong(link, "its time is before that of the entry before")
        if self.stopped and not isinstance(entry, Resumed):
            raise self._wrong(link, "a step failed before it: only a new quorum can go on")
        if self.closing is not None and not isinstance(entry, Closed | Absent | Closing | Resumed):
            raise self._wrong(link, f"{kind(entry)} stands where closing signatures are missing")
        try:
            self._take(link)
        except Conflict:
            raise
        except (RequestRefused, *artefact.UNREADABLE) as error:
            raise self._wrong(link, f"{error}") from error
        self.at, self.sequence, self.head = entry.at, entry.sequence, link.hash

    def _take(self, link: Link) -> None:
        match link.entry:
            case Begun():
                raise self._wrong(link, "a transcript begins once")
            case Confirmed() as entry:
                self._confirmed(link, entry)
            case Absent() as entry:
                self._absent(link, entry)
            case StepBegun() as entry:
                self._step_begun(link, entry)
            case StepCompleted() as entry:
                self._step_completed(link, entry)
            case StepFailed() as entry:
                self._ready(link, entry.step)
                self.failures[entry.step] = entry.error
                self.open, self.stopped = None, True
                self._forget()
            case Resumed():
                self.stopped, self.opening, self.closing = False, True, None
                self.present, self.closed = [], []
                self._forget()
            case Closing() as entry:
                self._closing(link, entry)
            case Closed() as entry:
                self._closed(link, entry)

    def _forget(self) -> None:
        self.agreed, self.asked, self.agreed_inputs = [], set(), None

    def _confirmed(self, link: Link, entry: Confirmed) -> None:
        step = self.next
        if entry.covers == CEREMONY:
            if not self.opening:
                raise self._wrong(link, "the ceremony is confirmed at its beginning and when it is resumed")
            if entry.inputs:
                raise self._wrong(link, "the ceremony as a whole has no inputs")
        else:
            self._begin_work(link)
            if self.open is not None or step is None or entry.covers != step.id or not step.confirm:
                raise self._wrong(link, f"{entry.covers} is not what is to be confirmed here")
            if entry.officer not in self.present:
                raise self._wrong(link, f"{entry.officer} did not confirm the ceremony and is not present")
            self.check_inputs(step, entry.inputs)
            if self.agreed_inputs is not None and self.agreed_inputs != entry.inputs:
                raise self._wrong(link, f"{entry.officer} confirmed other files than the officers before")
        self._once(link, entry.officer)
        self._signature(link, entry)
        self.agreed.append(entry.officer)
        if entry.covers == CEREMONY:
            self.present.append(entry.officer)
        else:
            self.agreed_inputs = entry.inputs

    def _absent(self, link: Link, entry: Absent) -> None:
        self.script.officer(entry.officer)
        if self.closing is not None or entry.covers == CLOSING:
            if entry.covers != CLOSING or entry.officer not in self.present or self.next is not None:
                raise self._wrong(link, f"{entry.officer} cannot be absent from {entry.covers} here")
            if entry.officer in self.closed:
                raise self._wrong(link, f"{entry.officer} has signed the end already")
            # The others close anew: what they sign must say who is absent.
            self.present.remove(entry.officer)
            self.closing, self.closed = None, []
            return
        step = self.next
        expected = CEREMONY if self.opening and entry.covers == CEREMONY else step.id if step is not None else None
        if entry.covers != expected:
            raise self._wrong(link, f"{entry.covers} is not what is to be confirmed here")
        if entry.covers != CEREMONY:
            self._begin_work(link)
        self._once(link, entry.officer)

    def _once(self, link: Link, officer: str) -> None:
        if officer in self.asked:
            raise self._wrong(link, f"{officer} was asked before: nobody counts twice")
        self.asked.add(officer)

    def _begin_work(self, link: Link) -> None:
        """End the opening, which takes a quorum for the ceremony."""
        if self.opening:
            self._need_quorum(link, CEREMONY)
            self.opening = False
            self._forget()

    def _need_quorum(self, link: Link, what: str) -> None:
        if len(self.agreed) < self.script.quorum:
            count = f"{len(self.agreed)} of {self.script.quorum} officers"
            raise self._wrong(link, f"only {count} have confirmed {what}")

    def _step_begun(self, link: Link, entry: StepBegun) -> None:
        self._begin_work(link)
        step = self.next
        if self.open is not None or step is None or entry.step != step.id:
            raise self._wrong(link, f"step {entry.step} is out of order")
        digests = artefact.digests(entry.inputs)
        self.check_inputs(step, digests)
        if step.confirm:
            self._need_quorum(link, f"step {step.id}")
            if self.agreed_inputs != digests:
                raise self._wrong(link, "the files are not those that the officers confirmed")
        self.open = entry
        self.first_begun.setdefault(step.id, entry.at)
        self._forget()

    def check_inputs(self, step: Step, digests: Mapping[str, str]) -> None:
        """Check the files that a step reads, by path; raises `ContentRefused` for another than was agreed on."""
        expected: dict[str, Input] = {one.path: one for one in step.inputs.values()}
        if digests.keys() != expected.keys():
            raise ContentRefused("The files are not those that the script names.", {"inputs": ", ".join(digests)})
        written = {path: digest for done in self.done.values() for path, digest in done.outputs.items()}
        for path, one in expected.items():
            for digest in (one.sha256, written.get(path)):
                if digest is not None and digests[path] != digest:
                    reason = f"has the SHA-256 {digests[path]}, not {digest}"
                    raise ContentRefused(f"{path} is another file than was agreed on.", {path: reason})

    def _ready(self, link: Link, step: str) -> StepBegun:
        # After an interruption, a quorum comes before anything else, also before what was begun already.
        self._begin_work(link)
        if self.open is None or self.open.step != step:
            raise self._wrong(link, f"step {step} was not begun")
        return self.open

    def _step_completed(self, link: Link, entry: StepCompleted) -> None:
        begun = self._ready(link, entry.step)
        step = self.next
        if step is None:
            raise self._wrong(link, "there is no such step")
        if entry.outputs != artefact.digests(artefact.files(step, entry.result)):
            raise self._wrong(link, "the files written are not what came of the step")
        done = evidence.Done(
            inputs={field: begun.inputs[one.path] for field, one in step.inputs.items()},
            result=entry.result,
            begun_at=self.first_begun[step.id],
            completed_at=entry.at,
            head=link.previous,
        )
        evidence.judge(step, done, self.known)
        officers = {encoded(officer_key(one)) for one in self.script.officers}
        made = [key.public_key for key in (entry.result.key, entry.result.responder_key) if key is not None]
        if officers.intersection(made):
            raise self._wrong(link, "the key is an officer's: officers' keys are not the service's")
        self.home = entry.result.home or self.home
        self.done[step.id] = entry
        self.open = None
        self._forget()

    def _closing(self, link: Link, entry: Closing) -> None:
        self._begin_work(link)
        if self.next is not None:
            raise self._wrong(link, f"step {self.next.id} is not done")
        if self.closing is not None:
            raise self._wrong(link, "the ceremony is being closed already")
        if entry.present != self.present or len(entry.present) < self.script.quorum:
            raise self._wrong(link, "those who close are not those who are present, or too few")
        self.closing, self.closed = entry, []

    def _closed(self, link: Link, entry: Closed) -> None:
        if self.closing is None or entry.officer != self.closing.present[len(self.closed)]:
            raise self._wrong(link, f"{entry.officer} signs the end out of turn")
        self._signature(link, entry)
        self.closed.append(entry.officer)

    def _signature(self, link: Link, entry: Signed) -> None:
        officer = self.script.officer(entry.officer)
        try:
            check(officer_key(officer), entry.signature, statement(self.script.sha256, link.previous, entry))
        except (InvalidSignature, ValueError) as error:
            raise self._wrong(link, f"the signature of {entry.officer} does not hold") from error

    @staticmethod
    def _wrong(link: Link, reason: str) -> Conflict:
        return wrong(link.entry.sequence, reason)


def replay(links: Iterable[Link]) -> Progress:
    """Follow a transcript as far as it goes; raises `Conflict` naming the first entry that does not hold."""
    each = iter(links)
    first = next(each, None)
    if first is None:
        raise wrong(1, "the transcript is empty")
    progress = Progress(first)
    for link in each:
        progress.advance(link)
    return progress
