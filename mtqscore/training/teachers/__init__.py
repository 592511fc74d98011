"""Who may answer for listeners: runs, ONNX files of any maker, clean references; and what they said, kept."""
