"""Processes that this one starts, and that must not outlive it however it ends."""

from __future__ import annotations

import multiprocessing
import os
import threading


def end_with_parent() -> None:
    """From now on, end this process as soon as the one that started it has ended, if only by SIGKILL.

    Use it first thing in a process that ``multiprocessing`` started. A parent that is killed ends nobody, and a process
    that is just then writing to it can wait for good: it may hold the other end of that pipe itself.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_wait, args=(parent,), daemon=True).start()


def _wait(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)
