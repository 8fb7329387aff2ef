"""Detectors of the transformers library: small models of the real kinds, saved, found, loaded and run end to end."""

import json

import numpy as np
import pytest
import torch
import transformers as hf

from annotator import controls, detection
from annotator.networks import loading, seg, vitpose
from controlnet_core.domain.document import MISSING
from controlnet_core.domain.errors import InputError, ModelError

SMALL_VIT = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 32}


@pytest.fixture(scope="module", autouse=True)
def quiet():
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with torch.inference_mode():
        yield


def saved(model, folder):
    model.eval().save_pretrained(folder)
    return model


def photo(height=96, width=128):
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // width, y * 255 // height, ((x // 16 + y // 16) % 2) * 255], 2).astype(np.uint8)


def run(key, name, picture, **given):
    control = controls()[key]
    given = {"resolution": 128} | given
    return detection.detect(
        control, detection.detector(control, name), picture, given, picture.shape[1], picture.shape[0]
    )


def test_dpt_hybrid_at_any_size(models):
    backbone = {"global_padding": "same", "layer_type": "bottleneck", "depths": [3, 4, 9], "hidden_sizes": [32, 64, 96],
                "embedding_dynamic_padding": True, "embedding_size": 16, "num_groups": 4,
                "out_features": ["stage1", "stage2", "stage3"]}  # fmt: skip
    config = hf.DPTConfig(
        **SMALL_VIT, is_hybrid=True, backbone_config=hf.BitConfig(**backbone), backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[32, 64, 32, 32], fusion_hidden_size=16, image_size=384, patch_size=16,
        readout_type="project", backbone_featmap_shape=[1, 96, 24, 24], neck_ignore_stages=[0, 1],
    )  # fmt: skip
    model = saved(hf.DPTForDepthEstimation(config), models / "detectors" / "dpt-hybrid-midas")
    found = run("depth", "dpt", photo()).pixels
    assert found.shape == (96, 128, 3) and found.min() < 20 and found.max() > 200
    # At the size that the configuration names, nothing of ours stands between picture and network.
    square = np.ascontiguousarray(photo(384, 384))
    expected = model(pixel_values=loading.to_tensor(square, 127.5, 1.0)).predicted_depth[0].numpy()
    from annotator.networks import depth

    np.testing.assert_allclose(depth.detect(square, "depth-dpt-hybrid"), expected, atol=1e-5)
    colours = run("normal", "dpt", photo(), background=0.0).pixels
    assert colours.shape == (96, 128, 3) and (colours[..., 2] >= 127).all(), "every normal faces the viewer"


def test_depth_anything(models):
    backbone = hf.Dinov2Config(**SMALL_VIT, image_size=56, patch_size=14, out_features=["stage1", "stage2", "stage3", "stage4"],
                               reshape_hidden_states=False, apply_layernorm=True)  # fmt: skip
    config = hf.DepthAnythingConfig(backbone_config=backbone, patch_size=14, reassemble_hidden_size=32,
                                    neck_hidden_sizes=[8, 8, 16, 16], fusion_hidden_size=8, head_hidden_size=8)  # fmt: skip
    saved(hf.DepthAnythingForDepthEstimation(config), models / "detectors" / "Depth-Anything-V2-Small-hf")
    found = run("depth", "anything", photo()).pixels
    assert found.shape == (96, 128, 3) and int(found.max()) - int(found.min()) > 150


def constant_class(layer, index):
    layer.weight.zero_()
    layer.bias.zero_()
    layer.bias[index] = 1.0


def test_segformer_and_upernet_say_what_their_head_says(models):
    config = hf.SegformerConfig(num_labels=150, depths=[1, 1, 1, 1], hidden_sizes=[8, 8, 16, 16], decoder_hidden_size=16,
                                num_attention_heads=[1, 1, 2, 2])  # fmt: skip
    model = hf.SegformerForSemanticSegmentation(config)
    constant_class(model.decode_head.classifier, 21)
    saved(model, models / "detectors" / "segformer-b0-finetuned-ade-512-512")
    assert (run("seg", "segformer", photo()).pixels == 21).all()
    backbone = hf.ConvNextConfig(hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1],
                                 out_features=["stage1", "stage2", "stage3", "stage4"])  # fmt: skip
    config = hf.UperNetConfig(backbone_config=backbone, num_labels=150, hidden_size=16, auxiliary_in_channels=16,
                              auxiliary_channels=8)  # fmt: skip
    model = hf.UperNetForSemanticSegmentation(config)
    constant_class(model.decode_head.classifier, 149)
    saved(model, models / "detectors" / "upernet-convnext-small")
    found = run("seg", "upernet", photo(70, 45)).pixels
    assert found.shape == (70, 45) and (found == 149).all()


def test_oneformer(models):
    folder = models / "detectors" / "oneformer_ade20k_swin_tiny"
    backbone = hf.SwinConfig(embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=4,
                             out_features=["stage1", "stage2", "stage3", "stage4"])  # fmt: skip
    config = hf.OneFormerConfig(backbone_config=backbone, num_labels=150, conv_dim=32, mask_dim=32, hidden_dim=32,
                                num_attention_heads=2, num_queries=6, encoder_layers=1, decoder_layers=2,
                                encoder_feedforward_dim=32, dim_feedforward=32, text_encoder_width=64,
                                text_encoder_num_layers=1, text_encoder_vocab_size=64, query_dec_layers=1,
                                is_training=False)  # fmt: skip
    saved(hf.OneFormerForUniversalSegmentation(config), folder)
    words = ["<|startoftext|>", "<|endoftext|>", *"theaskimnc ", "the</w>", "task</w>", "is</w>", "semantic</w>"]
    vocabulary = {word: index for index, word in enumerate(dict.fromkeys(words))}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CLIPTokenizer"}))
    found = run("seg", "oneformer", photo()).pixels
    assert found.shape == (96, 128) and found.max() < 150


def test_a_class_map_in_is_the_same_class_map_out():
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 150, (6, 8))
    scores = torch.nn.functional.one_hot(torch.from_numpy(blocks), 150).permute(2, 0, 1)[None].float()
    np.testing.assert_array_equal(seg.classes(scores, 6, 8), blocks)
    large = seg.classes(scores, 48, 64)
    np.testing.assert_array_equal(large[4::8, 4::8], blocks)
    with pytest.raises(ModelError, match="19 classes"):
        seg.classes(torch.zeros(1, 19, 4, 4), 8, 8)


def test_queries_become_the_class_map_they_describe():
    blocks = np.array([[3, 3, 77], [149, 3, 77]])
    logits, masks = torch.full((1, 4, 151), -20.0), torch.full((1, 4, 2, 3), -20.0)
    for query, index in enumerate((3, 77, 149)):
        logits[0, query, index] = 20.0
        masks[0, query][torch.from_numpy(blocks == index)] = 20.0
    logits[0, 3, 150] = 20.0  # "nothing", although its mask covers all
    masks[0, 3] = 20.0
    np.testing.assert_array_equal(seg.classes(seg.mask_scores(logits, masks), 2, 3), blocks)


def two_people():
    boxes = np.array([[60, 40, 160, 240], [200, 60, 300, 230]], np.float32)
    joints = np.stack([np.stack([np.linspace(b[0], b[2], 17), np.linspace(b[1], b[3], 17)], 1) for b in boxes])
    return boxes, joints


def test_two_people_in_two_skeletons_out():
    boxes, joints = two_people()
    for box, wanted in zip(boxes, joints, strict=True):
        place = vitpose.window(box, 192 / 256)
        assert place[2] / place[3] == pytest.approx(0.75)
        x, y = np.meshgrid(np.arange(48), np.arange(64))
        heat = np.zeros((17, 64, 48), np.float32)
        for number, (px, py) in enumerate(wanted):
            hx, hy = (px - place[0]) * 47 / place[2], (py - place[1]) * 63 / place[3]
            heat[number] = 0.9 * np.exp(-((x - hx) ** 2 + (y - hy) ** 2) / 8)
        found = vitpose.peaks(heat, place)
        assert np.abs(found[:, :2] - wanted).max() < 0.6, "between the pixels of a map that is four times coarser"
        one = vitpose.to_person(found, 0.3)
        assert not one.ghosts and all(one.drawn(index) for index in range(18))
        assert (one.body[1].x, one.body[1].y) == pytest.approx(tuple(wanted[5:7].mean(0)), abs=0.6)
        for slot, coco in enumerate(vitpose.COCO_OF_OPENPOSE):
            if coco >= 0:
                assert (one.body[slot].x, one.body[slot].y) == pytest.approx(tuple(wanted[coco]), abs=0.6)


def test_weak_joints_are_ghosts_and_absent_ones_gaps():
    joints = np.ones((17, 3), np.float32) * 0.9
    joints[9, 2] = 0.2  # left wrist
    joints[5, 2] = 0.01  # left shoulder, so no neck either
    one = vitpose.to_person(joints, 0.3)
    assert one.ghosts == {7} and one.body[7].confidence == pytest.approx(0.2)
    assert one.body[5] == MISSING and one.body[1] == MISSING
    assert not one.drawn(7) and one.drawn(2)


def test_boxes_are_sorted_cut_and_unique():
    relative = np.array(
        [[0.3, 0.5, 0.2, 0.4], [0.31, 0.5, 0.2, 0.4], [0.9, 0.5, 0.4, 1.2], [0.5, 0.5, 0, 0]], np.float32
    )
    found = vitpose.boxes_of(relative, np.array([0.9, 0.8, 0.7, 0.99], np.float32), 0.5, 100, 200)
    np.testing.assert_allclose(found, [[140, 0, 200, 100], [40, 30, 80, 70]], atol=1e-4)
    assert vitpose.boxes_of(relative, np.zeros(4, np.float32), 0.5, 100, 200).shape == (0, 4)


def save_people_finder(models, bias):
    backbone = hf.RTDetrResNetConfig(embedding_size=8, hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1],
                                     layer_type="basic", out_features=["stage2", "stage3", "stage4"])  # fmt: skip
    config = hf.RTDetrConfig(backbone_config=backbone, encoder_in_channels=[8, 16, 16], encoder_hidden_dim=16,
                             encoder_ffn_dim=16, d_model=16, decoder_in_channels=[16, 16, 16], decoder_ffn_dim=16,
                             num_queries=6, decoder_layers=1, encoder_layers=1, decoder_attention_heads=2,
                             encoder_attention_heads=2, num_labels=80, num_denoising=0)  # fmt: skip
    config.id2label = {0: "person", **{index: f"thing {index}" for index in range(1, 80)}}
    model = hf.RTDetrForObjectDetection(config)
    for head in model.model.decoder.class_embed:
        constant_class(head, 0)
        head.bias[:] = bias
    saved(model, models / "detectors" / "rtdetr_r50vd_coco_o365")


def test_pose_end_to_end(models):
    save_people_finder(models, bias=4.0)
    backbone = hf.VitPoseBackboneConfig(**{key: SMALL_VIT[key] for key in ("hidden_size", "num_hidden_layers")},
                                        num_attention_heads=2, mlp_ratio=1, out_indices=[4])  # fmt: skip
    config = hf.VitPoseConfig(backbone_config=backbone, num_labels=17, use_simple_decoder=True)
    saved(hf.VitPoseForPoseEstimation(config), models / "detectors" / "vitpose-base-simple")
    found = run("pose", "vitpose", photo(240, 320))
    assert (found.width, found.height) == (320, 240) and 1 <= len(found.people) <= 6
    assert controls()["pose"].render(found, {}).shape == (240, 320, 3)
    save_people_finder(models, bias=-4.0)
    loading._pretrained.cache_clear()
    with pytest.raises(InputError, match="No person"):
        run("pose", "vitpose", photo(240, 320))


def test_damaged_folders_are_refused(models):
    folder = models / "detectors" / "segformer-b0-finetuned-ade-512-512"
    folder.mkdir()
    with pytest.raises(ModelError, match=r"config\.json"):
        run("seg", "segformer", photo())
    (folder / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="cannot be loaded"):
        run("seg", "segformer", photo())


def test_a_folder_is_not_called_damaged_when_memory_runs_out(models):
    folder = models / "detectors" / "dpt-hybrid-midas"
    folder.mkdir()
    (folder / "config.json").write_text("{}")

    class TooLarge:
        @staticmethod
        def from_pretrained(*_given, **_more):
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")

    with pytest.raises(RuntimeError, match="allocate memory"):
        loading.pretrained("depth-dpt-hybrid", TooLarge)
