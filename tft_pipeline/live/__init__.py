"""What runs beside a market: a release asked bar by bar, strategies, the kill switch. Not here: Dagster, training."""
