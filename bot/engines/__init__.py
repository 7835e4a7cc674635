"""The engines: what fetches from sources and delivers to destinations."""
