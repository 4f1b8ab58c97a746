"""Asking an exchange for candles, through `ccxt`: markets by name, one page at a time, and patience with what goes wrong.

`ccxt` is optional (`pip install 'tft-pipeline[exchanges]'`) and loaded when an exchange is opened. It keeps the exchange's own
rate limit. Not here: periods, files and gaps (`downloads`).
"""

import difflib
import importlib
import ipaddress
import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from types import ModuleType
from typing import Any, TypeVar
from urllib.parse import urlsplit

from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.domain.intervals import BAR_LENGTHS, Interval

Candle = tuple[int, float, float, float, float, float]
"""Opening in milliseconds since 1970, open, high, low, close, volume."""
PAGE_ROWS = 500
"""Candles asked for at once where `ccxt` does not say how many an exchange gives."""
MILLISECOND = timedelta(milliseconds=1)
_ADDRESS = re.compile(r"^https?://[^/]+")
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,198}[A-Za-z0-9_])?")
"""A host name in ASCII, short enough to be part of a folder's name."""
_PRIVATE = re.compile(r"(?<=://)[^\s/@]*@|(?<=\S)\?[^\s=]+=\S*")
"""What an address in a message may hold that nobody else should read: a user and a password, and a query."""
Answer = TypeVar("Answer")


class DownloadFailedError(RuntimeError):
    """An exchange did not give what was asked for, however often; what it gave before is kept."""


class _MalformedAnswerError(ValueError):
    """An answer that is not what the exchange's interface says, such as half of one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long an exchange is waited for.

    The wait before attempt k + 1 is first_wait_s * 2^(k-1), at most `most_wait_s`, or what the exchange asks for in
    `Retry-After` where that is longer.

    Attributes:
        attempts: of one question.
        first_wait_s, most_wait_s: seconds.
        longest_ban_s: an exchange that asks for more than that is not waited for.
        timeout_s: for one answer.
    """

    attempts: int = 6
    first_wait_s: float = 1.0
    most_wait_s: float = 60.0
    longest_ban_s: float = 600.0
    timeout_s: float = 20.0


class Exchange:
    """One exchange that is open."""

    def __init__(self, name: str, client: Any, ccxt: ModuleType, patience: Patience, report: Callable[[str], None]):
        """See `open_exchange`."""
        self.name = name
        self._client, self._ccxt, self._patience, self._report = client, ccxt, patience, report
        self._has_markets = False

    def now_ms(self) -> int:
        """The exchange's own time, so that a clock that is wrong here calls no unfinished candle finished."""
        if self._client.has.get("fetchTime"):
            return int(self._patiently("its time", self._client.fetch_time))
        return int(self._client.milliseconds())

    def market(self, name: str) -> tuple[str, str]:
        """The market a name stands for: the exchange's own id such as BTCUSDT, or BTC/USDT; a spot market before others.

        Returns:
            What `ccxt` calls it, which no other market of the exchange is called; and the one name that its bars have: its id,
            or what `ccxt` calls it where the id alone stands for another market, such as the spot market beside a swap.
        Raises:
            ConfigurationError: no such market, or several.
            DownloadFailedError: see `candles`.
        """
        client = self._client
        if not self._has_markets:  # what half an answer made must not be taken for them: loaded anew in every attempt
            self._patiently("its markets", lambda: client.load_markets(True))
            self._has_markets = True
        if name in client.markets:
            market_id = str(client.markets[name]["id"])
            named = [market["symbol"] for market in self._of_id(market_id)]
            return name, market_id if named == [name] and market_id not in client.markets else name
        matching = self._of_id(name)
        if len(matching) == 1:
            return str(matching[0]["symbol"]), name
        if matching:
            listed = ", ".join(str(market["symbol"]) for market in matching)
            raise ConfigurationError(
                f"--symbols {name!r} is the id of several markets of {self.name}: name one of {listed}"
            )
        known = {key.upper(): key for key in (*client.markets_by_id, *client.markets)}
        near = [known[key] for key in difflib.get_close_matches(name.upper(), known, 6, 0.6)]
        raise ConfigurationError(
            f"--symbols {name!r} is no market of {self.name}; "
            + (
                f"near are {', '.join(near)}"
                if near
                else f"it has {len(client.markets)}, none of them with such a name"
            )
        )

    def _of_id(self, market_id: str) -> list[dict[str, Any]]:
        """The markets that an id alone stands for: the spot markets, others where there is none."""
        found = list(self._client.markets_by_id.get(market_id, []))
        return [market for market in found if market["spot"]] or found

    def page_rows(self, market: str, interval: Interval) -> int:
        """Most candles that one answer holds."""
        stated = self._client.feature_value(market, "fetchOHLCV", "limit", None)
        return int(stated) if stated else PAGE_ROWS

    def candles(self, market: str, interval: Interval, *, since_ms: int, rows: int) -> list[Candle]:
        """One page of candles from an opening on, sorted; fewer than `rows`, or none, where the exchange has no more.

        Raises:
            DownloadFailedError: refused, or no usable answer in as many attempts as patience has.
        """
        length_ms = BAR_LENGTHS[interval] // MILLISECOND

        def ask() -> list[Candle]:
            answer = self._client.fetch_ohlcv(market, interval, since_ms, rows)
            return _checked(answer, length_ms)

        return self._patiently(f"candles of {market}", ask)

    def _patiently(self, what: str, ask: Callable[[], Answer]) -> Answer:
        """Ask until there is an answer: passing failures are waited out, others and too many of them raise."""
        patience = self._patience
        for attempt in range(1, patience.attempts + 1):
            try:
                answer = ask()
                if self._client.last_json_response is None:
                    # `ccxt` takes text that is no JSON for an answer, in which it finds no candle
                    raise _MalformedAnswerError("not JSON, or half of it")
                return answer
            except self._ccxt.OperationFailed as failure:  # the network, the limit, a server that is down
                error: Exception = failure
            except self._ccxt.BaseError as failure:
                raise DownloadFailedError(f"{self.name} refuses {what}: {_short(failure)}") from failure
            except _MalformedAnswerError as failure:
                error = failure
            except (TypeError, KeyError, IndexError, AttributeError) as failure:
                # `ccxt` takes answers apart without looking whether they are whole
                error = _MalformedAnswerError(_short(failure))
            wait = max(min(patience.first_wait_s * 2.0 ** (attempt - 1), patience.most_wait_s), self._asked_wait(error))
            if wait > patience.longest_ban_s:
                raise DownloadFailedError(
                    f"{self.name} asks to be left alone for {wait:.0f} s, more than {patience.longest_ban_s:.0f}: run the "
                    "same command again after that; complete days are kept"
                ) from error
            if attempt == patience.attempts:
                raise DownloadFailedError(
                    f"{self.name} did not give {what} in {attempt} attempts, last: {_short(error)}; run the same command "
                    "again later, complete days are kept"
                ) from error
            self._report(f"{self.name}: {_short(error)}; attempt {attempt + 1} of {patience.attempts} in {wait:g} s")
            time.sleep(wait)
        raise AssertionError("patience has at least one attempt")

    def _asked_wait(self, error: Exception) -> float:
        """Seconds of `Retry-After` where the exchange limits us; 0 without."""
        limits = (self._ccxt.DDoSProtection, self._ccxt.RateLimitExceeded, self._ccxt.ExchangeNotAvailable)
        headers = self._client.last_response_headers
        if not isinstance(error, limits) or not headers:
            return 0.0
        stated = str({key.lower(): value for key, value in headers.items()}.get("retry-after", ""))
        return float(stated) if re.fullmatch(r"\d+(\.\d+)?", stated) else 0.0


def open_exchange(
    name: str, *, url: str | None, interval: Interval, patience: Patience, report: Callable[[str], None]
) -> Exchange:
    """Open an exchange for questions that need no key; nothing is asked yet.

    Args:
        name: as `ccxt` spells it, such as binance.
        url: scheme and host, or host and port, that take the place of the exchange's own in every address: a mirror, a proxy, a
            server for tests. See `host_of`.
        interval: of the candles that will be asked for.
        patience: with what goes wrong.
        report: gets a line for every failed attempt.
    Raises:
        ConfigurationError: `ccxt` is not installed, has no such exchange, the exchange has no such candles, or the URL is not
            scheme and host.
    """
    try:
        ccxt = importlib.import_module("ccxt")  # by name: its types would take a type checker minutes
    except ImportError as error:
        raise ConfigurationError(
            "--exchange needs ccxt, which is not installed: pip install 'tft-pipeline[exchanges]', or bring a file with "
            "--source, or make bars up with --synthetic SEED"
        ) from error
    if name not in ccxt.exchanges:
        near = difflib.get_close_matches(name, ccxt.exchanges, 5, 0.5)
        listed = f"near are {', '.join(near)}" if near else f"it has {len(ccxt.exchanges)}, such as binance and kraken"
        raise ConfigurationError(f"--exchange {name!r} is none of ccxt's; {listed}")
    client = getattr(ccxt, name)(
        {
            "enableRateLimit": True,
            "enableLastJsonResponse": True,
            "timeout": int(patience.timeout_s * 1000),
            "options": {"defaultType": "spot", "fetchMarkets": {"types": ["spot"]}},
        }
    )
    if client.has.get("fetchOHLCV") is not True or interval not in (client.timeframes or {}):
        raise ConfigurationError(
            f"--exchange {name} has no candles of {interval}; it has {', '.join(client.timeframes or {}) or 'none'}: take "
            "another interval or exchange"
        )
    if url is not None:
        host = host_of(url)  # first: it refuses what cannot be split
        client.urls["api"] = _at(client.urls["api"], f"{urlsplit(url).scheme}://{host}")
    return Exchange(name, client, ccxt, patience, report)


def host_of(url: str) -> str:
    """Host of a URL, in small letters, and its port where it names one: what a folder may be named after.

    Raises:
        ConfigurationError: the URL is not http or https and a host; or it has a user or a password, which would be written to
            disk and printed.
    """
    if "@" in url:
        raise ConfigurationError(
            "--exchange-url names a user or a password, which would be written to disk and to messages: give scheme and host "
            "alone, such as https://mirror.example"
        )
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        if ":" in host:
            host = f"[{ipaddress.IPv6Address(host)}]"
        elif not _HOST.fullmatch(host):
            raise ValueError("no host name")
        if parts.scheme not in ("http", "https") or parts.path not in ("", "/") or set(url) & set("?#\\ \t\r\n"):
            raise ValueError("more or less than scheme and host")
    except ValueError as error:  # what the standard library refuses, too: half an address, a port beyond 65535
        raise ConfigurationError(
            f"--exchange-url {re.split('[?#]', url)[0]!r} is not scheme and host, such as https://mirror.example"
        ) from error
    return host if port is None else f"{host}:{port}"


def _at(addresses: Any, origin: str) -> Any:
    """Addresses, nested as they come, at another scheme and host."""
    if isinstance(addresses, dict):
        return {key: _at(value, origin) for key, value in addresses.items()}
    return _ADDRESS.sub(lambda _: origin, addresses) if isinstance(addresses, str) else addresses


def _checked(answer: Any, length_ms: int) -> list[Candle]:
    """Rows of an answer, if all are candles of the interval.

    Raises:
        _MalformedAnswerError: something else.
    """
    if not isinstance(answer, list):
        raise _MalformedAnswerError(f"{type(answer).__name__} in place of a list of candles")
    candles: list[Candle] = []
    for row in answer:
        numbers = [value for value in row[:6] if isinstance(value, int | float) and math.isfinite(value)]
        if len(numbers) != 6:
            raise _MalformedAnswerError(f"{row!r} is not an opening, four prices and a volume")
        if numbers[0] % length_ms:
            raise _MalformedAnswerError(
                f"a candle opens at {numbers[0]} ms, which is no multiple of its length {length_ms}"
            )
        candles.append((int(numbers[0]), *(float(value) for value in numbers[1:])))  # type: ignore[arg-type]
    return sorted(candles)


def _short(error: BaseException) -> str:
    """A failure in a line: its kind and the beginning of what it says, addresses without user, password and query."""
    kind = "unreadable answer" if isinstance(error, _MalformedAnswerError) else type(error).__name__
    text = _PRIVATE.sub("", " ".join(str(error).split()))
    return f"{kind}: {text[:200]}" if text else kind
