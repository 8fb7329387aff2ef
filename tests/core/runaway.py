"""A reader that never comes back, crashes or wants everything, for `test_decoder`."""

from __future__ import annotations

import os
import signal
import time


def endless(header: dict[str, object], parts: list[bytes]) -> tuple[dict[str, object], list[bytes]]:
    """Do what the header says."""
    if header["do"] == "spin":
        while True:
            pass
    if header["do"] == "sleep":
        time.sleep(60)
    if header["do"] == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if header["do"] == "eat":
        return {"size": len(bytes(1 << 30))}, []
    return {"fine": True}, parts
