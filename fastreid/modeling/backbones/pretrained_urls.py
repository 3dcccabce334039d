"""Public ImageNet weights of the backbones. The digits in a file name are the start of its SHA-256.

"timm:NAME" stands for the weights of that name in timm. For RegNet these are the ones of pycls that fast-reid used,
with the first layer turned from BGR to RGB. fast-reid's addresses for EfficientNet, from pycls too, are partly wrong
(one folder for several depths), and it has none for MobileNetV2, RepVGG and the transformers.
"""

from fastreid.utils.errors import nearest

_TORCHVISION = "https://download.pytorch.org/models/"
_IBN_NET = "https://github.com/XingangPan/IBN-Net/releases/download/v1.0/"
_RESNEST = "https://github.com/zhanghang1989/ResNeSt/releases/download/weights_step1/"
_DRIVE = "https://drive.google.com/uc?id="

# backbone: its variants, as `variant_name` spells them
PRETRAINED_URLS = {
    "build_resnet_backbone": {
        "18x": _TORCHVISION + "resnet18-f37072fd.pth",
        "34x": _TORCHVISION + "resnet34-b627a593.pth",
        "50x": _TORCHVISION + "resnet50-0676ba61.pth",
        "101x": _TORCHVISION + "resnet101-63fe2227.pth",
        "152x": _TORCHVISION + "resnet152-394f9c45.pth",
        "18x IBN-a": _IBN_NET + "resnet18_ibn_a-2f571257.pth",
        "34x IBN-a": _IBN_NET + "resnet34_ibn_a-94bc1577.pth",
        "50x IBN-a": _IBN_NET + "resnet50_ibn_a-d9d0bb7b.pth",
        "101x IBN-a": _IBN_NET + "resnet101_ibn_a-59ea0ac6.pth",
        "101x IBN-a SE": _IBN_NET + "se_resnet101_ibn_a-fabed4e2.pth",
        "18x IBN-b": _IBN_NET + "resnet18_ibn_b-bc2f3c11.pth",
        "34x IBN-b": _IBN_NET + "resnet34_ibn_b-04134c37.pth",
        "50x IBN-b": _IBN_NET + "resnet50_ibn_b-9ca61e85.pth",
        "101x IBN-b": _IBN_NET + "resnet101_ibn_b-c55f6dba.pth",
    },
    "build_resnext_backbone": {
        "50x": _TORCHVISION + "resnext50_32x4d-7cdf4587.pth",
        "101x": "timm:resnext101_32x4d.gluon_in1k",
        "101x IBN-a": _IBN_NET + "resnext101_ibn_a-6ace051d.pth",
    },
    "build_resnest_backbone": {
        "50x": _RESNEST + "resnest50-528c19ca.pth",
        "101x": _RESNEST + "resnest101-22405ba7.pth",
        "200x": _RESNEST + "resnest200-75117900.pth",
        "269x": _RESNEST + "resnest269-0cc87c48.pth",
    },
    "build_osnet_backbone": {
        "x1_0": _DRIVE + "1LaG1EJpHrxdAxKnSCJ_i0u-nbxSAeiFY",
        "x0_75": _DRIVE + "1uwA9fElHOk3ZogwbeY5GkLI6QPTX70Hq",
        "x0_5": _DRIVE + "16DGLbZukvVYgINws8u8deSaOqjybZ83i",
        "x0_25": _DRIVE + "1rb8UN5ZzPKRc_xvtHlyDh-cSz88YX9hs",
        "x1_0 IBN": _DRIVE + "1sr90V6irlYYDd4_4ISU2iruoRG8J__6l",
    },
    "build_mobilenetv2_backbone": {"1.0x": "timm:mobilenetv2_100.ra_in1k", "0.5x": "timm:mobilenetv2_050.lamb_in1k"},
    "build_mobilenetv3_backbone": {
        "Large": _TORCHVISION + "mobilenet_v3_large-8738ca79.pth",
        "Small": _TORCHVISION + "mobilenet_v3_small-047dcff4.pth",
    },
    "build_regnet_backbone": {
        f"{size}{kind}": f"timm:regnet{kind}_{size // 100:03d}.pycls_in1k"
        for kind in "xy"
        for size in (200, 400, 600, 800, 1600, 3200, 4000, 6400, 8000, 12000, 16000, 32000)
    },
    "build_effnet_backbone": {
        "b0": "timm:efficientnet_b0.ra_in1k",
        "b1": "timm:efficientnet_b1.ft_in1k",
        "b2": "timm:efficientnet_b2.ra_in1k",
        "b3": "timm:efficientnet_b3.ra2_in1k",
        "b4": "timm:efficientnet_b4.ra2_in1k",
        "b5": "timm:efficientnet_b5.sw_in12k_ft_in1k",
    },
    "build_repvgg_backbone": {
        depth: f"timm:repvgg_{depth.lower()}.rvgg_in1k"
        for depth in ("A0", "A1", "A2", "B0", "B1", "B1g4", "B2", "B2g4", "B3", "B3g4")
    },
    "build_vit_backbone": {"base": "timm:vit_base_patch16_224.augreg_in21k_ft_in1k"},
}


def variant_name(depth: str, ibn: str | None = None, with_se: bool = False) -> str:
    """Name a member of the ResNet family: its depth, its IBN type ("a", "b") and whether it has SE."""
    return depth + (f" IBN-{ibn}" if ibn else "") + (" SE" if with_se else "")


def pretrained_url(backbone: str, variant: str) -> str:
    """Return the source of the weights of a variant of ``backbone``, its name in ``BACKBONE_REGISTRY``.

    Raises:
        ValueError: no public file of this variant is known.
    """
    known = PRETRAINED_URLS.get(backbone, {})
    if variant not in known:
        raise ValueError(
            f"MODEL.BACKBONE.PRETRAIN: no public weights are known for {backbone} {variant}.{nearest(variant, known)} "
            f"Known: {', '.join(known) or 'none'}. Give a file in MODEL.BACKBONE.PRETRAIN_PATH or set "
            f"MODEL.BACKBONE.PRETRAIN False"
        )
    return known[variant]
