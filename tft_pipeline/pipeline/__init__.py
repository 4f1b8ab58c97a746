"""When things run: assets, partitions, IO managers, jobs. The only layer, with `definitions`, that imports Dagster."""

import warnings

import dagster as dg

# Data versions, observable sources and automation conditions are marked beta in the pinned Dagster; they are used on
# purpose, and the marker would be printed for every asset of every process.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
