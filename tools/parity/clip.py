"""Fixtures for CLIP's towers, names and tokenizer: see README.md."""

import hashlib
from types import SimpleNamespace

import open_clip
import torch
from open_clip.model import CLIP, resize_pos_embed
from open_clip.tokenizer import SimpleTokenizer
from transformers import (CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTextModelWithProjection, CLIPVisionConfig,
                          CLIPVisionModelWithProjection)

import fill
import fixtures
from backbone import summary, values
from clip_texts import captions

CONTEXT = 9
# The towers differ in width, so that a tensor in the wrong one is noticed.
VISION = {"width": 16, "layers": 2, "heads": 2, "patch_size": 8, "image_size": 32, "embed_dim": 12}
TEXT = {"width": 24, "layers": 3, "heads": 3, "context_length": CONTEXT, "embed_dim": 12}
TOKENS = [[49406, 320, 736, 49407, 0, 0, 0, 0, 0],
          [49406, 49407, 0, 0, 0, 0, 0, 0, 0],
          [49406, 2368, 49405, 17, 0, 1, 2, 3, 49407]]
IMAGES = (3, 3, 32, 32)


class OpenClip(torch.nn.Module):
    """Images and tokens to features, by open_clip."""

    def __init__(self, activation, vision=VISION, text=TEXT):
        super().__init__()
        head_width = vision["width"] // vision["heads"]
        vision_cfg = {key: vision[key] for key in ("width", "layers", "patch_size", "image_size")}
        text_cfg = {key: text[key] for key in ("width", "layers", "heads", "context_length")}
        self.model = CLIP(vision["embed_dim"], vision_cfg | {"head_width": head_width},
                          text_cfg | {"vocab_size": 49408}, quick_gelu=activation == "quick_gelu")

    def forward(self, images, tokens):
        return self.model.encode_image(images), self.model.encode_text(tokens)


class Transformers(torch.nn.Module):
    """The same by Hugging Face's transformers."""

    def __init__(self, activation, vision=VISION, text=TEXT):
        super().__init__()
        self.model = CLIPModel(CLIPConfig(
            vision_config=hugging_face(vision, activation)
            | {"patch_size": vision["patch_size"], "image_size": vision["image_size"]},
            text_config=hugging_face(text, activation)
            | {"max_position_embeddings": text["context_length"], "eos_token_id": 49407, "bos_token_id": 49406},
            projection_dim=vision["embed_dim"]))

    def forward(self, images, tokens):
        features = self.model.get_image_features(images), self.model.get_text_features(tokens)
        # transformers 5 gives the features as part of what the tower gives.
        return tuple(getattr(x, "pooler_output", x) for x in features)


def hugging_face(tower, activation):
    return {"hidden_size": tower["width"], "intermediate_size": 4 * tower["width"],
            "num_hidden_layers": tower["layers"], "num_attention_heads": tower["heads"], "hidden_act": activation}


def tiny(name, network, tensors):
    """One case: names, features in both modes, gradients (there is no dropout, so one mode's)."""
    model = network.model
    fill.fill_module(model)
    tokens = torch.tensor(TOKENS)
    images = values("input", IMAGES).requires_grad_()
    for mode in ("eval", "train"):
        network.train(mode == "train")
        # Without gradients some layers take another path.
        with torch.set_grad_enabled(mode == "train"):
            image, text = network(images, tokens)
        tensors[f"{name}.{mode}.image"], tensors[f"{name}.{mode}.text"] = image, text
    loss = (image * values("cotangent.image", image.shape)).sum() + (text * values("cotangent.text", text.shape)).sum()
    loss.backward()
    gradients = {"input": summary(images.grad)}
    gradients |= {key: summary(x.grad) for key, x in model.named_parameters() if x.grad is not None}
    names = [[key, list(x.shape)] for key, x in model.state_dict().items()]
    return {"names": names, "loss": loss.item(), "gradients": gradients}


def tiny_cases():
    cases, tensors = {}, {}
    for library, network in (("open_clip", OpenClip), ("transformers", Transformers)):
        for activation in ("quick_gelu", "gelu"):
            case = tiny(f"{library}.{activation}", network(activation), tensors)
            cases[f"{library}.{activation}"] = {"library": library, "activation": activation} | case
    # Both libraries compute the same of the same weights; here each has its own.
    positions(tensors)
    fixtures.save_json("clip", "tiny.json", cases | {"config": {"vision": VISION, "text": TEXT, "tokens": TOKENS,
                                                               "images": IMAGES}})
    fixtures.save_tensors("clip", "tiny.safetensors", tensors)


def positions(tensors):
    """Position embeddings of the tiny tower at other sizes, and its features at one of them."""
    source = OpenClip("quick_gelu")
    fill.fill_module(source.model)
    for grid in (2, 3, 5, 7):
        state = source.model.state_dict()
        resize_pos_embed(state, SimpleNamespace(visual=SimpleNamespace(grid_size=(grid, grid))))
        tensors[f"positions.{grid}"] = state["visual.positional_embedding"]
    resized = OpenClip("quick_gelu", vision=VISION | {"image_size": 24})
    state = source.model.state_dict()
    resize_pos_embed(state, resized.model)
    resized.model.load_state_dict(state)
    with torch.no_grad():
        tensors["positions.features"] = resized.model.eval().encode_image(values("input", (3, 3, 24, 24)))
        # The class token without the projection.
        source.model.visual.proj = None
        tensors["class_token"] = source.model.eval().encode_image(values("input", IMAGES))


def listing(state):
    """What pins all names and shapes: counts and a hash, with a few to read."""
    lines = sorted(f"{name} {','.join(map(str, x.shape))}" for name, x in state.items())
    return {"tensors": len(lines), "elements": sum(x.numel() for x in state.values()),
            "sha256": hashlib.sha256("\n".join(lines).encode()).hexdigest(), "some": lines[::97]}


def full_names():
    """The published sizes, without their weights."""
    found = {}
    with torch.device("meta"):
        for name in ("ViT-B-32", "ViT-B-16", "ViT-L-14"):
            config = open_clip.get_model_config(name)
            found[name] = {"open_clip": listing(CLIP(**config).state_dict())}
            vision, text = config["vision_cfg"], config["text_cfg"]
            large = name == "ViT-L-14"
            vision = vision | {"heads": vision["width"] // 64, "embed_dim": config["embed_dim"]}
            assert vision["heads"] == (16 if large else 12)
            dim = {"projection_dim": config["embed_dim"]}
            found[name]["transformers_vision"] = listing(CLIPVisionModelWithProjection(CLIPVisionConfig(
                **hugging_face(vision, "quick_gelu"), patch_size=vision["patch_size"], image_size=224, **dim)).state_dict())
            found[name]["transformers_text"] = listing(CLIPTextModelWithProjection(CLIPTextConfig(
                **hugging_face(text, "quick_gelu"), max_position_embeddings=77, **dim)).state_dict())
    b32 = {key: (x["tensors"], x["elements"]) for key, x in found["ViT-B-32"].items()}
    assert b32 == {"open_clip": (302, 151_277_313), "transformers_vision": (200, 87_849_216),
                   "transformers_text": (197, 63_428_096)}, b32
    fixtures.save_json("clip", "names.json", found)


def full_output(tensors):
    """ViT-B/32 as a whole, in float64."""
    model = CLIP(**open_clip.get_model_config("ViT-B-32"), quick_gelu=True)
    fill.fill_module(model, fill.tiled_parameter)
    texts = ["a photo of a cat", "two red circles on a white background, seen from above"]
    tokens = SimpleTokenizer()(texts)
    with torch.no_grad():
        model.eval()
        tensors["image"] = model.encode_image(values("input", (1, 3, 224, 224)))
        tensors["text"] = model.encode_text(tokens)
    fixtures.save_tensors("clip", "vit_b_32.safetensors", tensors)
    fixtures.save_json("clip", "vit_b_32.json", {"texts": texts})


def tokens():
    """[text, tokens without padding] by open_clip for 77 tokens."""
    tokenizer = SimpleTokenizer()
    rows = [[text, tokenizer([text])[0]] for text in captions()]
    ends = [row.argmax().item() + 1 for _, row in rows]
    assert all(row[end:].count_nonzero() == 0 or "<end_of_text>" in text for (text, row), end in zip(rows, ends))
    ends = [row.nonzero()[-1].item() + 1 for _, row in rows]
    fixtures.save_json("clip", "tokens.json", [[text, row[:end].tolist()] for (text, row), end in zip(rows, ends)])


def main():
    fixtures.setup()
    tokens()
    tiny_cases()
    full_names()
    full_output({})


if __name__ == "__main__":
    main()
