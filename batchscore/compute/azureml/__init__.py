"""Azure Machine Learning as a compute. Light to import: the SDK is loaded when a job is submitted or asked for."""
