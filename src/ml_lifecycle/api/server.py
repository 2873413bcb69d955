"""The processes that serve, as uvicorn runs them but for their end: whoever has been let in is answered.

uvicorn closes what it listens on at once, and the kernel resets the connections that wait there to be accepted: a
caller who just connected, and perhaps has sent a request, gets nothing. With several workers it is worse. The process
above them keeps what they listened on until they have all ended, and callers connect to nobody in the meantime.

Here the kernel first ignores who asks to connect, which Linux does with a filter on the socket. Who waits is accepted,
and then the socket is closed. A caller who was ignored asks again after a second, and is refused or gets to whoever
listens there by then. Other kernels know no such filter; callers who connect in the last moment are reset there.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import struct
import sys
import threading
from collections.abc import Sequence
from types import FrameType

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess, multiprocess

from ml_lifecycle.api.measurements import forget

#: Seconds in which those who wait to be accepted are, more than the last step of connecting takes.
DOOR_SECONDS = 0.5
#: The same for a worker, who may be told to end before the process above has seen that it is: it looks twice a second.
WORKER_SECONDS = 0.5 + DOOR_SECONDS
#: Set in a process whose application gives up, before it signals that it ends. The process then ends as one that could
#: not start: that is not 0, and the process above several takes it for the end of all of them.
GIVEN_UP = threading.Event()
_ATTACH_FILTER = 26  # SO_ATTACH_FILTER, see socket(7)
#: Classic BPF on a TCP header: nothing of a segment is kept that has SYN and not ACK, all of any other.
_IGNORE_NEWCOMERS = (
    (0x30, 0, 0, 13),  # load the flags
    (0x54, 0, 0, 0x12),  # SYN and ACK of them
    (0x15, 0, 1, 0x02),  # SYN alone?
    (0x06, 0, 0, 0),
    (0x06, 0, 0, 0xFFFFFFFF),
)


def ignore_newcomers(listener: int) -> None:
    """Have the kernel ignore who asks to connect from now on, in all processes that listen on the same socket.

    Args:
        listener: descriptor of the socket.
    """
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in _IGNORE_NEWCOMERS))
    program = struct.pack("HP", len(_IGNORE_NEWCOMERS), ctypes.addressof(code))
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(listener)) as copy:  # OSError: not on this kernel
        copy.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, program)


class _Serving(uvicorn.Server):
    """What serves in a process, whose status tells if it gave up."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end; uvicorn would end by the signal itself, which those who start services take for an order."""
        if GIVEN_UP.is_set() and not self.should_exit:
            self.should_exit = True
        else:
            super().handle_exit(sig, frame)

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve.

        Raises:
            SystemExit: it gave up.
        """
        super().run(sockets)
        if GIVEN_UP.is_set():
            sys.exit(STARTUP_FAILURE)


class Server(_Serving):
    """A process that serves alone."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take in who waits, then end."""
        for server in self.servers:
            for listener in server.sockets:
                ignore_newcomers(listener.fileno())
        await asyncio.sleep(DOOR_SECONDS)
        await super().shutdown(sockets)


class WorkersServer(_Serving):
    """What serves in one of several processes; the others may go on, so newcomers are not ignored here."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take in who waits, then end."""
        await asyncio.sleep(WORKER_SECONDS)
        await super().shutdown(sockets)


class Worker(multiprocess.Process):
    """One of several processes, which does not outlive the one above it."""

    @property
    def server(self) -> uvicorn.Server:
        """What serves in it."""
        if self._server is None:
            self._server = WorkersServer(self.config)
        return self._server

    def target(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve."""
        self.parent_conn.close()  # else this process would itself keep open whose end it waits for
        super().target(sockets)

    def join(self) -> None:
        """Wait until it has ended, and no longer count it among those that serve."""
        super().join()
        forget(self.pid)

    def always_pong(self) -> None:
        """Tell the process above that this one is well, until that has ended."""
        with contextlib.suppress(EOFError, OSError):
            super().always_pong()
        os.kill(os.getpid(), signal.SIGTERM)


class Workers(Multiprocess):
    """The process above several."""

    def __init__(self, config: uvicorn.Config, sockets: Sequence[socket.socket]) -> None:
        multiprocess.Process = Worker  # type: ignore[misc]  # there is no other place to name them
        super().__init__(config, list(sockets))

    def run(self) -> None:
        """Keep all of them running until told to end, or until one of them cannot serve.

        Raises:
            SystemExit: one of them could not start, or gave up.
        """
        super().run()
        if any(process.exitcode == STARTUP_FAILURE for process in self.processes):
            sys.exit(STARTUP_FAILURE)

    def terminate_all(self) -> None:
        """Let all of them take in who waits, then end; nobody listens once they have."""
        for listener in self.sockets:
            ignore_newcomers(listener.fileno())
        super().terminate_all()
        for listener in self.sockets:
            listener.close()
