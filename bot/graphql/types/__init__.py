"""The object types, an area a file: each makes itself of what a service gives."""
