"""Small programs that the benchmarks start as `python -m benchmarks.programs.NAME`."""
