"""The openvino engine."""
