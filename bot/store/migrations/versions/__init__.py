"""The revisions of the schema. They are only ever added: a released one never changes."""
