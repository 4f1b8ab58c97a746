import pytest

from tft_pipeline.model.tuning_storage import StudyStorageError, opened, silent_trials
from tft_pipeline_tests.scripted_fits import study_in


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("mysql://tuner:hush@127.0.0.1/x", "is a mysql database; workers can share postgresql or sqlite only"),
        ("tuner:hush", "is not an SQLAlchemy URL"),
        ("postgresql://tuner@host:hush/x", "is not an SQLAlchemy URL"),
        ("postgresql+nodriver://127.0.0.1/x?password=hush", "needs a driver that is not installed"),
        ("mysql://127.0.0.1/x?password=hush", "is a mysql database"),
        ("postgresql+nodriver://tuner:hush@127.0.0.1/x", "needs a driver that is not installed"),
    ],
)
def test_a_storage_that_cannot_be_used_is_refused_without_its_password(tmp_path, url, reason):
    study = study_in(tmp_path, url=url)
    with pytest.raises(StudyStorageError, match=reason) as caught, opened(study):
        pass
    assert "hush" not in str(caught.value)
    assert "hush" not in repr(study)


def test_the_url_is_shown_with_its_password_starred_out(tmp_path):
    study = study_in(tmp_path, url="postgresql+psycopg2://tuner:hush@host:5433/tuning")
    assert study.shown_url == "postgresql+psycopg2://tuner:***@host:5433/tuning"
    query = study_in(tmp_path, url="postgresql+psycopg2://host/tuning?user=tuner&password=hush")
    assert query.shown_url == "postgresql+psycopg2://host/tuning?..."
    assert study_in(tmp_path).shown_url == f"sqlite:///{tmp_path / 'study.db'}"


def test_a_running_trial_is_silent_without_a_heartbeat_and_after_too_long_a_pause(tmp_path):
    with opened(study_in(tmp_path)) as storage:
        study_id = storage.create_new_study(["maximize"], "study")
        beating, never = (storage.create_new_trial(study_id) for _ in range(2))
        storage.record_heartbeat(beating)
        assert silent_trials(storage, "study", 60.0) == {1}
        assert silent_trials(storage, "study", -1.0) == {0, 1}
        storage.record_heartbeat(never)
        assert silent_trials(storage, "study", 60.0) == set()
