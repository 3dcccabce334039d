"""How features are computed: what ``TEST.INFERENCE`` asks for, made definite for the machine at hand."""

from dataclasses import asdict, dataclass
from typing import Any

from fastreid.utils.errors import require_choice

NODE = "TEST.INFERENCE"
BACKENDS = ("torch", "openvino")
DTYPES = ("float32", "bfloat16", "auto")


@dataclass(frozen=True)
class Inference:
    """The keys of ``TEST.INFERENCE`` with "auto" decided; what they mean is said in ``config/defaults.py``."""

    backend: str = "torch"
    dtype: str = "float32"
    channels_last: bool = False
    fold_bn: bool = False

    @classmethod
    def of(cls, cfg) -> "Inference":
        """Return what ``cfg`` asks for on ``MODEL.DEVICE``.

        Raises:
            ValueError: an unknown value, bfloat16 on a processor without instructions for it, OpenVINO on a GPU.
        """
        asked, device = cfg.TEST.INFERENCE, cfg.MODEL.DEVICE
        require_choice(f"{NODE}.BACKEND", asked.BACKEND, BACKENDS)
        require_choice(f"{NODE}.DTYPE", asked.DTYPE, DTYPES)
        if asked.BACKEND == "openvino" and not device.startswith("cpu"):
            raise ValueError(f"{NODE}.BACKEND openvino computes on the CPU; MODEL.DEVICE is {device!r}")
        dtype = asked.DTYPE
        if dtype == "auto":
            dtype = "bfloat16" if has_bfloat16(device) else "float32"
        elif dtype == "bfloat16" and not has_bfloat16(device):
            raise ValueError(
                f"{NODE}.DTYPE bfloat16: {device!r} has no instructions for it (avx512_bf16 or amx on a CPU), it would "
                "be many times slower than in float32; 'auto' takes it only where there are"
            )
        openvino = asked.BACKEND == "openvino"  # which chooses layouts and folds norms by itself
        return cls(asked.BACKEND, dtype, asked.CHANNELS_LAST and not openvino, asked.FOLD_BN and not openvino)

    @property
    def settings(self) -> dict[str, Any]:
        """What differs from the defaults, by key: the part of a fingerprint; {} for plain float32."""
        plain = asdict(Inference())
        return {f"{NODE}.{key.upper()}": value for key, value in asdict(self).items() if value != plain[key]}


def has_bfloat16(device: str) -> bool:
    """Return whether ``device`` ("cpu", "cuda", "cuda:0") multiplies bfloat16 at least as fast as float32."""
    import torch  # here, since who only reads feature files does without

    if device.startswith("cuda"):
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    # the only public sign of what oneDNN, which runs the convolutions, can use; also on processors other than x86
    return device.startswith("cpu") and torch.ops.mkldnn._is_mkldnn_bf16_supported() and _fast_on_this_cpu()


def _fast_on_this_cpu() -> bool:
    """AVX-512 alone emulates bfloat16 with shifts; its own instructions came later."""
    import torch

    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # of newer PyTorch
    known = [getattr(torch.cpu, name) for name in names if hasattr(torch.cpu, name)]
    if known:
        return any(check() for check in known)
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            flags = next((line for line in file if line.startswith(("flags", "Features"))), "").split()
    except OSError:
        return False
    return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(flags)
