"""Running a ceremony, step by step, from its beginning or from where its transcript ends.

1. the home is as the script expects it; that it begins, or goes on, is durable
2. a quorum confirms the ceremony
3. for each step: its files are read, a quorum confirms it, its beginning is durable,
4. the home's ledger knows of it: an older copy of the transcript cannot be gone on with,
5. it is done (or found done, after an interruption), judged as `verify` will judge it, and durable,
6. its files are written
7. every officer present signs the end, and the home's ledger keeps the transcript's head
"""

import secrets
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from intaglio import __version__
from intaglio.ceremony import artefact, filing, possession
from intaglio.ceremony.actions import Work, key_name, perform, responder
from intaglio.ceremony.checklist import sentence
from intaglio.ceremony.confirmation import Desk, confirm
from intaglio.ceremony.entry import (
    CEREMONY,
    CLOSING,
    Absent,
    Begun,
    Closed,
    Closing,
    Confirmed,
    Entry,
    KeyMade,
    Resumed,
    Signed,
    StepBegun,
    StepCompleted,
    StepFailed,
)
from intaglio.ceremony.officer import Officer
from intaglio.ceremony.record import Record, found, genesis
from intaglio.ceremony.replay import Progress, replay
from intaglio.ceremony.script import Script
from intaglio.ceremony.steps import Step
from intaglio.ceremony.transcript import Transcript, statement
from intaglio.clock import Clock
from intaglio.errors import ClockUntrusted, Conflict, IntaglioError
from intaglio.service.home import Home, open_home
from intaglio.service.oversight import check_ceremony

_MOST_ERROR = 500
# A time daemon may set the clock back by less than this without anyone noticing.
_CLOCK_STEP = timedelta(seconds=2)


class Conduct:
    """A ceremony under way: its script, its transcript, the home that it changes, and the officers' desk."""

    def __init__(
        self, script: Script, transcript: Transcript, home: Path, files: Path, desk: Desk, clock: Clock
    ) -> None:
        """Take a script, the transcript open for writing, and the folder that the script's paths are relative to."""
        self._script = script
        self._transcript = transcript
        self._path = home
        self._files = files
        self._desk = desk
        self._clock = clock
        self._home: Home | None = None
        self._progress: Progress

    def run(self) -> Progress:
        """Run the ceremony to its end; raises `Conflict` when a quorum is missing, and what a failed step raised."""
        try:
            if self._transcript.links:
                self._resume()
            else:
                self._begin()
            if not self._progress.complete:
                self._quorum(CEREMONY, {})
                self._know("begun")
                while (step := self._progress.next) is not None:
                    self._step(step)
                self._close()
            self._end()
            return self._progress
        finally:
            if self._home is not None:
                self._home.close()

    def _begin(self) -> None:
        """Begin a transcript (1); nothing is written when the home or the software is not as the script expects."""
        script = self._script
        if script.home.new:
            if self._path.exists() and (not self._path.is_dir() or any(self._path.iterdir())):
                raise Conflict("The script expects that there is no home yet.", {"home": f"{self._path} exists"})
        else:
            self._home = open_home(self._path)
            check_ceremony(self._home, script.sha256, None)
        for step in script.steps:
            filing.check_free(self._files, step.outputs.values())
        begun = Begun(
            sequence=1,
            at=self._clock.now(),
            script=script.text,
            nonce=secrets.token_hex(16),
            software=__version__,
            home=None if self._home is None else found(self._home, script),
        )
        link = self._transcript.link(begun)
        self._progress = Progress(link)
        self._transcript.append(link)

    def _resume(self) -> None:
        """Go on where the transcript ends (1), if it is this script's and this home's, and none of it is missing."""
        self._progress = replay(self._transcript.links)
        if self._progress.script.sha256 != self._script.sha256:
            raise Conflict(
                "The transcript is of another script.",
                {"script": f"{self._script.sha256}, the transcript has {self._progress.script.sha256}"},
            )
        if self._progress.home is not None:
            self._home = open_home(self._path)
            check_ceremony(self._home, self._script.sha256, self._progress.id)
            if genesis(self._home) != self._progress.home.genesis:
                raise Conflict("The transcript is of another home.", {"home": "its ledger begins otherwise"})
            self._record(self._home).check(self._transcript.links)
        # A crash may have come between a step and its files.
        for identifier, done in self._progress.done.items():
            step = self._script.step(identifier)
            if step is not None:
                filing.write(self._files, artefact.files(step, done.result))
        if not self._progress.complete:
            self._desk.tell(f"Going on after entry {len(self._transcript.links)} of the transcript.")
            self._append(Resumed(sequence=self._following, at=self._now(), discarded=self._transcript.discarded))

    def _quorum(self, covers: str, inputs: Mapping[str, str]) -> None:
        """Ask officers to confirm (2, 3): all of them for the ceremony, those present for a step until enough have."""
        progress = self._progress
        names = [one.name for one in self._script.officers] if covers == CEREMONY else list(progress.present)
        self._desk.tell(f"To confirm: {covers}. {self._script.quorum} officers are needed.")
        self._desk.tell(f"  script {self._script.sha256}\n  head   {progress.head.hex()}")

        for name in names:
            if covers != CEREMONY and len(progress.confirmed(covers)) >= self._script.quorum:
                break
            officer = self._script.officer(name)

            def draft(name: str = name) -> Confirmed:
                return Confirmed(
                    sequence=self._following,
                    at=self._now(),
                    officer=name,
                    covers=covers,
                    inputs=dict(inputs),
                    signature=b"",
                )

            self._ask(officer, covers, draft)
        if len(progress.confirmed(covers)) < self._script.quorum:
            count = f"{len(progress.confirmed(covers))} of {self._script.quorum} officers"
            raise Conflict(
                f"Only {count} have confirmed {covers}: nothing more was done. Run it again to go on.",
                {"quorum": f"{count} for {covers}"},
            )

    def _ask(self, officer: Officer, covers: str, draft: Callable[[], Signed]) -> bool:
        """Have one officer sign an entry, or record that the officer is absent; return whether it was signed."""

        def drafted() -> tuple[Signed, bytes]:
            entry = draft()
            return entry, statement(self._script.sha256, self._progress.head, entry)

        outcome = confirm(officer, covers, self._desk, drafted)
        if isinstance(outcome, str):
            absent = Absent(
                sequence=self._following, at=self._now(), officer=officer.name, covers=covers, reason=outcome
            )
            self._append(absent)
            self._desk.tell(f"  {officer.name}: absent ({outcome})")
            return False
        self._append(outcome)
        self._desk.tell(f"  {officer.name}: confirmed")
        return True

    def _step(self, step: Step) -> None:
        """Do one step (3 to 6)."""
        progress = self._progress
        number = self._script.steps.index(step) + 1
        self._desk.tell(f"\nStep {number} of {len(self._script.steps)}, {step.id}: {sentence(step)}")
        tried = step.id in progress.first_begun
        if progress.open is None:
            # 3
            inputs = {one.path: filing.read(self._files, one.path) for one in step.inputs.values()}
            digests = artefact.digests(inputs)
            progress.check_inputs(step, digests)
            for path, digest in digests.items():
                self._desk.tell(f"  reads {path}, SHA-256 {digest}")
            filing.check_free(self._files, step.outputs.values())
            if step.confirm:
                self._quorum(step.id, digests)
            self._append(StepBegun(sequence=self._following, at=self._now(), step=step.id, inputs=inputs))
        # 4
        self._know("step", step=step.id)
        # 5
        try:
            self._complete(step, tried=tried)
        except (IntaglioError, OSError) as error:
            if progress.open is None:  # done, and only its record could not be written: it is found done next time
                raise
            failed = StepFailed(sequence=self._following, at=self._now(), step=step.id, error=str(error)[:_MOST_ERROR])
            self._append(failed)
            raise
        # 6
        done = progress.done[step.id]
        filing.write(self._files, artefact.files(step, done.result))
        for path, digest in done.outputs.items():
            self._desk.tell(f"  wrote {self._files / path}, SHA-256 {digest}")

    def _complete(self, step: Step, *, tried: bool) -> None:
        begun = self._progress.open
        if begun is None:
            raise Conflict(f"Step {step.id} was not begun.", {"step": step.id})
        work = Work(
            path=self._path,
            home=self._home,
            script=self._script,
            inputs={field: begun.inputs[one.path] for field, one in step.inputs.items()},
            now=self._now(),
            since=self._progress.first_begun[step.id] if tried else None,
        )
        result = perform(work, step)
        if self._home is None:
            self._home = open_home(self._path)
            result = msgspec.structs.replace(result, home=found(self._home, self._script))
            self._know("begun")
        name = key_name(step)
        if name is not None:
            result = msgspec.structs.replace(result, key=self._shown(self._home, name))
        made = responder(msgspec.structs.replace(work, home=self._home), step)
        if made is not None:
            shown = self._shown(self._home, made[0])
            result = msgspec.structs.replace(result, responder=made[1], responder_key=shown)
        outputs = artefact.digests(artefact.files(step, result))
        self._append(
            StepCompleted(sequence=self._following, at=self._now(), step=step.id, outputs=outputs, result=result)
        )
        self._desk.tell("  done" if not result.recovered else "  was done before the interruption")

    def _shown(self, home: Home, name: str) -> KeyMade:
        """Have a key show that it is here, bound to the transcript's head."""
        attested = home.keyring.attest(name)
        return possession.shown(self._transcript.head, name, home.keyring.key(name), attested)

    def _close(self) -> None:
        """Have everyone present sign the end (7); whoever does not is recorded, and the others sign anew."""
        progress = self._progress
        while not progress.complete:
            if len(progress.present) < self._script.quorum:
                raise Conflict(
                    "Every step is done, but too few officers have signed the end: run it again to close.",
                    {"quorum": f"{len(progress.present)} of {self._script.quorum} officers at the end"},
                )
            present = list(progress.present)
            self._append(Closing(sequence=self._following, at=self._now(), present=present))
            self._desk.tell(f"\nEvery step is done. To close: {', '.join(present)}.")
            for name in present:

                def draft(name: str = name) -> Closed:
                    return Closed(sequence=self._following, at=self._now(), officer=name, signature=b"")

                if not self._ask(self._script.officer(name), CLOSING, draft):
                    break

    def _end(self) -> None:
        if self._home is None:
            raise Conflict("There is no home.", {"home": "missing"})
        record = self._record(self._home)
        if not record.heads("completed"):
            details = {"title": self._script.title, "head": self._progress.head.hex()}
            record.write("completed", self._clock.now(), details)

    def _know(self, kind: str, **details: str) -> None:
        """Tell the home's ledger where the transcript is (4), once there is a home."""
        if self._home is None:
            return
        record = self._record(self._home)
        if kind == "begun":
            officers = ", ".join(self._progress.present)
            details |= {"title": self._script.title, "script": self._script.sha256, "officers": officers}
            kind = "resumed" if record.heads() else "begun"
        record.write(kind, self._clock.now(), {"head": self._transcript.head.hex(), **details})

    def _record(self, home: Home) -> Record:
        return Record(home, self._progress.id)

    @property
    def _following(self) -> int:
        return len(self._transcript.links) + 1

    def _now(self) -> datetime:
        now = self._clock.now()
        if now < self._progress.at - _CLOCK_STEP:
            raise ClockUntrusted(
                f"the clock says {now}, before the last entry of the transcript at {self._progress.at}"
            )
        return max(now, self._progress.at)

    def _append(self, entry: Entry) -> None:
        # Judged first: what `verify` would refuse is never written.
        link = self._transcript.link(entry)
        self._progress.advance(link)
        self._transcript.append(link)
