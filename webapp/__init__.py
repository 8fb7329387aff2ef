"""The web app: an application that all share; and rooms for the pages' parts, our own routes, and the command line."""

import sys

# Every way in comes by here, before anything that only Unix has is imported.
if sys.platform == "win32":
    raise SystemExit(
        "ControlNet Studio needs Linux or macOS, and on Windows WSL 2, which is a Linux: run `wsl --install` once, "
        "open Ubuntu from the Start menu, and install and start the studio there."
    )
