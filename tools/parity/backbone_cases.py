"""The cases of the convolutional backbones that `backbone.py` writes into folders of their own, one for each file
of `src/backbone`."""

RESNET34 = ["conv1.weight", "layer1.2.conv1.weight", "layer2.0.downsample.0.weight", "layer3.1.bn2.bias",
            "layer4.2.conv2.weight", "layer4.2.bn2.bias"]
BOTTLENECKS = ["conv1.weight", "bn1.weight", "layer1.0.conv3.weight", "layer3.22.bn2.bias",
               "layer4.0.downsample.0.weight", "layer4.2.conv3.weight", "layer4.2.bn3.bias"]
BOTTLENECK_NORMS = ["bn1", "layer2.0.downsample.1", "layer3.22.bn2", "layer4.2.bn3"]
IRESNET = ["conv1.weight", "prelu.weight", "layer1.0.downsample.0.weight", "layer2.1.bn1.bias",
           "layer3.1.prelu.weight", "layer4.1.conv2.weight", "bn2.weight", "fc.weight", "features.bias"]
IRESNET_NORMS = ["bn1", "layer1.0.bn1", "layer3.0.downsample.1", "layer4.1.bn3", "bn2", "features"]
MBF = ["layers.0.layers.0.weight", "layers.1.layers.0.weight", "layers.1.layers.2.weight",
       "layers.2.layers.1.layers.0.weight", "layers.3.layers.0.layers.2.layers.0.weight",
       "layers.5.layers.5.layers.1.layers.1.bias", "conv_sep.layers.2.weight", "features.layers.0.layers.0.weight",
       "features.layers.2.weight", "features.layers.3.bias"]
MBF_NORMS = ["layers.0.layers.1", "layers.4.layers.2.layers.1", "layers.7.layers.1.layers.0.layers.1",
             "conv_sep.layers.1", "features.layers.0.layers.1", "features.layers.3"]
INCEPTION = ["conv2d_1a.conv.weight", "conv2d_4b.bn.bias", "repeat_1.0.branch0.conv.weight",
             "repeat_1.0.conv2d.bias", "repeat_1.4.branch2.2.conv.weight", "mixed_6a.branch1.2.conv.weight",
             "repeat_2.9.branch1.1.conv.weight", "mixed_7a.branch2.1.bn.weight", "repeat_3.2.branch1.2.conv.weight",
             "block8.conv2d.weight", "last_linear.weight", "last_bn.bias"]
INCEPTION_NORMS = ["conv2d_1a.bn", "mixed_6a.branch0.bn", "repeat_2.3.branch1.1.bn", "block8.branch1.2.bn", "last_bn"]
EFFICIENTNET = ["features.0.0.weight", "features.1.0.block.1.fc1.weight", "features.1.0.block.2.0.weight",
                "features.2.0.block.0.0.weight", "features.3.1.block.1.0.weight", "features.5.2.block.2.fc2.bias",
                "features.7.0.block.3.0.weight", "features.8.0.weight", "features.8.1.bias"]
EFFICIENTNET_NORMS = ["features.0.1", "features.1.0.block.0.1", "features.4.2.block.3.1", "features.8.1"]

SMALL = (2, 3, 64, 64)
ODD = (3, 3, 45, 37)
# The last maps are 2x2: the fully connected layer is as small as it can be and still has an order.
FACES = (3, 3, 32, 32)
# name, kind, keys, input shape, parameters whose gradients are kept, batch norms whose statistics are
FAMILIES = {
    "resnet": [
        ("resnet34_odd_size", "resnet34", {}, ODD, RESNET34, ["bn1", "layer2.0.downsample.1", "layer4.2.bn2"]),
        ("resnet101", "resnet101", {}, SMALL, BOTTLENECKS, BOTTLENECK_NORMS),
        ("resnet152", "resnet152", {}, SMALL, BOTTLENECKS, BOTTLENECK_NORMS),
    ],
    "iresnet": [
        ("iresnet18_odd_size", "iresnet18", {"grid": [3, 2], "features": 32}, (4, 3, 45, 29), IRESNET, IRESNET_NORMS),
        *((kind, kind, {"grid": [2, 2]}, FACES, IRESNET, IRESNET_NORMS)
          for kind in ("iresnet34", "iresnet50", "iresnet100", "iresnet200")),
    ],
    "mbf": [
        ("mbf", "mbf", {}, (3, 3, 112, 112), MBF, MBF_NORMS),
        ("mbf_odd_size", "mbf", {"kernel": [3, 2], "features": 32}, (4, 3, 45, 29), MBF, MBF_NORMS),
    ],
    # Without chance, which the two sides would draw apart.
    "inception_resnet_v1": [
        ("inception_resnet_v1", "inception_resnet_v1", {"dropout": 0.0}, (4, 3, 75, 107), INCEPTION, INCEPTION_NORMS),
    ],
    "efficientnet_b0": [
        ("efficientnet_b0", "efficientnet_b0", {"stochastic_depth": 0.0}, SMALL, EFFICIENTNET, EFFICIENTNET_NORMS),
        ("efficientnet_b0_odd_size", "efficientnet_b0", {"stochastic_depth": 0.0}, ODD, EFFICIENTNET,
         EFFICIENTNET_NORMS),
    ],
}
