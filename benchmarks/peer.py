"""The conversion that transformers 4 came with, driven as its old script did; runs in an environment of its own.

python peer.py PREFIX OUT HIDDEN EMBEDDING LAYERS
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from transformers import ElectraConfig, ElectraForPreTraining
from transformers.models.electra.modeling_electra import load_tf_weights_in_electra

prefix, out = sys.argv[1:3]
hidden, embedding, layers = map(int, sys.argv[3:])
config = ElectraConfig(
    hidden_size=hidden,
    embedding_size=embedding,
    num_hidden_layers=layers,
    num_attention_heads=max(1, hidden // 64),
    intermediate_size=4 * hidden,
)
model = ElectraForPreTraining(config)
load_tf_weights_in_electra(model, config, prefix, discriminator_or_generator="discriminator")
model.save_pretrained(out)
