"""Real servers on loopback, for tests and benchmarks to talk to.

Each is a context manager that takes a port from the kernel, runs in a thread or a child process of
its own and counts what it served. Import from the modules; importing starts nothing.
"""
