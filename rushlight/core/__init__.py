"""The ground that every other room stands on: dtypes, shapes, thread state, user lines."""
