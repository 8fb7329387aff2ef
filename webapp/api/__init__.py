"""The API: the studio for scripts, bots and other programs, beside the browser's own routes and behind a guard of its own."""
