"""Rows of tables: how files are cut, read, typed and handed to `run()`.

Workers load this package by its path into the interpreter of a step's environment, and the engine imports it
to cut the files; so it uses the standard library alone, imports pandas and pyarrow only where rows become a
DataFrame, and nothing of batchscore outside of itself.
"""
