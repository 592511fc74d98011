"""Export of trained networks as ONNX files."""
