"""Read parts of a share: file objects and the cache behind them."""
