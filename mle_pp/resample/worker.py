"""What runs in another process: a task that was pickled, with every library on one thread.

``python -m mle_pp.resample.worker`` reads calls from its standard input and writes what they return, until the input
ends: with the process that started it, however that ends.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any, BinaryIO

from threadpoolctl import threadpool_limits


@lru_cache(maxsize=2)
def _load(payload: bytes) -> Callable[[Any], Any]:
    return pickle.loads(payload)


def work(payload: bytes, argument: Any) -> Any:
    """Call the pickled task: unpickled, and its functions built, once a process."""
    return alone(_load(payload), argument)


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


if __name__ == "__main__":
    _answers = sys.stdout.buffer
    # Whatever the task prints must not come between the answers
    sys.stdout = sys.stderr
    _serve(sys.stdin.buffer, _answers)
