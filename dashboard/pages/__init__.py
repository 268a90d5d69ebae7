"""The pages: each has a `layout` and a `register` that adds its callbacks to an app."""
