"""DefaultTrainer, default_setup and the command line, in this process."""

import json
import logging
from pathlib import Path

import pytest
import torch

from fastreid.data.feature_file import FeatureFile
from fastreid.data.images import BadImage
from fastreid.engine import DefaultPredictor, DefaultTrainer, commands, default_argument_parser, default_setup, hooks
from fastreid.utils.checkpoint import Checkpointer


def run(options, *flags):
    args = default_argument_parser().parse_args([*flags, *options])
    return commands.run_training(args)


def test_training_writes_its_files_and_evaluation_reads_them(tiny_options, tmp_path, capsys):
    out = tmp_path / "out"
    results = run(tiny_options)
    assert {"mAP", "Rank-1", "metric"} <= set(results)
    names = {path.name for path in out.iterdir()}
    assert {"config.yaml", "log.txt", "metrics.json", "model_best.pth", "model_final.pth", "last_checkpoint"} <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    rows = [json.loads(line) for line in (out / "metrics.json").read_text().splitlines()]
    assert [row["iteration"] for row in rows] == list(range(9))
    assert [row["iteration"] for row in rows if "mAP" in row] == [5, 8], "evaluated after epochs 2 and 3, shown once"
    assert {"total_loss", "loss_cls", "loss_triplet", "lr", "data_time"} <= set(rows[0])
    state = torch.load(out / "model_final.pth", weights_only=True)
    keys = {"model", "optimizer", "lr_sched", "warmup_sched", "epoch", "metric", "best_metric", "iteration"}
    assert keys <= set(state)
    assert state["epoch"] == 2
    assert state["metric"] == pytest.approx(rows[-1]["metric"])
    best = torch.load(out / "model_best.pth", weights_only=True)
    assert best["metric"] == max(row["metric"] for row in rows if "metric" in row)
    console = capsys.readouterr().out
    again = run([*tiny_options, "MODEL.WEIGHTS", str(out / "model_final.pth")], "--eval-only")
    assert again == results
    evaluation = capsys.readouterr().out
    assert "skipped for their shape" not in evaluation
    assert "are read from" in evaluation, "the features of the last evaluation fit"
    assert "epoch 3  iter 9/9  100%  eta 0:00:00" in console
    assert "img/s" in console


def test_best_belongs_to_its_weights_whatever_the_periods(tiny_cfg, tmp_path):
    tiny_cfg.SOLVER.CHECKPOINT_PERIOD, tiny_cfg.TEST.EVAL_PERIOD = 2, 1
    given = iter([{"metric": 5.0}, {"metric": 9.0}, {"metric": 7.0}])
    seen = []

    class Trainer(DefaultTrainer):
        @classmethod
        def test(cls, cfg, model):
            seen.append({name: value.clone() for name, value in model.state_dict().items()})
            return next(given)

    trainer = Trainer(tiny_cfg)
    trainer.train()
    best = torch.load(tmp_path / "out" / "model_best.pth", weights_only=True)
    assert best["epoch"] == 1
    assert best["metric"] == 9.0
    assert all(torch.equal(value, seen[1][name]) for name, value in best["model"].items())


def test_resume_restores_the_best_metric_and_the_epoch(tiny_cfg, tmp_path, capsys):
    tiny_cfg.SOLVER.MAX_EPOCH, tiny_cfg.TEST.EVAL_PERIOD = 2, 1

    class Trainer(DefaultTrainer):
        values = iter([90.0, 50.0, 60.0])

        @classmethod
        def test(cls, cfg, model):
            return {"metric": next(cls.values)}

    Trainer(tiny_cfg).train()
    tiny_cfg.SOLVER.MAX_EPOCH = 3
    resumed = Trainer(tiny_cfg)
    resumed.resume_or_load(resume=True)
    assert resumed.start_epoch == 2
    assert "settings changed since do nothing: lr_sched.T_max 1 (not 2)" in capsys.readouterr().out
    resumed.train()
    best = torch.load(tmp_path / "out" / "model_best.pth", weights_only=True)
    assert (best["epoch"], best["metric"]) == (0, 90.0)
    finished = Trainer(tiny_cfg)
    capsys.readouterr()
    finished.resume_or_load(resume=True)
    assert finished.train() is None


def test_no_evaluation_with_period_zero(tiny_cfg, tmp_path):
    tiny_cfg.TEST.EVAL_PERIOD, tiny_cfg.SOLVER.MAX_EPOCH = 0, 2
    trainer = DefaultTrainer(tiny_cfg)
    trainer.test = lambda *_: pytest.fail("evaluated")
    assert trainer.train() is None
    assert (tmp_path / "out" / "model_final.pth").exists()
    assert not (tmp_path / "out" / "model_best.pth").exists()


def test_precise_bn_reads_its_own_data_set_and_leaves_no_trace(tiny_cfg):
    tiny_cfg.TEST.PRECISE_BN.merge_from_list(["ENABLED", True, "DATASET", "Other", "NUM_ITER", 2])
    tiny_cfg.TEST.EVAL_PERIOD = 1
    names = []

    class Trainer(DefaultTrainer):
        @classmethod
        def build_train_loader(cls, cfg):
            names.append(cfg.DATASETS.NAMES)
            cfg = cfg.clone()
            cfg.DATASETS.NAMES = ("FileList",)
            return super().build_train_loader(cfg)

        @classmethod
        def test(cls, cfg, model):
            return {}

    trainer = Trainer(tiny_cfg)
    order = [type(hook) for hook in trainer._hooks]
    assert order.index(hooks.PreciseBN) < order.index(hooks.BufferAverage) < order.index(hooks.EvalHook)
    trainer.train()
    assert names == [("FileList",), ("Other",)]
    assert len(trainer.storage.history("cls_accuracy").values()) == 9, "its batches are no steps of the training"


def test_precise_bn_refuses_a_data_set_of_more_classes(tiny_cfg):
    tiny_cfg.TEST.PRECISE_BN.merge_from_list(["ENABLED", True, "DATASET", "FileList"])
    tiny_cfg.MODEL.HEADS.NUM_CLASSES = 3
    with pytest.raises(ValueError, match="PRECISE_BN.DATASET FileList has 4 identities, the model 3 classes"):
        DefaultTrainer(tiny_cfg)


def test_predictor_takes_weights_of_any_number_of_classes(tiny_cfg, tmp_path, caplog):
    tiny_cfg.MODEL.HEADS.NUM_CLASSES = 7
    torch.save({"model": DefaultTrainer.build_model(tiny_cfg).state_dict()}, tmp_path / "seven.pth")
    tiny_cfg.merge_from_list(["MODEL.HEADS.NUM_CLASSES", 0, "MODEL.WEIGHTS", str(tmp_path / "seven.pth")])
    images = torch.rand(2, 3, 32, 32) * 255
    assert DefaultPredictor(tiny_cfg)(images).shape == (2, 16)
    assert "skipped for their shape" not in caplog.text
    tiny_cfg.merge_from_list(["MODEL.META_ARCHITECTURE", "HOG", "MODEL.WEIGHTS", ""])
    assert DefaultPredictor(tiny_cfg)(images).shape == (2, 4 * 9 * 7**2)


def test_data_set_smaller_than_a_batch(tiny_cfg):
    tiny_cfg.SOLVER.IMS_PER_BATCH, tiny_cfg.DATALOADER.SAMPLER_TRAIN = 32, "TrainingSampler"
    with pytest.raises(ValueError, match="24 images, fewer than SOLVER.IMS_PER_BATCH 32"):
        DefaultTrainer(tiny_cfg)


def test_number_of_classes_comes_from_the_data(tiny_cfg, caplog):
    caplog.set_level("WARNING", "fastreid")
    tiny_cfg.freeze()
    scaled = DefaultTrainer.auto_scale_hyperparams(tiny_cfg, 4)
    assert scaled.MODEL.HEADS.NUM_CLASSES == 4
    assert scaled.is_frozen()
    assert tiny_cfg.MODEL.HEADS.NUM_CLASSES == 0
    tiny_cfg.defrost()
    tiny_cfg.MODEL.HEADS.NUM_CLASSES = 9
    assert DefaultTrainer.auto_scale_hyperparams(tiny_cfg, 4).MODEL.HEADS.NUM_CLASSES == 9
    assert not caplog.text
    DefaultTrainer.auto_scale_hyperparams(tiny_cfg, 10)
    assert "MODEL.HEADS.NUM_CLASSES is 9, but the training set has 10 classes" in caplog.text


def test_wrong_checkpoint_is_refused(tiny_options, tmp_path):
    torch.save({"model": {"something.else": torch.zeros(1)}}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="Nothing in .*other.pth fits the model"):
        run([*tiny_options, "MODEL.WEIGHTS", str(tmp_path / "other.pth")], "--eval-only")


def test_evaluation_without_weights_says_that_the_model_is_not_trained(tiny_options, capsys):
    assert "mAP" in run(tiny_options, "--eval-only")
    assert "MODEL.WEIGHTS is empty" in capsys.readouterr().out


def test_option_after_the_first_pair_is_refused(tiny_options):
    args = default_argument_parser().parse_args([*tiny_options, "--resume"])
    assert args.resume is False
    with pytest.raises(ValueError, match="--resume"):
        commands.setup(args)


def test_setup_saves_the_config_and_warns_once_of_idle_settings(tiny_cfg, tmp_path, capsys):
    tiny_cfg.SOLVER.STEPS = [10, 20]
    tiny_cfg.freeze()
    default_setup(tiny_cfg)
    console = capsys.readouterr().out
    assert console.count("settings have no effect") == 1
    assert "SOLVER.STEPS = [10, 20] (only for MultiStepLR; SOLVER.SCHED is 'CosineAnnealingLR')" in console
    from fastreid.config import get_cfg

    reread = get_cfg()
    reread.merge_from_file(tmp_path / "out" / "config.yaml")
    assert reread.dump() == tiny_cfg.dump()


def test_a_folder_that_cannot_be_written_is_named_with_its_key(tiny_cfg, tmp_path):
    (tmp_path / "file").touch()
    tiny_cfg.OUTPUT_DIR = str(tmp_path / "file" / "below")
    with pytest.raises(NotADirectoryError, match=r"OUTPUT_DIR cannot be written: Not a directory: '.*below'"):
        default_setup(tiny_cfg)


def test_negative_seed_is_drawn_and_kept_for_a_resume(tiny_cfg):
    tiny_cfg.SEED = -1
    tiny_cfg.freeze()
    default_setup(tiny_cfg)
    drawn = tiny_cfg.SEED
    assert drawn >= 0
    assert tiny_cfg.is_frozen()
    tiny_cfg.defrost()
    tiny_cfg.SEED = -1
    default_setup(tiny_cfg, default_argument_parser().parse_args(["--resume"]))
    assert tiny_cfg.SEED == drawn


def test_predictor_gives_the_features_of_the_saved_model(tiny_cfg, tmp_path):
    tiny_cfg.MODEL.HEADS.NUM_CLASSES = 4
    model = DefaultTrainer.build_model(tiny_cfg).eval()
    Checkpointer(model, str(tmp_path)).save("weights")
    tiny_cfg.MODEL.WEIGHTS = str(tmp_path / "weights.pth")
    images = torch.rand(2, 3, 32, 32) * 255
    copy = images.clone()
    torch.testing.assert_close(DefaultPredictor(tiny_cfg)(images), model({"images": images}).detach())
    assert torch.equal(images, copy)


@pytest.mark.parametrize("flip", [False, True])
def test_vectors_of_files_are_those_of_the_evaluation(tiny_cfg, tiny_data, tmp_path, flip):
    tiny_cfg.merge_from_list(["INPUT.GRAYSCALE", True, "INPUT.INK_CROP.ENABLED", True, "TEST.FLIP.ENABLED", flip])
    predictor = DefaultPredictor(tiny_cfg)
    DefaultTrainer.test(tiny_cfg, predictor.model)
    stored = FeatureFile.load(tmp_path / "out" / "features" / "FileList.npz")
    vectors = predictor.from_files(stored.paths, batch_size=5)
    assert (vectors.dtype, tuple(vectors.shape)) == (torch.float32, (16, 16))
    torch.testing.assert_close(vectors, torch.from_numpy(stored.features))
    one = predictor.from_files([Path(stored.paths[3])])
    torch.testing.assert_close(one, vectors[3:4])
    tiny_cfg.INPUT.INK_CROP.ENABLED, tiny_cfg.INPUT.SIZE_TEST = False, [16, 16]
    assert not torch.allclose(DefaultPredictor(tiny_cfg).from_files(stored.paths[3:4]), one), "settings of INPUT count"


def test_report_names_the_weights_that_were_evaluated_and_no_others(tiny_cfg, tmp_path):
    tiny_cfg.MODEL.HEADS.NUM_CLASSES, tiny_cfg.TEST.REPORT.ENABLED = 4, True
    Checkpointer(DefaultTrainer.build_model(tiny_cfg), str(tmp_path)).save("weights")
    tiny_cfg.MODEL.WEIGHTS = str(tmp_path / "weights.pth")
    report = tmp_path / "out" / "report.html"
    DefaultTrainer.test(tiny_cfg, DefaultTrainer.build_model(tiny_cfg))  # as in a training, which only began with them
    assert "weights.pth" not in report.read_text()
    DefaultTrainer.test(tiny_cfg, commands.load_model(tiny_cfg, DefaultTrainer), reuse_features=True)
    assert f"<dd>{tmp_path}/weights.pth (" in report.read_text()


def test_what_the_predictor_refuses(tiny_cfg, tiny_data, tmp_path):
    predictor = DefaultPredictor(tiny_cfg)
    with pytest.raises(TypeError, match=r"takes a tensor of images .*; got str\. Use from_files\(paths\)"):
        predictor("a.png")
    with pytest.raises(TypeError, match="must be a list of paths; got the single path 'a.png'"):
        predictor.from_files("a.png")
    with pytest.raises(ValueError, match="paths is empty"):
        predictor.from_files([])
    with pytest.raises(ValueError, match="batch_size must be at least 1; got 0"):
        predictor.from_files(["a.png"], batch_size=0)
    (tmp_path / "text.png").write_text("no image")
    files = [tiny_data / "0_0.png", tmp_path / "text.png"]
    with pytest.raises(BadImage, match=r"text\.png"):
        predictor.from_files(files)
    with pytest.raises(BadImage, match=r"absent\.png: no such file"):
        predictor.from_files([tmp_path / "absent.png"])
    tiny_cfg.DATALOADER.ON_BAD_IMAGE = "skip"
    assert DefaultPredictor(tiny_cfg).from_files(files).shape == (2, 16)


def test_log_of_a_second_setup_goes_to_the_second_folder_only(tiny_cfg, tmp_path):
    default_setup(tiny_cfg)
    tiny_cfg.OUTPUT_DIR = str(tmp_path / "second")
    default_setup(tiny_cfg)
    logging.getLogger("fastreid.engine").info("once only")
    assert (tmp_path / "second" / "log.txt").read_text().count("once only") == 1
    assert "once only" not in (tmp_path / "out" / "log.txt").read_text()


def lists_without_a_gallery(tiny_data, tmp_path):
    """Options of the same lists under another root, whose gallery list is empty."""
    for part in ("train", "query"):
        lines = (tiny_data / f"{part}.txt").read_text().splitlines()
        (tmp_path / f"{part}.txt").write_text("\n".join(f"{tiny_data}/{line}" for line in lines))
    (tmp_path / "gallery.txt").write_text("")
    return ["DATASETS.FILELIST.ROOT", str(tmp_path)]


@pytest.mark.parametrize(
    "options, message",
    [
        (["DATASETS.TESTS", ("Market1501",)], "Data set market1501: .* not found under"),
        (["DATASETS.TESTS", ("FileList", "Market1051")], "Did you mean 'Market1501'"),
        (["TEST.METRIC", "cosin"], "TEST.METRIC must be one of .* Did you mean 'cosine'"),
        (["TEST.RULE", "camra"], "Did you mean 'camera'"),
        (["TEST.RULE", "granted_before"], "needs column .*dates"),
        (["TEST.METRICS", ("recal@5",)], "TEST.METRICS: .*recal@5"),
        (["TEST.GROUP_BY", ("camid",)], "TEST.GROUP_BY names column 'camid'.* Did you mean 'camids'"),
        (["TEST.METRICS", ("nDCG@5",), "TEST.GAINS", [["patents", 1.0]]], "TEST.GAINS names column 'patents'"),
        (lists_without_a_gallery, "The gallery part of data set 'FileList' is empty"),
    ],
)
def test_what_no_evaluation_could_use_is_refused_before_the_training(tiny_cfg, tiny_data, tmp_path, options, message,
                                                                     monkeypatch):  # fmt: skip
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    tiny_cfg.merge_from_list(options(tiny_data, tmp_path) if callable(options) else options)
    with pytest.raises((ValueError, KeyError, FileNotFoundError), match=message):
        DefaultTrainer(tiny_cfg)
    tiny_cfg.TEST.EVAL_PERIOD = 0
    DefaultTrainer(tiny_cfg)


def test_an_evaluation_alone_is_refused_before_the_extraction(tiny_cfg):
    tiny_cfg.TEST.RULE = "granted_before"
    with pytest.raises(ValueError, match=r"rule granted_before needs column \['dates'\]"):
        DefaultTrainer.test(tiny_cfg, model=None, reuse_features=True)


@pytest.mark.parametrize("method", ["test", "build_evaluator", "build_test_loader", "build_hooks"])
def test_test_sets_that_only_a_trainer_from_outside_knows_are_left_to_it(tiny_cfg, method):
    def refuse(*args, **kwargs):
        pytest.fail("called before the first evaluation")

    methods = {"build_hooks": lambda self: [hooks.IterationTimer()]}
    kind = type("Trainer", (DefaultTrainer,), {method: methods.get(method, classmethod(refuse))})
    tiny_cfg.DATASETS.TESTS = ("TheirOwn",)
    kind(tiny_cfg)


def test_metric_is_checked_where_only_the_test_loader_comes_from_outside(tiny_cfg):
    class Trainer(DefaultTrainer):
        @classmethod
        def build_test_loader(cls, cfg, dataset_name):
            pytest.fail("called before the first evaluation")

    tiny_cfg.DATASETS.TESTS, tiny_cfg.TEST.METRIC = ("TheirOwn",), "cosin"
    with pytest.raises(ValueError, match="TEST.METRIC must be one of"):
        Trainer(tiny_cfg)
