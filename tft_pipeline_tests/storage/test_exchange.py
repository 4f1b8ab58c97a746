"""Asking an exchange on loopback for candles, while it does everything wrong that exchanges do."""

import sys
import time
from collections.abc import Iterator

import pytest

pytest.importorskip("ccxt", reason="the extra [exchanges] is not installed")

from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.storage import exchange as module
from tft_pipeline.storage.exchange import DownloadFailedError, Exchange, Patience, host_of, open_exchange
from tft_pipeline_tests import exchange_server as faults
from tft_pipeline_tests.exchange_server import MINUTE_MS, ExchangeServer, at_ms, candle, serving

HASTE = Patience(attempts=4, first_wait_s=0.01, most_wait_s=0.03, longest_ban_s=2.0)
SINCE = at_ms("2025-03-03T00:00")
LISTED = {"BTCUSDT": "2025-01-01T00:00", "ETHUSDT": "2025-01-01T00:00", "ETCUSDT": "2025-01-01T00:00"}


@pytest.fixture(scope="module")
def server() -> Iterator[ExchangeServer]:
    with serving(ExchangeServer("2025-03-04T02:10:30", LISTED)) as running:
        yield running


@pytest.fixture(scope="module")
def opened(server: ExchangeServer) -> tuple[Exchange, list[str]]:
    lines: list[str] = []
    found = open_exchange("binance", url=server.url, interval="1m", patience=HASTE, report=lines.append)
    found.market("BTCUSDT")
    return found, lines


@pytest.fixture(autouse=True)
def honest(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "server" in request.fixturenames:
        request.getfixturevalue("server").faults.clear()
        request.getfixturevalue("opened")[1].clear()


def page(opened: tuple[Exchange, list[str]], rows: int = 5) -> list[tuple[float, ...]]:
    return opened[0].candles("BTC/USDT", "1m", since_ms=SINCE, rows=rows)


def expected(n: int) -> list[tuple[float, ...]]:
    return [tuple(float(value) for value in candle(SINCE + k * MINUTE_MS)[:6]) for k in range(n)]


def test_a_page_is_the_candles_from_an_opening_on(opened):
    assert page(opened, 5) == expected(5)
    assert len(page(opened, 1000)) == 1000
    assert opened[0].page_rows("BTC/USDT", "1m") == 1000
    assert opened[0].now_ms() == at_ms("2025-03-04T02:10:30")


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (faults.limited("0.05"), "Too many requests"),
        (faults.broken, "500"),
        (faults.dropped, "NetworkError"),
        (faults.torn, "NetworkError"),
        (faults.half, "not JSON, or half of it"),
        (faults.nonsense, "is not an opening, four prices and a volume"),
    ],
)
def test_a_passing_failure_is_said_and_asked_again(server, opened, fault, words):
    server.faults.extend([fault, fault])
    assert page(opened) == expected(5)
    assert len(opened[1]) == 2
    assert words in opened[1][0]
    assert "attempt 2 of 4 in" in opened[1][0]
    assert "attempt 3 of 4 in" in opened[1][1]


def test_an_answer_that_does_not_come_in_time_is_asked_for_again(server, opened):
    lines: list[str] = []
    hurried = Patience(attempts=20, first_wait_s=0.01, most_wait_s=0.01, timeout_s=0.5)
    found = open_exchange("binance", url=server.url, interval="1m", patience=hurried, report=lines.append)
    found.market("BTCUSDT")
    server.faults.append(faults.slow)
    assert found.candles("BTC/USDT", "1m", since_ms=SINCE, rows=5) == expected(5)
    assert "RequestTimeout" in lines[-1]


def test_waits_double_up_to_their_limit(server, opened):
    server.faults.extend([faults.broken] * 3)
    page(opened)
    assert [line.rsplit(" in ", 1)[1] for line in opened[1]] == ["0.01 s", "0.02 s", "0.03 s"]


def test_an_exchange_that_says_how_long_to_wait_is_obeyed(server, opened):
    server.faults.append(faults.limited("0.4"))
    begun = time.monotonic()
    assert page(opened) == expected(5)
    assert time.monotonic() - begun >= 0.4
    assert opened[1][0].endswith("in 0.4 s")


def test_a_ban_longer_than_patience_ends_the_download_with_what_to_do(server, opened):
    server.faults.append(faults.limited("3600"))
    with pytest.raises(DownloadFailedError, match=r"left alone for 3600 s, more than 2: run the same command again"):
        page(opened)


def test_an_older_wait_is_not_asked_for_by_another_failure(server, opened):
    server.faults.extend([faults.limited("0.3"), faults.dropped])
    page(opened)
    assert [line.rsplit(" in ", 1)[1] for line in opened[1]] == ["0.3 s", "0.02 s"]


def test_attempts_are_bounded_and_the_last_failure_is_told(server, opened):
    server.faults.extend([faults.broken] * 3 + [faults.half])
    with pytest.raises(
        DownloadFailedError, match=r"did not give candles of BTC/USDT in 4 attempts, last: unreadable answer"
    ):
        page(opened)
    assert not server.faults


def test_a_lasting_refusal_is_not_asked_again(server, opened):
    server.faults.extend([faults.refusing, None])
    with pytest.raises(DownloadFailedError, match=r"binance refuses candles of BTC/USDT: BadSymbol: .*Invalid symbol"):
        page(opened)
    assert len(server.faults) == 1


def test_candles_between_the_minutes_are_refused(server, opened):
    def shifted(handler: object, rows: faults.Rows) -> None:
        faults.send(handler, [[row[0] + 1500, *row[1:]] for row in rows])  # type: ignore[arg-type]

    server.faults.extend([shifted] * 4)
    with pytest.raises(DownloadFailedError, match="no multiple of its length 60000"):
        page(opened)


def test_a_market_is_found_by_its_id_and_by_its_name(opened):
    assert opened[0].market("BTCUSDT") == ("BTC/USDT", "BTCUSDT")
    assert opened[0].market("ETH/USDT") == ("ETH/USDT", "ETHUSDT")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ETHUSD", ["'ETHUSD' is no market of binance", "near are ETHUSDT"]),
        ("btcusdt", ["near are BTCUSDT"]),
        ("WHATEVER/XYZ", ["it has 3, none of them"]),
        ("", ["'' is no market"]),
    ],
)
def test_a_market_that_is_not_there_is_refused_with_near_names(opened, name, words):
    with pytest.raises(ConfigurationError) as caught:
        opened[0].market(name)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_half_a_list_of_markets_is_not_taken_for_all_of_them():
    server = ExchangeServer("2025-03-04T00:00", LISTED)
    answered: list[str] = []
    plain = server.answer

    def half_at_first(handler: object) -> None:
        path = handler.path  # type: ignore[attr-defined]
        answered.append(path)
        if path.startswith("/api/v3/exchangeInfo") and len(answered) == 1:
            faults.send(handler, b'{"symbols": [{"symb')  # type: ignore[arg-type]
        else:
            plain(handler)  # type: ignore[arg-type]

    server.answer = half_at_first  # type: ignore[method-assign]
    with serving(server):
        found = open_exchange("binance", url=server.url, interval="1m", patience=HASTE, report=lambda _: None)
        assert found.market("BTCUSDT") == ("BTC/USDT", "BTCUSDT")
    assert len(answered) == 2


def open_with(**changes: object) -> Exchange:
    given = {"name": "binance", "url": None, "interval": "1m", "patience": HASTE, "report": lambda _: None} | changes
    return open_exchange(given.pop("name"), **given)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "binanze"}, r"--exchange 'binanze' is none of ccxt's; near are .*binance"),
        ({"name": "../x"}, r"none of ccxt's; it has \d+"),
        ({"name": "Exchange"}, r"none of ccxt's"),
        ({"name": "kraken", "interval": "2m"}, r"no candles of 2m; it has 1m, 5m"),
        ({"url": "127.0.0.1:80"}, r"is not scheme and host"),
        ({"url": "ftp://127.0.0.1"}, r"is not scheme and host"),
        ({"url": "http://127.0.0.1/api"}, r"is not scheme and host"),
        ({"url": ""}, r"--exchange-url '' is not scheme and host"),
        *(
            ({"url": url}, r"--exchange-url '.*' is not scheme and host")
            for url in (
                "https://a\\1b",
                "https://a\\g<x>",
                "https://a b",
                "https://[::1",
                "https://[::z]",
                "https://a:99999",
                "https://a:x",
                "https://h?",
                "https://h#",
                "https://",
                "https://-h",
                f"https://{'h' * 300}",
                "//h",
            )
        ),
    ],
)
def test_an_exchange_that_cannot_be_opened_is_refused_by_option(changes, words):
    with pytest.raises(ConfigurationError, match=words):
        open_with(**changes)


@pytest.mark.parametrize(
    "url", ["http://user:S3CRET@host", "http://S3CRET@host:80", "https://x?a=S3CRET", "https://x#S3CRET"]
)
def test_a_secret_in_the_address_is_refused_and_not_repeated(url):
    with pytest.raises(ConfigurationError, match="--exchange-url") as caught:
        open_with(url=url)
    assert "S3CRET" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://mirror.example", "mirror.example"),
        ("https://Mirror.Example/", "mirror.example"),
        ("http://127.0.0.1:8080", "127.0.0.1:8080"),
        ("http://[::1]:80", "[::1]:80"),
        ("http://my_host", "my_host"),
    ],
)
def test_a_host_is_named_by_itself_and_its_port(url, host):
    assert host_of(url) == host
    opened = open_with(url=url)
    assert set(addresses(opened._client.urls["api"])) == {url.partition(":")[0] + "://" + host}


def addresses(nested: object) -> list[str]:
    """Scheme and host of all addresses."""
    if isinstance(nested, dict):
        return [origin for value in nested.values() for origin in addresses(value)]
    return ["/".join(str(nested).split("/")[:3])]


def test_what_an_exchange_says_is_repeated_without_users_and_queries():
    told = module._short(RuntimeError("binance GET https://me:S3CRET@h.example/api?key=S3CRET&b=1 failed? yes"))
    assert told == "RuntimeError: binance GET https://h.example/api failed? yes"


def test_a_market_that_shares_its_id_with_another_has_a_name_of_its_own(opened):
    client = opened[0]._client
    spot = client.markets["BTC/USDT"]
    swap = {**spot, "symbol": "BTC/USDT:USDT", "spot": False, "swap": True}
    lone = {**swap, "symbol": "ADA/USDT:USDT", "id": "ADAUSDT"}
    before = client.markets, client.markets_by_id
    client.markets = {**client.markets, "BTC/USDT:USDT": swap, "ADA/USDT:USDT": lone}
    client.markets_by_id = {**client.markets_by_id, "BTCUSDT": [spot, swap], "ADAUSDT": [lone]}
    try:
        found = {name: opened[0].market(name) for name in ("BTCUSDT", *client.markets)}
        assert found["BTCUSDT"] == found["BTC/USDT"] == ("BTC/USDT", "BTCUSDT")
        assert found["BTC/USDT:USDT"] == ("BTC/USDT:USDT", "BTC/USDT:USDT")
        assert found["ADA/USDT:USDT"] == opened[0].market("ADAUSDT") == ("ADA/USDT:USDT", "ADAUSDT")
        for market, name in found.values():
            assert opened[0].market(name) == (market, name), "a name that was given is found again"
    finally:
        client.markets, client.markets_by_id = before


def test_without_ccxt_the_extra_and_the_other_sources_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ccxt", None)
    with pytest.raises(ConfigurationError) as caught:
        open_with()
    for word in ("ccxt, which is not installed", "tft-pipeline[exchanges]", "--source", "--synthetic"):
        assert word in str(caught.value)


def test_every_address_of_the_exchange_is_replaced_by_the_one_that_was_given():
    replaced = module._at(
        {"api": {"a": "https://api.x.com/v3", "b": ["keep"], "c": "https://{hostname}"}}, "http://h:1"
    )
    assert replaced == {"api": {"a": "http://h:1/v3", "b": ["keep"], "c": "http://h:1"}}


def test_the_limit_of_the_exchange_is_kept(opened):
    assert opened[0]._client.enableRateLimit is True
    assert opened[0]._client.rateLimit > 0
