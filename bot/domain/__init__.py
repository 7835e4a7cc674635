"""What a task is and how it may move; no input or output happens here."""
