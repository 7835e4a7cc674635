"""mltb: takes a link, fetches it, processes it and delivers it, verified."""

__version__ = "0.1.0"
