"""Side-by-side measurements of the retrieval core and its peers. `run.py` is the command."""
