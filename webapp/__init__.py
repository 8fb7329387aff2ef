"""The web app: an application that all share; and rooms for the pages' parts, our own routes, and the command line."""
