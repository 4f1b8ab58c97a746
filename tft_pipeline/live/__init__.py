"""What runs beside a market: a released bundle asked bar by bar, strategies over it, the kill switch. Not here: Dagster, training."""
