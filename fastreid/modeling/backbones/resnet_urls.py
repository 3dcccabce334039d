"""Public ImageNet weights of the ResNets. The digits in a file name are the start of its SHA-256."""

from fastreid.utils.errors import nearest

_TORCHVISION = "https://download.pytorch.org/models/"
_IBN_NET = "https://github.com/XingangPan/IBN-Net/releases/download/v1.0/"

# (depth, IBN type or None, squeeze-and-excitation)
PRETRAINED_URLS = {
    ("18x", None, False): _TORCHVISION + "resnet18-f37072fd.pth",
    ("34x", None, False): _TORCHVISION + "resnet34-b627a593.pth",
    ("50x", None, False): _TORCHVISION + "resnet50-0676ba61.pth",
    ("101x", None, False): _TORCHVISION + "resnet101-63fe2227.pth",
    ("152x", None, False): _TORCHVISION + "resnet152-394f9c45.pth",
    ("18x", "a", False): _IBN_NET + "resnet18_ibn_a-2f571257.pth",
    ("34x", "a", False): _IBN_NET + "resnet34_ibn_a-94bc1577.pth",
    ("50x", "a", False): _IBN_NET + "resnet50_ibn_a-d9d0bb7b.pth",
    ("101x", "a", False): _IBN_NET + "resnet101_ibn_a-59ea0ac6.pth",
    ("101x", "a", True): _IBN_NET + "se_resnet101_ibn_a-fabed4e2.pth",
    ("18x", "b", False): _IBN_NET + "resnet18_ibn_b-bc2f3c11.pth",
    ("34x", "b", False): _IBN_NET + "resnet34_ibn_b-04134c37.pth",
    ("50x", "b", False): _IBN_NET + "resnet50_ibn_b-9ca61e85.pth",
    ("101x", "b", False): _IBN_NET + "resnet101_ibn_b-c55f6dba.pth",
}


def pretrained_url(depth: str, ibn: str | None, with_se: bool) -> str:
    """Return the address of the weights of this variant.

    Raises:
        ValueError: no public file of this variant is known.
    """
    key = (depth, ibn, with_se)
    if key not in PRETRAINED_URLS:
        known = {_describe(*variant): None for variant in PRETRAINED_URLS}
        wanted = _describe(*key)
        raise ValueError(
            f"MODEL.BACKBONE.PRETRAIN: no public weights are known for {wanted}.{nearest(wanted, known)} Known: "
            f"{', '.join(known)}. Give a file in MODEL.BACKBONE.PRETRAIN_PATH or set MODEL.BACKBONE.PRETRAIN False"
        )
    return PRETRAINED_URLS[key]


def _describe(depth: str, ibn: str | None, with_se: bool) -> str:
    return depth + (f" IBN-{ibn}" if ibn else "") + (" SE" if with_se else "")
