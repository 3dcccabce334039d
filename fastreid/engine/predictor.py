"""Features of images from a trained model: in this process, or in several at once."""

import atexit
import os
import queue
import traceback
from collections.abc import Sequence

import torch
import torch.multiprocessing as mp

from fastreid.config import CfgNode
from fastreid.config.plugins import load_plugin
from fastreid.data.build import build_file_loader
from fastreid.engine.acceleration import accelerated
from fastreid.engine.commands import load_model
from fastreid.evaluation.evaluator import forward

__all__ = ["AsyncPredictor", "DefaultPredictor"]

_POLL_SECONDS = 0.5  # how often a wait looks whether the workers are still alive


class DefaultPredictor:
    """Features of image files, or of image batches, from ``MODEL.WEIGHTS``, computed as ``TEST.INFERENCE`` says.

    >>> predictor = DefaultPredictor(cfg)
    >>> features = predictor.from_files(["front.png", "rear.png"])  # (2, D)
    >>> features = predictor(images)  # images: (B, C, H, W), 0..255  -> (B, D)
    """

    def __init__(self, cfg: CfgNode):
        from fastreid.engine.defaults import DefaultTrainer  # which offers this class under its old path

        self.cfg = cfg.clone()
        self.model = accelerated(load_model(cfg, DefaultTrainer).eval(), cfg)

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        """Return the features (B, D), on the CPU and not normalised, of images that are prepared already.

        Args:
            image: (B, C, H, W), values 0..255, resized and with ``INPUT.CHANNELS`` channels. The model subtracts
                ``MODEL.PIXEL_MEAN`` and divides by ``MODEL.PIXEL_STD`` itself.

        Raises:
            TypeError: not a tensor.
        """
        if not isinstance(image, torch.Tensor):
            raise TypeError(
                f"DefaultPredictor takes a tensor of images (B, C, H, W) in 0..255; got {type(image).__name__}. "
                "Use from_files(paths) for image files"
            )
        with torch.inference_mode():
            return self.model({"images": image}).cpu()

    def from_files(self, paths: Sequence[str | os.PathLike], batch_size: int | None = None) -> torch.Tensor:
        """Return the features of image files: those that an evaluation extracts for them.

        Files are read and transformed as a test set is (``INPUT``), and mirrored too with ``TEST.FLIP.ENABLED``.

        Args:
            paths: N image files.
            batch_size: images per batch; default ``TEST.IMS_PER_BATCH``.

        Returns:
            float32 (N, D) on the CPU, rows in the order of ``paths``, not normalised: cosine similarity needs
            ``torch.nn.functional.normalize`` first.

        Raises:
            BadImage: a file is missing or no image (:mod:`fastreid.data.images`); with ``DATALOADER.ON_BAD_IMAGE``
                "skip" it counts as a white page instead, and is logged.
            TypeError: ``paths`` is a single path.
            ValueError: ``paths`` is empty, or ``batch_size`` below 1.
        """
        loader, flip = build_file_loader(self.cfg, paths, batch_size), self.cfg.TEST.FLIP.ENABLED
        with torch.inference_mode():
            return torch.cat([forward(self.model, batch, flip).float().cpu() for batch in loader])


class AsyncPredictor:
    """``DefaultPredictor`` in several processes: batches are put in, features come out in the same order.

    >>> with AsyncPredictor(cfg, num_gpus=4) as predictor:
    ...     for images in batches:
    ...         predictor.put(images)
    ...     features = [predictor.get() for _ in range(len(predictor))]

    The processes are started anew (``spawn``), so a script that uses this needs ``if __name__ == "__main__":``.
    Components from outside must be named in ``PLUGINS`` or registered where that script is imported.

    Args:
        num_gpus: workers, one per GPU; without CUDA that many on the CPU. 0: one on the CPU.
    """

    def __init__(self, cfg: CfgNode, num_gpus: int = 1):
        if num_gpus < 0:
            raise ValueError(f"AsyncPredictor: num_gpus must not be negative; got {num_gpus}")
        workers, on_gpu = max(num_gpus, 1), num_gpus > 0 and torch.cuda.is_available()
        if on_gpu and num_gpus > torch.cuda.device_count():
            raise ValueError(f"AsyncPredictor: num_gpus is {num_gpus}, this machine has {torch.cuda.device_count()}")
        context = mp.get_context("spawn")
        self._tasks, self._results = context.Queue(maxsize=3 * workers), context.Queue()
        self._put, self._got = 0, 0
        self._early: dict[int, tuple] = {}  # results that came before their turn
        self.procs = []
        for number in range(workers):
            device = f"cuda:{number}" if on_gpu else "cpu"
            job = (_on_device(cfg, device), max(1, torch.get_num_threads() // workers), self._tasks, self._results)
            self.procs.append(context.Process(target=_work, args=job, daemon=True))
            self.procs[-1].start()
        atexit.register(self.shutdown)

    def put(self, image: torch.Tensor) -> None:
        """Queue a batch (B, C, H, W) as for ``DefaultPredictor``; waits while all workers are far behind."""
        if not isinstance(image, torch.Tensor):
            raise TypeError(
                f"AsyncPredictor takes a tensor of images (B, C, H, W) in 0..255; got {type(image).__name__}"
            )
        self._require_workers()
        # as arrays: shared tensors need their sender alive until they are read
        task = (self._put, image.detach().cpu().numpy())
        while True:
            try:
                self._tasks.put(task, timeout=_POLL_SECONDS)
                break
            except queue.Full:
                self._require_workers()
        self._put += 1

    def get(self) -> torch.Tensor:
        """Return the features of the batch that was put in first of those not yet returned.

        Raises:
            IndexError: nothing is under way.
            RuntimeError: a worker failed over this batch, could not start, or died; with its traceback.
        """
        if not len(self):
            raise IndexError("AsyncPredictor.get(): no batch is under way; put() one first")
        while self._got not in self._early:
            if not self._receive():
                self._require_workers()
        features, error = self._early.pop(self._got)
        self._got += 1
        if error:
            raise RuntimeError(f"a worker of AsyncPredictor failed over batch {self._got - 1}:\n{error}")
        return torch.from_numpy(features)

    def _receive(self) -> bool:
        """Take one result from the workers; False when none came for a while."""
        try:
            number, features, error = self._results.get(timeout=_POLL_SECONDS)
        except queue.Empty:
            return False
        if number is None:
            raise self._failed(f"a worker of AsyncPredictor could not start:\n{error}")
        self._early[number] = (features, error)
        return True

    def _require_workers(self) -> None:
        """Raise ``RuntimeError`` when a worker is dead and the workers have left nothing more to read."""
        if not self.procs:
            raise RuntimeError("AsyncPredictor was shut down")
        dead = [process.exitcode for process in self.procs if not process.is_alive()]
        if dead and not self._receive():
            # what happens to a batch is caught, so a worker that leaves by an error has not even started
            hint = ': the script lacks `if __name__ == "__main__":`, or does not import' if dead[0] == 1 else ""
            raise self._failed(f"a worker of AsyncPredictor died with exit code {dead[0]}{hint}")

    def _failed(self, message: str) -> RuntimeError:
        self.shutdown()
        return RuntimeError(message)

    def __len__(self) -> int:
        """Number of batches put in and not yet returned."""
        return self._put - self._got

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        """Put one batch and return the features of the oldest under way: its own where there was none."""
        self.put(image)
        return self.get()

    @property
    def default_buffer_size(self) -> int:
        """How many batches to put in before the first ``get``, to keep all workers busy."""
        return 5 * max(len(self.procs), 1)

    def shutdown(self) -> None:
        """End the workers; what is still under way is dropped. May be called more than once."""
        procs, self.procs = self.procs, []
        for process in procs:
            process.terminate()
        for process in procs:
            process.join()
        for each in (self._tasks, self._results):
            each.cancel_join_thread()
            each.close()
        atexit.unregister(self.shutdown)

    def __enter__(self) -> "AsyncPredictor":
        return self

    def __exit__(self, *_) -> None:
        self.shutdown()


def _on_device(cfg: CfgNode, device: str) -> CfgNode:
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = device
    cfg.freeze()
    return cfg


def _work(cfg: CfgNode, num_threads: int, tasks: mp.Queue, results: mp.Queue) -> None:
    """Body of a worker: ``(number, images)`` in, ``(number, features, None)`` or ``(number, None, traceback)`` out."""
    try:
        torch.set_num_threads(num_threads)
        for plugin in cfg.PLUGINS:
            load_plugin(plugin)
        predictor = DefaultPredictor(cfg)
    except Exception:
        results.put((None, None, traceback.format_exc()))
        return
    while True:
        number, images = tasks.get()
        try:
            results.put((number, predictor(torch.from_numpy(images)).float().numpy(), None))
        except Exception:
            results.put((number, None, traceback.format_exc()))
