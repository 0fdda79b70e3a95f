"""What runs in another process: a task that was pickled, with every library on one thread.

`main` reads calls from the standard input and writes what they return to the standard output, until the input ends:
with the process that started this one, however that ends.
"""

from __future__ import annotations

import pickle
import sys
import threading
from collections.abc import Callable
from typing import Any, BinaryIO

from threadpoolctl import threadpool_limits

# The last task that a thread was given, and what it was pickled as
_own = threading.local()


def work(payload: bytes, argument: Any) -> Any:
    """Call the pickled task: unpickled, and its functions built, once a thread, for two cannot share a function."""
    if getattr(_own, "payload", None) != payload:
        _own.payload, _own.task = payload, pickle.loads(payload)
    return alone(_own.task, argument)


def alone(task: Callable[[Any], Any], argument: Any) -> Any:
    """Call a task on one thread: matrix products of small batches gain nothing from more, and round differently."""
    with threadpool_limits(1):
        return task(argument)


def _serve(calls: BinaryIO, answers: BinaryIO) -> None:
    while True:
        try:
            payload, argument = pickle.load(calls)
        except EOFError:
            return
        try:
            answer = (True, work(payload, argument))
        except Exception as error:  # whatever it is, it is raised where the call was made
            answer = (False, f"{type(error).__name__}: {error}")
        pickle.dump(answer, answers)
        answers.flush()


def main() -> None:
    """Serve calls until there are no more."""
    answers = sys.stdout.buffer
    # Whatever the task prints must not come between the answers
    sys.stdout = sys.stderr
    _serve(sys.stdin.buffer, answers)
