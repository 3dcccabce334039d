"""HTTP as uvicorn speaks it, but a guest who does not get round to a request is shown out."""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

HEADERS_SECONDS = 20.0  # from the connection, or the end of an answer, to the end of the next request's headers


class PatientProtocol(H11Protocol):
    """A connection that is closed when the headers of a request take too long.

    uvicorn's own timeout is for connections on which nothing comes at all after an answer: one letter every now and
    then would keep a connection, and in the end all of them.
    """

    _clock: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._start_clock()

    def on_response_complete(self) -> None:
        self._start_clock()  # first: uvicorn may go on to the next request here
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._clock is not None:
            self._clock.cancel()
        super().connection_lost(exc)

    def _start_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
        self._clock = self.loop.call_later(HEADERS_SECONDS, self._time_is_up)

    def _time_is_up(self) -> None:
        if self.cycle is None or self.cycle.response_complete:  # else a request is being answered
            self.transport.close()
