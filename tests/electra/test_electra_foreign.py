"""Every checkpoint of another model is refused by that model's name, before anything of it is read as ELECTRA's."""

from __future__ import annotations

import pytest
from conftest import all_of, other
from made_up import SETUP_NAMES, H, shapes_of, with_slots

from electra_convert import inspect
from electra_convert.electra.foreign import FOREIGN, refuse_foreign
from electra_convert.electra.layout import find_layout
from electra_convert.errors import LayoutError
from electra_convert.tf1.checkpoint import open_checkpoint

OBJECT_GRAPH = "this is a TensorFlow 2 object graph"
NOTHING = "the checkpoint holds no ELECTRA"

# What the README of checkpoints/others says of each; the one ELECTRA there is not in it.
MODELS = {
    "albert_base_index": "this is ALBERT",
    "albert_tiny_zh": "this is ALBERT",
    "bert_base_chinese_index": "this is BERT",
    "bert_covbert_snappy_index": "this is BERT",
    "bert_lfs_pointer_data": "this is BERT",
    "bert_tf2_object_graph_index": OBJECT_GRAPH,
    "bert_tiny_keras_bert": "this is BERT",
    "estimator_linear_2shards": NOTHING,
    "gpt2_toy": "this is GPT-2",
    "many_scalars_226": NOTHING,
    "savedmodel_snappy_half_plus_two": NOTHING,
    "savedmodel_tf2_object_graph": OBJECT_GRAPH,
    "serving_v1_half_plus_two": NOTHING,
    "t2t_transformer_2shards": "this is a Tensor2Tensor model",
    "t5_bf16_index": "this is T5",
    "v1_char_rnn_2016": NOTHING,
    "v1_contrib_learn_shard": NOTHING,
    "v1_traffic_sign_2017": NOTHING,
    "xlnet_toy_pretrain": "this is XLNet",
}

# Their `checkpoint` files name a step that is not there.
PREFIXES = {"bert_lfs_pointer_data": "model.ckpt-0", "estimator_linear_2shards": "model.ckpt-0"}


@pytest.mark.parametrize("name", [name for name in all_of("others") if name != "electra_small_released"])
def test_every_foreign_checkpoint_is_refused_by_its_name(name: str) -> None:
    """From its names alone: most of them are an index without data."""
    path = other(name) / PREFIXES.get(name, "")
    with open_checkpoint(path, data="optional") as checkpoint, pytest.raises(LayoutError) as refusal:
        refuse_foreign(checkpoint.variables)
    assert refusal.value.message.startswith(MODELS[name])
    assert refusal.value.exit_code == 3
    assert refusal.value.facts["expected"] == "variables below the scope `electra`"


@pytest.mark.parametrize("name", ["bert_tiny_keras_bert", "savedmodel_tf2_object_graph"])
def test_inspect_refuses_by_that_name_too(name: str) -> None:
    with pytest.raises(LayoutError, match=MODELS[name]):
        inspect(other(name))


def test_the_released_electra_is_no_foreign_model() -> None:
    with open_checkpoint(other("electra_small_released"), data="optional") as checkpoint:
        refuse_foreign(checkpoint.variables)


@pytest.mark.parametrize("setup", SETUP_NAMES)
def test_no_pattern_matches_a_variable_of_electra(setup: str) -> None:
    refuse_foreign(with_slots(shapes_of(setup)))


def test_nvidias_electra_has_a_way_out() -> None:
    names = [
        "model/discriminator/electra/encoder/layer/0/attention/self_attention/query/kernel/.ATTRIBUTES/VARIABLE_VALUE",
        "model/generator/generator_lm_head/bias/.ATTRIBUTES/VARIABLE_VALUE",
        "step/.ATTRIBUTES/VARIABLE_VALUE",
        "_CHECKPOINTABLE_OBJECT_GRAPH",
    ]
    with pytest.raises(LayoutError, match="NVIDIA's ELECTRA") as refusal:
        refuse_foreign(names)
    assert "postprocess_pretrained_ckpt.py" in str(refusal.value.hint)


def test_an_object_graph_that_calls_its_model_electra_is_an_object_graph() -> None:
    names = [f"{name}/.ATTRIBUTES/VARIABLE_VALUE" for name in shapes_of("separate")]
    with pytest.raises(LayoutError, match=OBJECT_GRAPH):
        refuse_foreign([*names, "_CHECKPOINTABLE_OBJECT_GRAPH"])


def test_convbert_is_named_although_its_scopes_are_electras() -> None:
    names = {
        **shapes_of("separate"),
        "electra/encoder/layer_0/attention/self/conv_attn_key/depthwise_kernel": (9, H, 1),
        "electra/encoder/layer_0/attention/self/conv_attn_kernel/kernel": (H, 9),
    }
    with pytest.raises(LayoutError, match="this is ConvBERT") as refusal:
        find_layout(with_slots(names))
    assert refusal.value.facts["found"] == sorted(name for name in names if "conv_" in name)


def test_another_unknown_variable_of_the_attention_makes_no_convbert() -> None:
    layout = find_layout({**shapes_of("separate"), "electra/encoder/layer_0/attention/self/scale": ()})
    assert layout.names_of("unknown") == ["electra/encoder/layer_0/attention/self/scale"]


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("bert/encoder/layer_0/attention/self/query/kernel", "BERT"),
        ("cls/seq_relationship/output_weights", "BERT"),
        ("bert/encoder/embedding_hidden_mapping_in/kernel", "ALBERT"),
        ("bert/encoder/transformer/group_0/inner_group_0/ffn_1/kernel", "ALBERT"),
        ("bert/embeddings/word_embeddings_2", "ALBERT"),
        ("model/transformer/layer_0/ff/kernel", "XLNet"),
        ("model/h0/attn/c_attn/w", "GPT-2"),
        ("decoder/block_000/layer_000/SelfAttention/k", "T5"),
        ("transformer/symbol_modality_33708_512/shared/weights_0", "Tensor2Tensor"),
    ],
)
def test_a_name_tells_the_model(name: str, model: str) -> None:
    with pytest.raises(LayoutError, match=f"this is (a )?{model}.*not an ELECTRA"):
        refuse_foreign([name, "global_step"])


def test_a_bert_beside_an_electra_is_left_to_the_list_of_unknown_variables() -> None:
    layout = find_layout({**shapes_of("separate"), "bert/pooler/dense/kernel": (H, H)})
    assert layout.names_of("unknown") == ["bert/pooler/dense/kernel"]


def test_every_foreign_model_says_what_to_do_or_is_a_family_without_a_way() -> None:
    assert [foreign.model for foreign in FOREIGN if foreign.hint is None] == ["a Tensor2Tensor model"]
