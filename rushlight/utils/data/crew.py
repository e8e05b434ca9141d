"""The worker processes of one loader: how they are started, sent orders, heard, missed and ended."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections import deque
from collections.abc import Iterable
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from typing import Any

from rushlight.utils.data.messages import unpacked
from rushlight.utils.data.shared import Inbox, forks, new_file
from rushlight.utils.data.worker import Job, run_worker

#: A dead worker is known by the end of its pipe; where something else keeps that open, by looking as often as this.
CHECK_EVERY_S = 1.0
#: How long a worker may take to end by itself once it was told; and where another one has died.
PATIENCE_S, PATIENCE_IN_FAILURE_S = 5.0, 1.0


class Worker:
    """A process with its two pipes and its memory, seen from the parent."""

    def __init__(self, context: Any, job: Job, number: int) -> None:
        self.number = number
        self.dismissed = False
        self.inbox: Inbox | None = None
        theirs_in, self._orders = context.Pipe(duplex=False)
        self.answers: Connection
        self.answers, theirs_out = context.Pipe(duplex=False)
        file = None
        if made := new_file():
            file, map = made
            self.inbox = Inbox(map)
        _open.update((self._orders, self.answers))
        self.process = context.Process(
            target=run_worker, args=(job, number, theirs_in, theirs_out, file), daemon=True
        )
        try:
            self.process.start()
        except BaseException:
            self.close_pipes()
            raise
        finally:
            theirs_in.close()
            theirs_out.close()
            if file is not None:
                file.close()

    def send(self, number: int, indices: Any) -> None:
        """An order; OSError where the worker is gone."""
        freed = () if self.inbox is None else self.inbox.take_free()
        self._orders.send_bytes(ForkingPickler.dumps((number, indices, freed), 5))

    def dismiss(self) -> None:
        """Tells it to end; it will not be missed."""
        if not self.dismissed:
            self.dismissed = True
            with contextlib.suppress(OSError):
                self._orders.send_bytes(b"")

    def close_pipes(self) -> None:
        """Of this end."""
        for end in (self._orders, self.answers):
            _close(end)

    def ending(self) -> str:
        """How its process has ended."""
        self.process.join(PATIENCE_IN_FAILURE_S)
        code = self.process.exitcode
        if code is None or code >= 0:
            return f"exit code {code}"
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = str(-code)
        return f"killed by signal {name}" + (" (out of memory?)" if name == "SIGKILL" else "")


#: The parent's ends of pipes, until they are closed. A forked child closes its copies: the last holder ends a pipe.
#: The set also keeps the garbage collector from closing one before its crew does, and that from closing it again.
_open: set[Connection] = set()


def _close(end: Connection) -> None:
    _open.discard(end)
    end.close()


def _forked() -> None:
    for end in list(_open):
        _close(end)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


class _Doorbell:
    """Waits for the first of several connections that has something to say, or has ended."""

    def __init__(self, workers: Iterable[Worker]) -> None:
        self._workers = {worker.answers.fileno(): worker for worker in workers}
        self._poll: Any = select.poll() if hasattr(select, "poll") else None
        if self._poll is not None:
            for descriptor in self._workers:
                self._poll.register(descriptor, select.POLLIN)

    def forget(self, worker: Worker) -> None:
        """It says nothing more."""
        for descriptor in [d for d, w in self._workers.items() if w is worker]:
            del self._workers[descriptor]
            if self._poll is not None:
                self._poll.unregister(descriptor)

    def wait(self, seconds: float) -> list[Worker]:
        """Those who have rung."""
        if self._poll is not None:
            return [self._workers[d] for d, _ in self._poll.poll(seconds * 1000)]
        speakers = {worker.answers: worker for worker in self._workers.values()}
        return [speakers[c] for c in connection.wait(list(speakers), seconds)]  # type: ignore[index]


class Crew:
    """All workers of a loader."""

    def __init__(self, context: Any, job: Job) -> None:
        self.workers: list[Worker] = []
        self._closed = False
        self._pid = os.getpid()
        self._forks: list[int] = []
        try:
            with forks.of_workers(self._forks):
                for number in range(job.num_workers):
                    self.workers.append(Worker(context, job, number))
        except BaseException:
            self.close()
            raise
        self._doorbell = _Doorbell(self.workers)
        self._ringing: deque[Worker] = deque()

    @property
    def closed(self) -> bool:
        """Whether the workers have ended, or are those of the process from which this one was forked."""
        return self._closed or os.getpid() != self._pid

    def send(self, worker: int, number: int, indices: Any) -> None:
        """Gives a worker the indices of a batch; RuntimeError where it is dead."""
        try:
            self.workers[worker].send(number, indices)
        except OSError:
            self._lost([self.workers[worker]])

    def receive(self, timeout: float) -> tuple[int, Any]:
        """The next batch of any worker, and its number.

        RuntimeError where one has died, or `timeout` seconds (0: any time) have passed.
        """
        if self.closed:
            raise RuntimeError("the workers of this DataLoader iterator have been shut down")
        ends = time.monotonic() + timeout
        while True:
            if not self._ringing:
                left = max(0.0, ends - time.monotonic()) if timeout else CHECK_EVERY_S
                self._ringing.extend(self._doorbell.wait(min(left, CHECK_EVERY_S)))
            if not self._ringing:
                self._look_for_dead()
                if timeout and time.monotonic() >= ends:
                    raise RuntimeError(f"DataLoader timed out after {timeout} seconds")
                continue
            worker = self._ringing.popleft()
            try:
                message = worker.answers.recv_bytes()
            except (EOFError, OSError):
                self._doorbell.forget(worker)
                if not worker.dismissed:
                    self._lost([worker])
                continue
            return unpacked(message, worker.inbox, f"of DataLoader worker process {worker.number}")

    def _look_for_dead(self) -> None:
        dead = [w for w in self.workers if not (w.dismissed or w.process.is_alive())]
        if dead and not self._doorbell.wait(0):
            self._lost(dead)

    def _lost(self, dead: list[Worker]) -> None:
        pids = ", ".join(str(worker.process.pid) for worker in dead)
        how = dead[0].ending()
        self.close(PATIENCE_IN_FAILURE_S)
        raise RuntimeError(
            f"DataLoader worker (pid(s) {pids}) exited unexpectedly: {how}; num_workers=0 shows errors directly"
        ) from None

    def close(self, patience: float = PATIENCE_S) -> None:
        """Ends the workers, by force after so many seconds. A second call does nothing, nor does a forked child's."""
        if self.closed:
            return
        self._closed = True
        for worker in self.workers:
            worker.dismiss()
        # A worker may be waiting to send what nobody will read: without readers that ends at once.
        for worker in self.workers:
            _close(worker.answers)
        deadline = time.monotonic() + patience
        for worker in self.workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))
        for worker in self.workers:
            for end in (worker.process.terminate, worker.process.kill):
                if worker.process.is_alive():
                    end()
                    worker.process.join(1.0)
            worker.close_pipes()
            if worker.inbox is not None:
                worker.inbox.end()
        forks.ended(self._forks)


__all__ = ["Crew"]
