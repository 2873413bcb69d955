"""How many connections the open files of a process allow: each connection is one of them."""

import resource

#: Open files beside connections: the model, segments, logs, libraries, and connections about to be closed.
SPARE_FILES = 200


def raise_limit(connections: int) -> None:
    """Let this process, and those it starts, open as many files as so many connections want, if it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


def limit() -> int | None:
    """How many files this process may open; None if there is no limit."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def allowed_connections(wanted: int) -> int:
    """How many of the wanted connections this process can have open; none or less if its files are too few."""
    files = limit()
    return wanted if files is None else min(wanted, files - SPARE_FILES)
