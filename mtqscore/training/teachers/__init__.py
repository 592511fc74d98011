"""Teachers (runs, ONNX files of any maker, clean references) and the pseudo-labels that they give."""
