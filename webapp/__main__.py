"""`python -m webapp` is `studio`."""

from webapp.cli import main

main()
