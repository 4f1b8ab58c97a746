"""A small exchange on loopback that speaks the spot REST interface of one `ccxt` knows, with faults that a test scripts.

Candles are made of their opening alone, so that a test knows each. Not here: limits of the real exchange.
"""

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

MINUTE_MS = 60_000
PAGE = 1000
Rows = list[list[Any]]


def at_ms(text: str) -> int:
    """Milliseconds of an ISO 8601 time, UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def candle(opened_ms: int) -> list[Any]:
    """A candle as the interface writes it: numbers as text, the close within the range."""
    step = opened_ms // MINUTE_MS % 1000
    prices = (100.0 + step, 100.9 + step, 99.1 + step, 100.5 + step)
    return [opened_ms, *(f"{price:.2f}" for price in prices), f"{1 + step % 7}.5", opened_ms + MINUTE_MS - 1]


class ExchangeServer:
    """What the server has, and what it does wrong.

    Attributes:
        listed: by market id the opening of the first candle.
        now: its time, text.
        absent: openings without a candle.
        faults: what happens to the next questions for candles, one each: a function of the handler and the honest rows that
            answers in place of the server, or None for an honest answer.
        asked: the questions for candles, (market, since).
    """

    def __init__(self, now: str, listed: dict[str, str]) -> None:
        self.now = now
        self.listed = {name: at_ms(text) for name, text in listed.items()}
        self.absent: set[int] = set()
        self.faults: deque[Callable[[BaseHTTPRequestHandler, Rows], None] | None] = deque()
        self.asked: list[tuple[str, str]] = []
        self.url = ""

    def rows(self, market: str, since: int, limit: int) -> Rows:
        """Candles from `since` on that have begun, the last of them unfinished."""
        first = -(-max(since, self.listed[market]) // MINUTE_MS) * MINUTE_MS
        opened = range(first, at_ms(self.now) + 1, MINUTE_MS)
        return [candle(ms) for ms in opened[: 2 * limit] if ms not in self.absent][:limit]

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """One question."""
        parts = urlsplit(handler.path)
        given = {key: value[0] for key, value in parse_qs(parts.query).items()}
        if parts.path == "/api/v3/time":
            send(handler, {"serverTime": at_ms(self.now)})
        elif parts.path == "/api/v3/exchangeInfo":
            send(handler, {"symbols": [_market(name) for name in self.listed]})
        elif parts.path == "/api/v3/klines":
            market, since = given["symbol"], int(given["startTime"])
            self.asked.append((market, datetime.fromtimestamp(since / 1000, UTC).strftime("%m-%dT%H:%M")))
            rows = self.rows(market, since, min(int(given["limit"]), PAGE))
            fault = self.faults.popleft() if self.faults else None
            if fault is None:
                send(handler, rows)
            else:
                fault(handler, rows)
        else:
            send(handler, {"code": -1, "msg": f"unknown {parts.path}"}, status=404)


def send(
    handler: BaseHTTPRequestHandler,
    content: Any,
    *,
    status: int = 200,
    headers: dict[str, str] | None = None,
    length: int | None = None,
) -> None:
    """Answer; `length` other than the body's breaks the connection off within it."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    handler.send_response(status)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    for name, value in (headers or {}).items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)
    handler.close_connection = True


def limited(seconds: str) -> Callable[[BaseHTTPRequestHandler, Rows], None]:
    """Too many questions: 429, and how long to wait."""
    said = {"code": -1003, "msg": "Too many requests"}
    return lambda handler, _: send(handler, said, status=429, headers={"Retry-After": seconds})


def broken(handler: BaseHTTPRequestHandler, _: Rows) -> None:
    """500 without JSON."""
    send(handler, b"<html>oops</html>", status=500)


def dropped(handler: BaseHTTPRequestHandler, _: Rows) -> None:
    """The connection ends without an answer."""
    handler.close_connection = True


def slow(handler: BaseHTTPRequestHandler, rows: Rows) -> None:
    """An answer that comes later than anyone waits in a test."""
    time.sleep(0.8)
    send(handler, rows)


def torn(handler: BaseHTTPRequestHandler, rows: Rows) -> None:
    """Half of the bytes that were announced."""
    body = json.dumps(rows).encode()
    send(handler, body[: len(body) // 2], length=len(body))


def half(handler: BaseHTTPRequestHandler, rows: Rows) -> None:
    """Half of the text, announced as if it were all."""
    body = json.dumps(rows).encode()
    send(handler, body[: len(body) // 2])


def shortened(handler: BaseHTTPRequestHandler, rows: Rows) -> None:
    """A page of a third of its rows."""
    send(handler, rows[: len(rows) // 3])


def twice(handler: BaseHTTPRequestHandler, rows: Rows) -> None:
    """The first row of the page again at its end."""
    send(handler, [*rows, rows[0]])


def contradicting(handler: BaseHTTPRequestHandler, rows: Rows) -> None:
    """The first row of the page with another volume."""
    send(handler, [[*rows[0][:5], "99.0", *rows[0][6:]], *rows[1:]])


def nonsense(handler: BaseHTTPRequestHandler, rows: Rows) -> None:
    """A row whose close is no number."""
    send(handler, [[*rows[0][:4], "n/a", *rows[0][5:]], *rows[1:]])


def refusing(handler: BaseHTTPRequestHandler, _: Rows) -> None:
    """A lasting refusal."""
    send(handler, {"code": -1121, "msg": "Invalid symbol."}, status=400)


@contextmanager
def serving(server: ExchangeServer) -> Iterator[ExchangeServer]:
    """Serve on a free port of loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.answer(self)

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that did not wait is part of the script."""

    with Quiet(("127.0.0.1", 0), Handler) as listening:
        server.url = f"http://127.0.0.1:{listening.server_address[1]}"
        thread = threading.Thread(target=lambda: listening.serve_forever(0.02), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            listening.shutdown()
            thread.join()


def _market(name: str) -> dict[str, Any]:
    quoted = "USDT"
    return {
        "symbol": name,
        "status": "TRADING",
        "baseAsset": name.removesuffix(quoted),
        "quoteAsset": quoted,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "orderTypes": ["LIMIT"],
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "permissions": ["SPOT"],
        "filters": [],
    }
