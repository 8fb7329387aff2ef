"""Amounts as people say them, bytes and seconds, everywhere alike."""

from __future__ import annotations


def size(count: float) -> str:
    """Bytes: "3.4 GB", "12 MB" (decimal, as disks and graphics cards are sold)."""
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{max(1, round(count / 1e6))} MB"


def duration(seconds: float) -> str:
    """A time: "2.5 s", "40 s", "12 min", "3.1 h", "4 days"."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes = seconds / 60
    if minutes < 90:
        return f"{minutes:.0f} min"
    return f"{minutes / 60:.1f} h" if minutes < 48 * 60 else f"{minutes / 1440:.0f} days"
