"""Work that takes a while: started, watched, cancelled, fetched."""

import logging
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from fastreid.app.problems import Problem, problem_of

logger = logging.getLogger(__name__)
MOST = 32  # jobs that are remembered
MOST_UNFINISHED = 8


class Cancelled(Exception):
    """The job was cancelled."""


@dataclass
class Result:
    """A file that a job has made."""

    content: bytes
    name: str
    media_type: str


@dataclass
class Job:
    """A job; ``progress(done, total)`` of its work tells how far it is, and ends the work when it was cancelled."""

    key: str
    state: str = "running"
    done: int = 0
    total: int = 0
    message: str = ""
    result: Result | None = None
    stop: threading.Event = field(default_factory=threading.Event)

    def progress(self, done: int, total: int) -> None:
        if self.stop.is_set():
            raise Cancelled
        self.done, self.total = done, total

    def described(self) -> dict:
        return {"job": self.key, "state": self.state, "done": self.done, "total": self.total, "message": self.message}


class Jobs:
    """Jobs of one server, one at a time; the oldest finished ones are forgotten."""

    def __init__(self):
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._lock, self._pool = threading.Lock(), ThreadPoolExecutor(1, thread_name_prefix="jobs")

    def start(self, work: Callable[[Callable[[int, int], None]], Result]) -> Job:
        """Start ``work(progress)``; 503 when too many wait."""
        job = Job(secrets.token_hex(8))
        with self._lock:
            if sum(each.state == "running" for each in self._jobs.values()) >= MOST_UNFINISHED:
                raise Problem(503, "busy", "too many exports are under way; try again in a moment", retry=5)
            self._jobs[job.key] = job
            finished = [key for key, each in self._jobs.items() if each.state != "running"]
            for key in finished[: max(0, len(self._jobs) - MOST)]:
                del self._jobs[key]
        self._pool.submit(self._run, job, work)
        return job

    @staticmethod
    def _run(job: Job, work: Callable) -> None:
        try:
            job.progress(0, 0)
            result = work(job.progress)
            job.progress(job.done, job.total)  # cancelled at the last moment
            job.result, job.state = result, "done"
        except Cancelled:
            job.state = "cancelled"
        except Exception as error:
            problem = problem_of(error)
            if problem is None:
                logger.exception("an export failed")
            job.state, job.message = "failed", problem.message if problem else "the export failed; the log says why"

    def get(self, key: str) -> Job:
        with self._lock:
            if key not in self._jobs:
                raise Problem(404, "not_found", "there is no such job")
            return self._jobs[key]

    def cancel(self, key: str) -> Job:
        job = self.get(key)
        job.stop.set()
        if job.state == "running" and not job.total:  # it may still wait for its turn
            job.state = "cancelled"
        return job

    def close(self) -> None:
        for job in self._jobs.values():
            job.stop.set()
        self._pool.shutdown(wait=False, cancel_futures=True)
