"""TensorFlow's own reader alone: every variable of a checkpoint, one after the other.

python tensorflow_reader.py PREFIX
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf

reader = tf.train.load_checkpoint(sys.argv[1])
for name in reader.get_variable_to_shape_map():
    reader.get_tensor(name)
