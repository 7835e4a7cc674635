"""Where tasks, receipts and tokens last."""
