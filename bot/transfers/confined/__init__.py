"""Work on hostile input, for a child process: the standard library and ``bot.errors`` only."""
