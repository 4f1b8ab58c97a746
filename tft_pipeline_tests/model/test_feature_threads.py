import threading

import pytest

from tft_pipeline.model.feature_threads import feature_threads


def test_results_keep_the_order_of_the_features_and_one_worker_is_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFT_WORKERS", "1")
    seen = set()

    def twice(name: str) -> str:
        seen.add(threading.get_ident())
        return name * 2

    with feature_threads() as each:
        assert list(each(twice, "cab")) == ["cc", "aa", "bb"]
    assert len(seen) == 1


def test_what_goes_wrong_with_a_feature_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFT_WORKERS", "2")
    with feature_threads() as each, pytest.raises(ValueError, match="could not convert"):
        list(each(float, ["1", "x"]))
