"""What a script or a notebook calls: the names of `from tft_pipeline import ...`, made of the layers below.

Nothing here writes a file, starts a run or reads the clock. Not here: the command line (`cli`), the graph (`definitions`).
"""
