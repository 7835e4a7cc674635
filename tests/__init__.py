"""The tests. A package, so that `tests.servers` is one name for pytest, mypy and the benchmarks."""
