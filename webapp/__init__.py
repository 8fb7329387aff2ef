"""The web app: pages' parts, services, our own routes, and the command line."""
