"""Blocks of replicates: in this process, in workers, or in any executor; written to disk as they come."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle
import numpy as np
from pymc.progress_bar import create_simple_progress

from mle_pp.errors import ModelError
from mle_pp.resample.worker import alone, work

if TYPE_CHECKING:
    from mle_pp.estimate import Estimate
    from mle_pp.resample.refit import Refitter

# A worker is ready after about three seconds: for less than some times that, it is not worth starting one
_WORTH_WORKERS = 15.0
# Blocks under way in an executor: enough for its workers never to wait, few enough for their arguments to fit in memory
_UNDER_WAY = 64

Task = Callable[[Any], Any]


def run_blocks(
    task: Task,
    blocks: Mapping[int, int],
    argument: Callable[[int], Any],
    executor: Executor | None,
    journal: Journal,
    label: str,
    progressbar: bool,
) -> dict[int, Any]:
    """What a task returns for each block, by the block's number.

    Parameters
    ----------
    task : callable
        From a block's argument to plain lists and numbers. It is pickled where it runs in another process.
    blocks : mapping of int to int
        The numbers of all blocks, and how many replicates each has.
    argument : callable
        From a block's number to the argument; called here, in the order of the blocks.
    executor : Executor or None
        None: this process, and workers of its own as soon as the time left is worth starting them.
    journal : Journal
        Where results are kept; blocks found there are not run again.
    label : str
        Beside the progress bar.
    progressbar : bool
    """
    results = dict(journal.found)
    left = [block for block in blocks if block not in results]
    bar = create_simple_progress(progressbar)
    # Entering the bar that shows nothing does not return it
    with bar:
        total = sum(blocks.values())
        line = bar.add_task(label, completed=sum(blocks[block] for block in results), total=total)
        stream = _in_executor(task, left, argument, executor) if executor else _here(task, left, argument)
        for block, result in stream:
            journal.append(block, result)
            results[block] = result
            bar.advance(line, blocks[block])
    return results


def _here(task: Task, blocks: list[int], argument: Callable[[int], Any]) -> Iterator[tuple[int, Any]]:
    """In this process; the first block tells how long the others take, and whether workers should help."""
    cores = _cores()
    fastest = float("inf")
    for done, block in enumerate(blocks):
        begin = time.process_time()
        yield block, alone(task, argument(block))
        # Of the processor, for others may be using it; the first block builds functions, so the quicker of two counts
        fastest = min(fastest, time.process_time() - begin)
        rest = blocks[done + 1 :]
        if done in (1, 2) and cores > 1 and len(rest) > 1 and fastest * len(rest) > _WORTH_WORKERS and _travels(task):
            with Workers(min(cores, len(rest))) as workers:
                yield from _in_executor(task, rest, argument, workers)
            return


def _travels(task: Task) -> bool:
    """Whether a task can be sent to another process."""
    try:
        cloudpickle.dumps(task)
    except Exception:  # whatever what it is made of raises
        return False
    return True


def _in_executor(
    task: Task, blocks: Iterable[int], argument: Callable[[int], Any], executor: Executor
) -> Iterator[tuple[int, Any]]:
    try:
        payload = cloudpickle.dumps(task)
    except Exception as error:
        raise ModelError(
            f"The likelihood cannot be sent to another process ({error}): an operation of its graph does not pickle. "
            f"Use an executor of threads, executor=concurrent.futures.ThreadPoolExecutor(1)."
        ) from error
    waiting: dict[Future[Any], int] = {}
    queue = iter(blocks)
    try:
        while True:
            while len(waiting) < _UNDER_WAY and (block := next(queue, None)) is not None:
                waiting[executor.submit(work, payload, argument(block))] = block
            if not waiting:
                return
            for future in _next_done(waiting):
                yield waiting.pop(future), future.result()
    finally:
        for future in waiting:
            future.cancel()


def _next_done(waiting: Mapping[Future[Any], int]) -> list[Future[Any]]:
    """The futures that are done, at least one; those of other libraries than concurrent.futures, too."""
    if all(isinstance(future, Future) for future in waiting):
        return list(wait(waiting, return_when=FIRST_COMPLETED).done)
    finished = threading.Event()
    for future in waiting:
        future.add_done_callback(lambda _: finished.set())
    finished.wait()
    return [future for future in waiting if future.done()]


def _cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Workers(ThreadPoolExecutor):
    """Processes of this interpreter, each behind a thread that hands it one call after the other.

    A process pool of the standard library runs the main script again in each process, which a script has to be written
    for; these do not, and libraries in them start with one thread each.
    """

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self._own = threading.local()
        self._processes: list[subprocess.Popen[bytes]] = []

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **_: Any) -> Future[Any]:
        """Call `worker.work` with these arguments in one of the processes."""
        return super().submit(self._call, arguments)

    def _call(self, arguments: tuple[Any, ...]) -> Any:
        if not hasattr(self._own, "process"):
            self._own.process = self._start()
        process = self._own.process
        pickle.dump(arguments, process.stdin)
        process.stdin.flush()
        try:
            fine, answer = pickle.load(process.stdout)
        except EOFError:
            raise RuntimeError(f"A worker process ended with exit code {process.wait()}.") from None
        if not fine:
            raise RuntimeError(f"In a worker process: {answer}")
        return answer

    def _start(self) -> subprocess.Popen[bytes]:
        threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMBA")}
        path = {"PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path)}
        process = subprocess.Popen(
            [sys.executable, "-c", "from mle_pp.resample.worker import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **threads, **path},
        )
        self._processes.append(process)
        return process

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the threads, then their processes."""
        super().shutdown(wait=wait, cancel_futures=cancel_futures)
        for process in self._processes:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.close()
            process.wait()
            process.stdout.close()


class Journal:
    """Results on disk: a line of JSON that says what was run, then one a block, each on the disk before the next.

    A last line that was being written when the process was killed is cut off; nothing else can be lost.

    Parameters
    ----------
    path : path-like or None
        None keeps nothing.
    header : mapping
        What the results depend on. A file with another header is refused.
    close : tuple of str
        The entries of the header that are numbers which may differ by rounding; `header` then has those of the file.

    Attributes
    ----------
    header : dict
    found : dict of int to list
        Results that were there, by the block's number.
    """

    def __init__(self, path: str | os.PathLike[str] | None, header: Mapping[str, Any], close: tuple[str, ...] = ()):
        self.header = dict(header)
        self.found: dict[int, Any] = {}
        self._file: Any = None
        if path is None:
            return
        path = Path(path)
        self._file = path.open("r+b" if path.exists() else "x+b")
        content = self._file.read()
        lines = content.split(b"\n")[:-1]
        try:
            if lines:
                self._resume(path, [json.loads(line) for line in lines], close)
            elif content and not content.startswith(b'{"mle_pp"'):
                raise _foreign(path)
        except BaseException:
            self.close()
            raise
        end = sum(len(line) + 1 for line in lines)
        self._file.truncate(end)
        self._file.seek(end)
        if not lines:
            self._write(self.header)

    def _resume(self, path: Path, records: list[Any], close: tuple[str, ...]) -> None:
        there = records[0]
        if not isinstance(there, dict) or "mle_pp" not in there:
            raise _foreign(path)
        for name in dict.fromkeys([*self.header, *there]):
            here, other = self.header.get(name), there.get(name)
            if here != other and not (name in close and _close(here, other)):
                raise ModelError(
                    f"{path} holds another run: {name} is {_short(other)} there, {_short(here)} here. Give another "
                    f"path, or remove the file to begin anew."
                )
        self.header = there
        self.found = dict(records[1:])

    def append(self, block: int, result: Any) -> None:
        """Keep a block's result."""
        if self._file is not None:
            self._write([block, result])

    def _write(self, record: Any) -> None:
        self._file.write(json.dumps(record).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _foreign(path: Path) -> ModelError:
    return ModelError(f"{path} was not written by a resampling run: give the path of a new file.")


def _close(here: Any, there: Any) -> bool:
    return np.shape(here) == np.shape(there) and bool(np.allclose(here, there, rtol=1e-6, atol=1e-9))


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < 60 else f"{text[:56]} ..."


def header_of(est: Estimate, refitter: Refitter, run: Mapping[str, Any]) -> dict[str, Any]:
    """What the results of a run depend on."""
    return {
        "mle_pp": "resampling 1",
        **run,
        "parameters": est._layout.labels,
        "data": {name: digest(values) for name, values in est._objective.data.items()},
        "weights": digest(est._objective.weights),
        "block": refitter.together,
        "estimate": refitter.start.tolist(),
        "information": refitter.reference.tolist(),
    }


def digest(values: Any) -> str | None:
    """A fingerprint of an array, or of several by name."""
    if values is None:
        return None
    if isinstance(values, Mapping):
        return "; ".join(f"{name}: {digest(one)}" for name, one in values.items())
    array = np.asarray(values)
    array = array.astype(str) if array.dtype == object else np.ascontiguousarray(array)
    return f"{array.dtype.kind}{array.shape} {hashlib.sha256(array.tobytes()).hexdigest()[:16]}"
