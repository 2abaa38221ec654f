"""The bit-flipping network of the QCore paper, as a baseline.

A convolutional network per class of layers predicts from a layer's input on the coreset by how much, -1, 0 or +1, each
integer weight should move. It is trained on the server on steps of a calibration by back-propagation; the device only
runs it forward. The paper's text leaves much open and its released code does not train the network, so this is the
paper's method as described, with what it needs to work. What departs from the description, and why:

- Calibration trains latent weights through the rounding, and starts from the deployed weights plus noise: in the
  released code no weight learns, and the deployed weights fit the coreset, so that no code would change.
- A calibration step is a few optimizer steps: whether one code crosses a rounding edge in a single one is chance.
- Targets are brought to unit variance and outputs get a gain before they are rounded: under a squared error, with most
  targets 0, all outputs would round to 0. The gain lets a fixed share of a layer's weights move in a pass, see
  `network.SHARE`: one that is learned gives ever more moves once samples of the stream are in the coreset.
- Examples are input channels of the network, so what it learns of an example is the error signal of the example's
  class. A sample that enters the coreset therefore takes the place of one of its class; misses decide which.
- Batch norm is folded into the weights, and no statistics are re-estimated: that is the baseline `bn`.
- Coreset size, input length and channels are fixed by the training, as in the paper.

References
----------
Campos, Yang, Kieu, Zhang, Guo, Jensen, "QCore: Data-Efficient, On-Device Continual Calibration for Quantized Models",
PVLDB 17(11), 2024.
"""

from calibrant.bench.qcore_paper.cache import load_or_learn
from calibrant.bench.qcore_paper.calibration import Settings, learn
from calibrant.bench.qcore_paper.device import PASSES, BitFlipping
from calibrant.bench.qcore_paper.network import SHARE, BitFlipNetwork, Form, covered

__all__ = ["PASSES", "SHARE", "BitFlipNetwork", "BitFlipping", "Form", "Settings", "covered", "learn", "load_or_learn"]
