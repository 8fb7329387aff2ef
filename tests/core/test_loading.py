"""Model files from anywhere: good ones load, all others end in one true sentence, and nothing is ever executed."""

import io
import json
import pickle
import resource
import struct
import time
import zipfile
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from controlnet_core.checkpoints import checkpoint_reader
from controlnet_core.checkpoints.weight_files import Weights
from controlnet_core.diffusion import vae as codec
from controlnet_core.domain.errors import ModelError, ModelMissing
from controlnet_core.models.diffusers_setup import AutoencoderDC
from controlnet_core.models.loading import load_base, load_control, read_tensors, spared
from tests.core.small import save_small_model

EXECUTED = "executed"


@pytest.fixture
def marker(tmp_path, monkeypatch):
    """A file that a hostile pickle would make."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / EXECUTED


class Call:
    """Pickles to a call of `function` with `arguments`."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def refused(path: Path, words: str | None = None, load=read_tensors) -> ModelError:
    start = time.process_time()  # of this process alone: the machine may be busy
    with pytest.raises(ModelError, match=words) as caught:
        load(path)
    assert time.process_time() - start < 1
    assert path.name in caught.value.message
    assert caught.value.message.endswith(".")
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize("container", ["wrapped", "bare", "safetensors"])
@pytest.mark.parametrize("load", [load_base, load_control])
def test_a_file_cut_off_anywhere_is_refused(container, load, checkpoints, tmp_path):
    whole = checkpoints[container]
    size = whole.stat().st_size
    cut = tmp_path / f"cut{whole.suffix}"
    cut.write_bytes(whole.read_bytes())
    for percent in range(95, -1, -5):
        with cut.open("r+b") as file:
            file.truncate(size * percent // 100)
        refused(cut, "empty" if percent == 0 else "cut off", load)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.safetensors", b"", "empty"),
        ("a.ckpt", b"", "empty"),
        ("a.safetensors", b"\x10\0\0", "cut off"),
        ("a.pth", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "git-LFS pointer"),
        ("a.safetensors", b"<!DOCTYPE html><html>Log in</html>", "web page"),
        ("a.ckpt", b"\n <html><body>404</body></html>", "web page"),
        ("a.pth", b"\x89PNG\r\n\x1a\n" + bytes(100), "not a model file"),
        ("a.pth", bytes(4096), "not a model file"),
        ("a.safetensors", struct.pack("<Q", 1 << 40) + b"{" + bytes(100), "damaged"),
        ("a.safetensors", struct.pack("<Q", (10 << 20) + 1) + b"{" + bytes(11 << 20), "damaged"),
        ("a.safetensors", struct.pack("<Q", 50) + b"{}", "cut off"),
        ("a.safetensors", struct.pack("<Q", 8) + b"{not js}", "damaged"),
        ("a.safetensors", struct.pack("<Q", 2) + b"{}", "no weights"),
        ("a.safetensors", struct.pack("<Q", 200_000) + b'{"a":' + b"[" * 199_995, "damaged"),
        ("a.safetensors", struct.pack("<Q", 10) + b'{"a": [1]}', "damaged"),
        ("a.pth", b"\x80\x02}q\x00.", "cut off or damaged"),
    ],
)
def test_what_is_no_model_is_named(name, content, words, tmp_path):
    (tmp_path / name).write_bytes(content)
    refused(tmp_path / name, words)


def test_a_header_that_lies(tmp_path):
    save_file({"a": torch.zeros(4), "b": torch.zeros(4)}, tmp_path / "a.safetensors")
    raw = (tmp_path / "a.safetensors").read_bytes()
    (length,) = struct.unpack_from("<Q", raw)
    header = json.loads(raw[8 : 8 + length])
    for change in ({"data_offsets": [8, 24]}, {"shape": [40]}, {"dtype": "F99"}, {"data_offsets": [16, 1 << 50]}):
        lie = json.dumps({**header, "b": {**header["b"], **change}}).encode()
        (tmp_path / "lie.safetensors").write_bytes(struct.pack("<Q", len(lie)) + lie + raw[8 + length :])
        refused(tmp_path / "lie.safetensors", "damaged|cut off")


WRONG = (
    {"shape": 3},
    {"shape": ["4"]},
    {"shape": [-2, -2]},
    {"dtype": []},
    {"data_offsets": ["0", "16"]},
    {"shape": [2.0]},
)


@pytest.mark.parametrize("change", WRONG)
def test_a_table_of_contents_of_nonsense_is_refused_before_anybody_counts_with_it(change, tmp_path):
    entry = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16], **change}
    raw = json.dumps({"a": entry}).encode()
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(raw)) + raw + bytes(16))
    with pytest.raises(ModelError, match="table of contents"):
        Weights.open(tmp_path / "a.safetensors")


def test_large_pictures_are_decoded_in_tiles_of_512_px(checkpoints, hints, monkeypatch):
    """A file does not say at which size its autoencoder was trained."""
    vae = load_base(checkpoints["safetensors"], hints=hints).vae
    codec.tile(vae, True)
    seen = []

    def blank(latents, *_more):  # how large its tiles are is the matter here, not what they show
        seen.append(latents.shape[-2:])
        return torch.zeros(1, 3, *(8 * side for side in latents.shape[-2:]))

    monkeypatch.setattr(vae.decoder, "forward", blank)
    with torch.inference_mode():
        assert codec.decode(vae, torch.zeros(1, 4, 64, 72)).shape[-2:] == (512, 576)
    assert [tuple(one) for one in seen] == [(64, 64), (64, 24), (16, 64), (16, 24)]


def hostile() -> list[bytes]:
    """Pickles that would make the marker, in twenty ways."""
    import builtins
    import os
    import shutil
    import subprocess

    touch = f"open({EXECUTED!r}, 'w').close()"
    calls = [
        Call(os.system, f"touch {EXECUTED}"),
        Call(os.mkdir, EXECUTED),
        Call(os.popen, f"touch {EXECUTED}"),
        Call(os.open, EXECUTED, os.O_CREAT),
        Call(subprocess.Popen, ["touch", EXECUTED]),
        Call(subprocess.call, ["touch", EXECUTED]),
        Call(subprocess.check_output, ["touch", EXECUTED]),
        Call(builtins.eval, f"__import__('os').system('touch {EXECUTED}')"),
        Call(builtins.exec, touch),
        Call(builtins.open, EXECUTED, "w"),
        Call(builtins.compile, touch, "x", "exec"),
        Call(builtins.__import__, "antigravity"),
        Call(Path.touch, Path(EXECUTED)),
        Call(shutil.copyfile, "/etc/hostname", EXECUTED),
        Call(torch.save, torch.zeros(1), EXECUTED),
        Call(torch.hub.download_url_to_file, "file:///etc/hostname", EXECUTED),
    ]
    harmless_first = [{"state_dict": {"a": 1, "b": call}} for call in calls[:3]]
    raw = [
        f"cos\nsystem\n(S'touch {EXECUTED}'\ntR.".encode(),
        b"\x80\x02" + f"cposix\nsystem\n(S'touch {EXECUTED}'\ntR.".encode(),
        b"\x80\x04" + f"cbuiltins\nexec\n(V{touch}\ntR.".encode(),
    ]
    return [*(pickle.dumps(call, 2) for call in [*calls, *harmless_first]), *raw]


def archive(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("archive/data.pkl", content)
        file.writestr("archive/version", "3\n")
    return buffer.getvalue()


@pytest.mark.parametrize("pack", [bytes, archive], ids=["plain", "zip"])
def test_hostile_pickles_are_refused_and_never_run(pack, marker, tmp_path):
    pickles = hostile()
    assert len(pickles) >= 20
    for number, content in enumerate(pickles):
        path = tmp_path / f"hostile-{number}.ckpt"
        path.write_bytes(pack(content))
        for load in (read_tensors, load_base, load_control):
            error = refused(path, load=load)
        assert not marker.exists()
    assert "never run" in error.message or "no model" in error.message or "damaged" in error.message


def test_program_code_is_called_by_its_name(tmp_path, marker):
    import os

    path = tmp_path / "hostile.pth"
    torch.save({"state_dict": {"a": torch.zeros(2), "b": Call(os.mkdir, EXECUTED)}}, path)
    assert "never run" in refused(path).message
    assert not marker.exists()


def test_bombs_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("archive/data.pkl", bytes(100 << 20))
    refused(tmp_path / "bomb.pth", "far more than its size")
    torch.save({"a": torch.zeros(1).expand(1 << 40)}, tmp_path / "wide.pth")
    refused(tmp_path / "wide.pth", "far more than its size")
    with zipfile.ZipFile(tmp_path / "other.pth", "w") as file:
        file.writestr("notes.txt", "hello")
    refused(tmp_path / "other.pth", "not of a model")


def asked_for(size: int) -> list[tuple[str, bytes]]:
    """Pickles of a few bytes that ask for `size` bytes, or for tensors without values; with the name of the trick."""
    zero, wanted = b"K\x00", pickle.dumps(size, 2)[2:-1]
    storage = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ"

    def call(name: str, args: bytes) -> bytes:
        return b"c" + name.replace(" ", "\n").encode() + b"\n(" + args + b"tR"

    made = {
        "bytearray": call("builtins bytearray", wanted),
        "bytearray of Python 2": call("__builtin__ bytearray", wanted),
        "a bare storage": call("torch.storage UntypedStorage", wanted),
        "a typed storage": call("torch.storage TypedStorage", wanted),
        "a tensor class": call("torch FloatTensor", wanted),
        "a tensor": call("torch Tensor", wanted),
        "meta": call("torch._utils _rebuild_meta_tensor_no_storage", b"ctorch\nfloat32\n(K\x04t(K\x01t\x89"),
        "sparse": call("torch._utils _rebuild_sparse_tensor", b"ctorch\nstrided\n(K\x00K\x00K\x00t"),
        "quantised": call("torch._utils _rebuild_qtensor", storage),
        "a wrapper": call("torch._utils _rebuild_wrapper_subclass", zero),
        "device": call("torch._utils _rebuild_device_tensor_from_numpy", zero),
    }
    head = b"\x80\x02}X\x01\x00\x00\x00a"
    return [(name, head + content + b"s.") for name, content in made.items()]


@pytest.mark.parametrize(("trick", "content"), asked_for(6 << 30), ids=[name for name, _ in asked_for(1)])
def test_a_pickle_gets_neither_memory_nor_tensors_without_values(trick, content, tmp_path):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for pack in (bytes, archive):
        path = tmp_path / f"{pack.__name__}.pth"
        path.write_bytes(pack(content))
        refused(path, "more than weights")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10, trick


def test_every_pickle_of_an_old_file_and_every_way_to_name_something_is_looked_at(tmp_path):
    head = [pickle.dumps(one, 2) for one in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    (tmp_path / "late.pth").write_bytes(b"".join([*head, dict(asked_for(6 << 30))["bytearray"]]))
    (tmp_path / "inst.pth").write_bytes(b"\x80\x02}X\x01\x00\x00\x00a(K\x07ibuiltins\nbytearray\ns.")
    (tmp_path / "ext.pth").write_bytes(b"\x80\x02}X\x01\x00\x00\x00a\x82\x01s.")
    for name in ("late.pth", "inst.pth", "ext.pth"):
        refused(tmp_path / name, "more than weights")


def test_a_table_of_contents_has_a_size(tmp_path, monkeypatch):
    torch.save({f"t{n}": torch.zeros(1) for n in range(40)}, tmp_path / "a.pth")
    assert len(read_tensors(tmp_path / "a.pth")) == 40
    for name, most, words in (
        ("ENTRIES_MAX", 10, "far more than its size"),
        ("PICKLE_MAX_BYTES", 1000, "absurdly large"),
        ("OPCODES_MAX", 100, "absurdly large"),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(checkpoint_reader, name, most)
            refused(tmp_path / "a.pth", words)


def test_behind_the_look_at_names_nothing_is_run_either(tmp_path, marker, monkeypatch):
    monkeypatch.setattr(checkpoint_reader, "_check_name", lambda _path, _name: None)
    for number, content in enumerate(hostile()):
        path = tmp_path / f"hostile-{number}.ckpt"
        path.write_bytes(archive(content))
        with pytest.raises(ModelError):
            read_tensors(path)
        assert not marker.exists()
    torch.save({"a": torch.zeros(2, 2).to_sparse()}, tmp_path / "sparse.pth")
    refused(tmp_path / "sparse.pth", "without plain values")


def test_what_a_pickle_writes_over_a_dicts_methods_is_not_asked(tmp_path):
    class Tricked:
        def __reduce__(self):
            over = {"items": torch.Size, "get": 7, "keys": 7, "values": 7, "_metadata": OrderedDict(version=1)}
            return OrderedDict, (), over, None, iter([("a", torch.ones(2))])

    tricked = Tricked()
    torch.save(tricked, tmp_path / "tricked.pth")
    torch.save({"state_dict": tricked}, tmp_path / "inner.pth")
    for name in ("tricked.pth", "inner.pth"):
        found = read_tensors(tmp_path / name)
        assert list(found) == ["a"] and torch.equal(found["a"], torch.ones(2))


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_ordinary_pickles_of_every_kind_are_read(legacy, tmp_path):
    content = {
        "state_dict": OrderedDict(
            half=torch.ones(2, dtype=torch.float16), bf=torch.ones(2, dtype=torch.bfloat16), whole=torch.arange(3),
            weight=torch.nn.Parameter(torch.ones(2, 2)), flag=torch.tensor([True]), turned=torch.ones(2, 3).T,
        ),
        "epoch": 3, "seen": {1, 2}, "lr": Counter([1, 1]), "best": np.float64(0.5), "shape": torch.Size([1, 2]),
    }  # fmt: skip
    torch.save(content, tmp_path / "a.ckpt", _use_new_zipfile_serialization=not legacy)
    found = read_tensors(tmp_path / "a.ckpt")
    assert {name: tuple(one.shape) for name, one in found.items()} == {
        "half": (2,), "bf": (2,), "whole": (3,), "weight": (2, 2), "flag": (1,), "turned": (3, 2),
    }  # fmt: skip


def test_lightning_checkpoints_load(tmp_path):
    """Their callbacks name a class that is not installed here; it is read as nothing."""
    content = io.BytesIO()
    torch.save({"state_dict": {"a": torch.ones(2)}, "callbacks": {"MARK": 1}}, content)
    source = zipfile.ZipFile(io.BytesIO(content.getvalue()))
    mark = b"X\x04\x00\x00\x00MARK"
    name = b"cpytorch_lightning.callbacks.model_checkpoint\nModelCheckpoint\n"
    with zipfile.ZipFile(tmp_path / "old.ckpt", "w") as file:
        for entry in source.infolist():
            raw = source.read(entry)
            if entry.filename.endswith("data.pkl"):
                assert mark in raw
                raw = raw.replace(mark, name)
            file.writestr(entry.filename, raw)
    assert torch.equal(read_tensors(tmp_path / "old.ckpt")["a"], torch.ones(2))


def test_flipped_bits_never_crash(tmp_path):
    """In the description of the tensors; flips inside the numbers only change them."""
    generator = torch.Generator().manual_seed(1)
    small = tmp_path / "small.safetensors"
    save_file({f"t{n}": torch.zeros(3, n + 1) for n in range(40)}, small)
    raw = small.read_bytes()
    torch.save({f"t{n}": torch.zeros(3, n + 1) for n in range(40)}, tmp_path / "small.pth")
    packed = (tmp_path / "small.pth").read_bytes()
    for content, suffix in ((raw, ".safetensors"), (packed, ".pth")):
        refused = 0
        for _ in range(60):
            position, bit = (int(torch.randint(n, (1,), generator=generator)) for n in (min(len(content), 3000), 8))
            flipped = bytearray(content)
            flipped[position] ^= 1 << bit
            path = tmp_path / f"flipped{suffix}"
            path.write_bytes(flipped)
            try:
                assert all(isinstance(tensor, torch.Tensor) for tensor in read_tensors(path).values())
            except ModelError as error:
                assert error.hint
                refused += 1
        assert refused > 5, suffix


def test_the_wrong_kind_of_model_is_named(checkpoints, small_model, tmp_path):
    whole = load_file(checkpoints["safetensors"])
    control = {name: tensor for name, tensor in whole.items() if name.startswith("control_model.")}
    save_file(control, tmp_path / "control.safetensors")
    refused(tmp_path / "control.safetensors", "ControlNet alone", load_base)
    base = {name: tensor for name, tensor in whole.items() if name.startswith("model.")}
    save_file(base, tmp_path / "base.safetensors")
    refused(tmp_path / "base.safetensors", "no ControlNet", load_control)
    refused(tmp_path / "base.safetensors", "not a whole one", load_base)
    save_file({"lora_unet_x.lora_up.weight": torch.zeros(2)}, tmp_path / "lora.safetensors")
    refused(tmp_path / "lora.safetensors", "LoRA", load_control)
    with pytest.raises(ModelMissing):
        load_base(tmp_path / "nothing.safetensors")


def test_a_missing_tensor_or_one_of_another_shape_is_named(checkpoints, tmp_path, hints):
    whole = load_file(checkpoints["safetensors"])
    for name, change in (
        ("control_model.zero_convs.3.0.weight", None),
        ("control_model.middle_block.0.in_layers.2.bias", torch.zeros(3)),
    ):
        tensors = {key: tensor for key, tensor in whole.items() if key.startswith("control_model.") and key != name}
        if change is not None:
            tensors[name] = change
        save_file(tensors, tmp_path / "odd.safetensors")
        refused(tmp_path / "odd.safetensors", "does not fit together", lambda path: load_control(path, hints=hints))


def test_a_control_alone_and_bare_equals_the_one_in_the_full_file(checkpoints, tmp_path, hints):
    whole = load_file(checkpoints["safetensors"])
    prefix = "control_model."
    control = {name: tensor for name, tensor in whole.items() if name.startswith(prefix)}
    full = load_control(checkpoints["safetensors"], hints=hints)
    save_file(control, tmp_path / "alone.safetensors")
    torch.save({name.removeprefix(prefix): tensor for name, tensor in control.items()}, tmp_path / "bare.pth")
    save_file(full.state_dict(), tmp_path / "renamed.safetensors")
    for name in ("alone.safetensors", "bare.pth", "renamed.safetensors"):
        other = load_control(tmp_path / name, hints=hints)
        assert other.config == full.config
        assert all(torch.equal(tensor, other.state_dict()[key]) for key, tensor in full.state_dict().items())


def test_half_precision_files_become_what_is_asked_for(checkpoints, tmp_path, hints):
    whole = load_file(checkpoints["safetensors"])
    save_file({name: tensor.half() for name, tensor in whole.items()}, tmp_path / "half.safetensors")
    base = load_base(tmp_path / "half.safetensors", hints=hints)
    assert {parameter.dtype for parameter in base.unet.parameters()} == {torch.float32}
    assert {parameter.dtype for parameter in base.text_encoder.parameters()} == {torch.float32}
    control = load_control(tmp_path / "half.safetensors", torch.bfloat16, hints)
    assert {parameter.dtype for parameter in control.parameters()} == {torch.bfloat16}


def test_folders_of_diffusers_load_unchanged(small_model, small_v_model, tmp_path):
    tiny = save_small_model(tmp_path / "tiny", "tiny")
    for folder, channels, cell in ((small_model, 4, 8), (small_v_model, 8, 16), (tiny, 8, 16)):
        base = load_base(folder)
        with torch.inference_mode():
            latents = codec.encode(base.vae, torch.zeros(1, 3, 64, 128))
            assert latents.shape == (1, channels, 64 // cell, 128 // cell)
            assert codec.decode(base.vae, latents).shape == (1, 3, 64, 128)
            assert codec.Preview(base.vae, cell)(latents[0]).shape == (64, 128, 3)
        assert (base.channels, base.vae_scale_factor) == (channels, cell)
        assert base.tokenizer("a house").input_ids == [0, 2, 3, 1]
        assert not any(parameter.requires_grad or parameter.is_meta for parameter in base.unet.parameters())
        weights = load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")
        assert all(torch.equal(tensor, base.unet.state_dict()[name]) for name, tensor in weights.items())
        load_control(folder / "controlnet")


def test_an_incomplete_folder_says_what_is_missing(small_model, tmp_path):
    (tmp_path / "vae").mkdir()
    with pytest.raises(ModelMissing, match="unet is incomplete"):
        load_base(tmp_path)
    (tmp_path / "unet").symlink_to(small_model / "unet")
    with pytest.raises(ModelMissing, match="text_encoder is incomplete"):
        load_base(tmp_path)


def test_a_decoder_is_spared_what_changes_nothing() -> None:
    vae: Any = AutoencoderDC(
        latent_channels=4, encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8), encoder_layers_per_block=(0, 1),
        decoder_layers_per_block=(0, 2), encoder_qkv_multiscales=((), ()), decoder_qkv_multiscales=((), ()),
        decoder_norm_types="batch_norm", encoder_out_shortcut=False, decoder_in_shortcut=False,
    ).eval()  # fmt: skip
    latents = torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(0))

    def layers() -> list[type]:
        return [type(each) for each in vae.decoder.modules()]

    with torch.no_grad():
        for block in vae.decoder.up_blocks[1]:
            block.norm.weight.fill_(0.7)
            block.norm.bias.fill_(0.1)
        whole, before = vae.decode(latents).sample, layers()
        spared(vae)
        assert torch.equal(vae.decode(latents).sample, whole) and layers() == before, "all of it says something"

        silent, pointwise = vae.decoder.up_blocks[1][0], vae.decoder.conv_out.conv
        silent.norm.weight.zero_()
        silent.norm.bias.zero_()
        rim = torch.ones(3, 3)
        rim[1, 1] = 0
        pointwise.weight.masked_fill_(rim.bool(), 0)
        whole = vae.decode(latents).sample
        spared(vae)
    assert vae.decode(latents).sample.sub(whole).abs().max() < 1e-5
    assert isinstance(vae.decoder.up_blocks[1][0], torch.nn.Identity) and len(vae.decoder.up_blocks[1]) == 2
    assert vae.decoder.conv_out.conv.kernel_size == (1, 1) and vae.decoder.conv_in.kernel_size == (3, 3)
