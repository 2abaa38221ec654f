"""The server's compositions, a module each: a model and its training data go in, an artifact comes out.

`torch_model.prepare` is also `calibrant.prepare`. Nothing is imported here, for `integer_model` does without torch.
"""
