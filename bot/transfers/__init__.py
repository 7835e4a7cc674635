"""How a task gets done: its plan, its place in the queue, its stages and its steps."""
