"""Builds the networks that arcrun knows, by `backbone.kind`, and its head."""

import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from efficient_fr import DEFAULT, EfficientFr
from embedding_2d import Embedding2d
from iresnet import DEPTHS, IResNet
from mbf import Mbf
from mobilefacenet import MobileFaceNet


def backbone(kind, **keys):
    """A module from images to features, without a classifier, and the number of features."""
    if kind == "efficient_fr":
        module = EfficientFr(**{**DEFAULT, **keys})
        return module, module.features
    if kind == "embedding_2d":
        module = Embedding2d(**keys)
        return module, module.features
    if kind == "mobilefacenet":
        module = MobileFaceNet(**keys)
        return module, module.features
    if kind in DEPTHS:
        module = IResNet(DEPTHS[kind], **keys)
        return module, module.fc.out_features
    if kind == "mbf":
        module = Mbf(**keys)
        return module, module.features.layers[2].out_features
    if kind == "inception_resnet_v1":
        from facenet_pytorch import InceptionResnetV1

        module = InceptionResnetV1(classify=True, num_classes=1, dropout_prob=keys.get("dropout", 0.6))
        module.logits = nn.Identity()  # in place of a classifier; without `classify` it normalises
        return module, module.last_linear.out_features
    if kind == "efficientnet_b0":
        depth = keys.get("stochastic_depth", 0.2)
        module = torchvision.models.efficientnet_b0(weights=None, stochastic_depth_prob=depth)
        features = module.classifier[1].in_features
        module.classifier = nn.Identity()
        return module, features
    if kind not in ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"):
        raise ValueError(f"unknown backbone {kind!r}")
    module = getattr(torchvision.models, kind)(weights=None)
    features = module.fc.in_features
    module.fc = nn.Identity()
    return module, features


class Head(nn.Module):
    """Features to embedding: dropout and a linear projection, the projection head of image-text models, or
    nothing; batch norm (with a constant weight: InsightFace's) and unit length on request."""

    def __init__(self, features, embedding_dim, projection="linear", hidden_dim=0, bias=True, dropout=0.0,
                 batch_norm=False, batch_norm_scale=True, normalize=False):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.kind, self.normalize = projection, normalize
        if projection == "linear":
            self.linear = nn.Linear(features, embedding_dim, bias=bias)
        if projection == "mlp":
            hidden = hidden_dim or embedding_dim
            self.projection = nn.Linear(features, hidden, bias=bias)
            self.fc = nn.Linear(hidden, embedding_dim, bias=bias)
            self.skip = nn.Identity() if hidden == embedding_dim else nn.Linear(hidden, embedding_dim, bias=False)
            self.layer_norm = nn.LayerNorm(embedding_dim)
        self.bn = nn.BatchNorm1d(embedding_dim) if batch_norm else nn.Identity()
        if not batch_norm_scale:
            self.bn.weight.requires_grad_(False)

    def project(self, x):
        if self.kind == "linear":
            return self.linear(self.dropout(x))
        if self.kind == "none":
            return self.dropout(x)
        projected = self.projection(x)
        return self.layer_norm(self.skip(projected) + self.dropout(self.fc(F.gelu(projected))))

    def forward(self, x):
        x = self.bn(self.project(x))
        return F.normalize(x) if self.normalize else x


class Network(nn.Module):
    """Images [N, 3, H, W] to embeddings [N, embedding_dim]; names as arcrun's checkpoints."""

    def __init__(self, backbone_kind, backbone_keys, head_keys):
        super().__init__()
        self.backbone, features = backbone(backbone_kind, **backbone_keys)
        self.head = Head(features, **head_keys)

    def forward(self, x):
        return self.head(self.backbone(x))


def normalise(images, mean, std):
    """uint8 [N, 3, H, W] to float32: (x / 255 - mean) / std per channel."""
    shape = (1, 3, 1, 1)
    mean, std = torch.tensor(mean, dtype=torch.float32), torch.tensor(std, dtype=torch.float32)
    return (images.float() / 255.0 - mean.view(shape)) / std.view(shape)
