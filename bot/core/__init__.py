"""The public surface that other programs and plugins import."""
