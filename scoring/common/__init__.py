"""What entry scripts share: receipts, whole output files, ONNX sessions."""
