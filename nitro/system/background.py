"""Threads that compute in the background: what others leave of the cores is theirs."""

import os
import sys
import threading

NICENESS = 10


def give_way() -> None:
    """This thread and those that it starts give way to all others of the process. Linux only: elsewhere a priority is
    the whole process's."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
