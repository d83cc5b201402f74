"""Detectors of torchvision and Hugging Face as networks with a dense response, losses of their own and detections."""
