"""The GraphQL door: a schema over the services, and what stands before it.

The library takes 25 MB, so nothing here is imported before it is asked for.
"""
