#!/bin/sh
# Puts the settings of many machines where every process looks for them, then becomes the command.
set -eu
mkdir -p "$DAGSTER_HOME"
ln -sfn /opt/tft/deploy/dagster.yaml "$DAGSTER_HOME/dagster.yaml"
exec "$@"
