"""Floats become integers: observed ranges, annotated graphs, fake-quantized training, the integer graph."""

from calibrant.quantize.fake import FakeQuantNet
from calibrant.quantize.finetune import finetune
from calibrant.quantize.observers import observe_ranges, percentile
from calibrant.quantize.rewrite import to_integer
from calibrant.quantize.schemes import annotate, weight_scales

__all__ = ["FakeQuantNet", "annotate", "finetune", "observe_ranges", "percentile", "to_integer", "weight_scales"]
