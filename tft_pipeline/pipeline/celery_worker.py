"""The app of a Celery worker: `celery -A tft_pipeline.pipeline.celery_worker worker`.

Broker, result store and options are those of the instance's run launcher, so that `dagster.yaml` is the one place that names
them. Loading this module opens the instance's database: a worker that cannot reach it does not start. It also records
the runs as ended that a worker here left behind when it was killed.
"""

import logging

import dagster as dg
from celery import Celery
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.tasks import create_execute_job_task, create_resume_job_task

from tft_pipeline.pipeline.reaping import reap


def worker_app() -> Celery:
    """The app that executes runs of the instance in `DAGSTER_HOME`.

    Raises:
        ValueError: the instance starts runs in another way; a worker would wait for ever.
    """
    with dg.DagsterInstance.get() as instance:
        launcher = instance.run_launcher
        if not isinstance(launcher, CeleryRunLauncher):
            raise ValueError(
                f"the dagster.yaml in {instance.root_directory} starts runs with {type(launcher).__name__}: a worker would "
                "never be given one; put deploy/dagster.yaml there"
            )
        made = launcher.celery
        for line in reap(instance):
            logging.getLogger(__name__).warning("%s", line)
    create_execute_job_task(made)
    create_resume_job_task(made)
    return made


app = worker_app()
