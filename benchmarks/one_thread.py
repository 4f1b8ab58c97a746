"""One thread for every numeric library. Import it before any of them: they read the variables when they are loaded."""

from tft_pipeline.model.processes import limit_threads

limit_threads()
