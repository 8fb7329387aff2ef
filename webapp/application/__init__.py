"""The studio without its pages: what pages, routes and command line share."""
