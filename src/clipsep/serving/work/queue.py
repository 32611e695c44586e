"""The queue of a server: one recording is separated at a time, the others wait their turn.

A job is an upload with its queries, in a folder of its own. HTTP is not handled here.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from clipsep.errors import ClipsepError
from clipsep.serving.limits import Limits

State = Literal["waiting", "running", "done", "failed", "cancelled"]
FINISHED = ("done", "failed", "cancelled")
PREFIX = "clipsep-serve-"
_LOCK = "lock"


class Busy(ClipsepError):
    """The server takes no more requests now.

    Attributes:
        retry_seconds: when to try again.
        by_client: whether this client has too many requests, not all clients together.
    """

    def __init__(self, sentence: str, retry_seconds: int, by_client: bool = False):
        super().__init__(sentence)
        self.retry_seconds = retry_seconds
        self.by_client = by_client


class JobStopped(Exception):
    """Raised inside the work of a job that was cancelled."""


class TimeIsUp(ClipsepError):
    """A job ran longer than the server allows."""


class Removed(ClipsepError):
    """A job was removed while something was made of it."""


@dataclass(eq=False)
class Job:
    """One request and what became of it.

    Attributes:
        folder: holds all its files, and goes when the job is forgotten.
        client: whose request it is, for the limit per client.
        progress: share of the work that is done, 0 to 1.
        error: the sentence for the client if the state is "failed".
        outcome: what the work returned if the state is "done".
    """

    folder: Path
    client: str
    work: Callable[[Job], object]
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    state: State = "waiting"
    progress: float = 0.0
    error: ClipsepError | None = None
    outcome: object = None
    deadline: float = float("inf")
    ended: float = 0.0
    cancelled: bool = False

    @property
    def finished(self) -> bool:
        """Whether nothing will change any more."""
        return self.state in FINISHED

    def check(self) -> None:
        """Stop the work if there is a reason; the work calls this now and then.

        Raises:
            JobStopped: if the job was cancelled.
            TimeIsUp: if it has run too long.
        """
        if self.cancelled:
            raise JobStopped
        if time.monotonic() > self.deadline:
            raise TimeIsUp(
                "The work took longer than this server allows: send a shorter recording, or fewer "
                "queries."
            )


class JobQueue:
    """Runs jobs one after the other in a thread of its own, and keeps their folders.

    Args:
        limits: bounds on waiting, running and kept jobs.
        parent: where the folder of all jobs is made; by default the system's temporary folder.
    """

    def __init__(self, limits: Limits, parent: Path | None = None):
        self._limits = limits
        parent = parent or Path(tempfile.gettempdir())
        _remove_abandoned(parent)
        self.folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        self._lock_file = _locked(self.folder / _LOCK)
        self._jobs: dict[str, Job] = {}  # in the order in which they came
        self._change = threading.Condition()
        self._open = True
        self._seconds_per_job = 5.0  # a running mean, for Retry-After
        self._thread = threading.Thread(target=self._run, name="separation", daemon=True)
        self._thread.start()

    def new_folder(self) -> Path:
        """Make a folder for a request that is still being received."""
        return Path(tempfile.mkdtemp(dir=self.folder))

    def check_room(self, client: str) -> None:
        """Raise `Busy` if a request of this client would not be taken now."""
        with self._change:
            self._check_room(client)

    def submit(self, job: Job) -> Job:
        """Put a job at the end of the queue; raises `Busy` if it is full."""
        with self._change:
            self._check_room(job.client)
            self._jobs[job.id] = job
            self._change.notify_all()
        return job

    def get(self, job_id: str) -> Job | None:
        """Return the job of this id, if it is still kept."""
        with self._change:
            self._forget_old()
            return self._jobs.get(job_id)

    def ahead(self, job: Job) -> int:
        """How many jobs will be done before this one, the running one included."""
        with self._change:
            if job.state != "waiting":
                return 0
            unfinished = [one for one in self._jobs.values() if not one.finished]
            return unfinished.index(job) if job in unfinished else 0

    def counts(self) -> tuple[int, int]:
        """Count waiting and running jobs."""
        # Without the lock, which is held while files are removed: health is to be known at once.
        states = [job.state for job in list(self._jobs.values())]
        return states.count("waiting"), states.count("running")

    def cancel(self, job: Job) -> None:
        """Stop a job if it is not finished, and remove its files."""
        with self._change:
            job.cancelled = True
            if job.state != "running":  # else the thread removes it, once its files are closed
                self._remove(job)

    def close(self) -> None:
        """Stop all jobs, and remove all files."""
        with self._change:
            self._open = False
            for job in self._jobs.values():
                job.cancelled = True
            self._change.notify_all()
        self._thread.join()
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None

    def _check_room(self, client: str) -> None:
        unfinished = [job for job in self._jobs.values() if not job.finished]
        seconds = max(1, round(self._seconds_per_job * (len(unfinished) or 1)))
        if not self._open:
            raise Busy("The server is being stopped: try again later.", 30)
        if sum(job.client == client for job in unfinished) >= self._limits.per_client:
            raise Busy(
                f"You already have {self._limits.per_client} requests here that are not finished: "
                "wait for one of them.",
                seconds,
                by_client=True,
            )
        # The first one does not wait, even if the thread has not taken it yet.
        if len(unfinished) > self._limits.waiting:
            raise Busy(
                f"{len(unfinished)} requests come first, and this server queues no more: try again "
                f"in {seconds} s.",
                seconds,
            )

    def _run(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(
                    lambda: not self._open or self._next() is not None, timeout=30
                )
                if not self._open:
                    return
                self._forget_old()
                job = self._next()
                if job is None:
                    continue
                job.state = "running"
                job.deadline = time.monotonic() + self._limits.job_seconds
            started = time.monotonic()
            state, outcome, error = _do(job)
            with self._change:
                job.outcome, job.error, job.state = outcome, error, state
                job.ended = time.monotonic()
                self._seconds_per_job += 0.2 * (job.ended - started - self._seconds_per_job)
                if job.cancelled or state != "done":
                    shutil.rmtree(job.folder, ignore_errors=True)
                if job.cancelled:
                    self._jobs.pop(job.id, None)
                self._forget_old()

    def _next(self) -> Job | None:
        return next((job for job in self._jobs.values() if job.state == "waiting"), None)

    def _forget_old(self) -> None:
        finished = [job for job in self._jobs.values() if job.finished]
        finished.sort(key=lambda job: job.ended)
        too_many = len(finished) - self._limits.kept
        now = time.monotonic()
        for number, job in enumerate(finished):
            if number < too_many or now - job.ended > self._limits.keep_seconds:
                self._remove(job)

    def _remove(self, job: Job) -> None:
        if not job.finished:
            job.state = "cancelled"
        self._jobs.pop(job.id, None)
        shutil.rmtree(job.folder, ignore_errors=True)


def _do(job: Job) -> tuple[State, object, ClipsepError | None]:
    try:
        return "done", job.work(job), None
    except JobStopped:
        return "cancelled", None, None
    except ClipsepError as error:
        return "failed", None, error
    except Exception:
        # One client's request must not end the thread that serves all; the log gets the cause.
        import logging

        logging.getLogger("clipsep.serving").exception("A request failed.")
        return "failed", None, None


def _locked(path: Path) -> int | None:
    """Hold a lock on a file for as long as this process lives; None where there are no locks."""
    try:
        import fcntl
    except ImportError:
        return None
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _remove_abandoned(parent: Path) -> None:
    """Remove folders of servers that were killed: nobody holds their lock any more."""
    for folder in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if not (folder / _LOCK).is_file() or folder.stat().st_uid != os.getuid():
                continue  # being made right now, or somebody else's
            descriptor = _locked(folder / _LOCK)
            if descriptor is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(descriptor)
