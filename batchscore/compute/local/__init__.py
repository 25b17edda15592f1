"""The local compute: a pipeline's steps as processes of this machine, with Azure ML's semantics."""
