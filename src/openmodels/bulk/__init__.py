"""Bulk inference, reached by `Model.map`: many prompts, in order and resumable.

`iterators` drives a `BulkRun` for a sync or an async caller. `run` decides which item is next and what ends
the run. `journal` is the file from which a run resumes. `items` holds the results.
"""
