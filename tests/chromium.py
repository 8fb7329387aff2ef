"""A Chromium for the browser tests: an installed one, else Playwright's own download, else Debian's package.

`python -m tests.chromium` installs one where none is and fails with a sentence where that is not possible; tests are
never skipped for want of a browser.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
# Every profile opens a window of its own, and behind its address bar two hidden pages of the browser itself, which take longer
# than most tests. Of several such lists Chromium heeds the last, so what Playwright's names and matters here stands in it, too.
_WITHOUT = (
    "WebUIOmniboxPopup", "WebUIOmniboxAimPopup", "HttpsUpgrades", "HttpsFirstBalancedModeAutoEnable", "LensOverlay",
    "MediaRouter", "PaintHolding", "ThirdPartyStoragePartitioning", "OptimizationHints", "AimEnabled", "PreconnectToSearch",
)  # fmt: skip
# Without a graphics card compositing by its emulation costs more than by the processor directly.
ARGUMENTS = [
    "--no-sandbox", "--disable-background-networking", "--disable-component-update", "--no-first-run", "--disable-gpu",
    f"--disable-features={','.join(_WITHOUT)}",
]  # fmt: skip


def find() -> str | None:
    """The path of a usable browser, or None."""
    named = os.environ.get("STUDIO_CHROMIUM")
    if named:
        return named if Path(named).is_file() else None
    installed = next((path for name in NAMES if (path := shutil.which(name))), None)
    return installed or _downloaded()


def _downloaded() -> str | None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).is_file() else None


def _try(*command: str) -> bool:
    print(f"$ {' '.join(command)}", flush=True)
    try:
        return subprocess.run(command, check=False, timeout=900).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def install() -> str:
    """Return a browser's path, installing one first if need be. Exits with a sentence if none can be had."""
    if path := find():
        return path
    if _try(sys.executable, "-m", "playwright", "install", "chromium") and (path := find()):
        return path
    sudo = [] if hasattr(os, "geteuid") and os.geteuid() == 0 else ["sudo", "-n"]
    if shutil.which("apt-get"):
        _try(*sudo, "apt-get", "update", "-q")
        if _try(*sudo, "apt-get", "install", "-y", "-q", "--no-install-recommends", "chromium") and (path := find()):
            return path
    sys.exit("No Chromium could be installed. Install one yourself, or name it in STUDIO_CHROMIUM, and run again.")


if __name__ == "__main__":
    print(f"Browser for the tests: {install()}")
