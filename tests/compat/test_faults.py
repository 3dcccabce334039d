"""fast-reid's known faults, each held right by a test: by one named in ``ELSEWHERE``, or by one below.

The numbers are those of the list "Correctness bugs" in the audit of fast-reid 1.3. What is deliberately kept is said in
the docstring of its test: the width of Non_local (22) and the difference of the two re-rankers (19).
"""

import ast
import functools
import json
import zipfile
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fastreid.config import get_cfg
from fastreid.data.samplers import ImbalancedDatasetSampler, build_train_sampler
from fastreid.data.transforms import RandomPatch
from fastreid.evaluation import ReidEvaluator
from fastreid.evaluation.query_expansion import aqe
from fastreid.evaluation.rank import evaluate_rank
from fastreid.evaluation.rerank import re_ranking
from fastreid.layers import Non_local
from fastreid.layers.any_softmax import ArcSoftmax
from fastreid.modeling import build_model
from fastreid.utils.checkpoint import Checkpointer, read_checkpoint
from fastreid.utils.compute_dist import build_dist

TESTS = Path(__file__).resolve().parents[1]

ELSEWHERE = {
    "1 the optimiser never updates": [
        "solver/test_optimizer.py::test_every_parameter_moves",
        "engine/test_train_loop.py::test_a_step_is_plain_sgd_on_the_sum_of_the_losses",
    ],
    "2 the flip test normalises twice; the caller's tensor changes; uint8 is refused": [
        "evaluation/test_evaluator.py::test_flip_averages_the_mirror_image_and_leaves_the_batch_alone",
        "modeling/test_baseline.py::test_images_are_normalised_and_the_callers_stay_as_they_are",
    ],
    "3 MGN freezes its heads": ["modeling/test_mgn.py::test_freezing_the_branches_leaves_the_heads_to_train"],
    "4 frozen layers thaw, and freeze again after a resume": [
        "engine/test_train_loop.py::test_frozen_layers_stay_fixed_also_after_an_evaluation_and_then_train",
        "engine/test_train_loop.py::test_freeze_after_a_resume_depends_on_the_iteration",
        "solver/test_optimizer.py::test_frozen_parameters_wait_for_their_iterations_also_after_a_resume",
    ],
    "5 TPR@FPR is inverted": [
        "retrieval/test_roc.py::test_perfect_separation_is_one_at_every_rate",
        "evaluation/test_protocol.py::test_roc_has_genuine_pairs_as_positives",
        "evaluation/test_visualizer.py::test_genuine_pairs_are_positive_in_the_curve",
    ],
    "6 the tail of CMC; 7 few gallery images": [
        "retrieval/test_rank.py::test_gallery_of_one_item_and_rank_ten_beyond_it",
    ],
    "8 samplers hang": [
        "data/test_samplers.py::test_too_few_identities_is_an_error_not_a_hang",
        "data/test_samplers.py::test_batch_must_be_a_multiple_of_k",
    ],
    "9 the balanced sampler repeats images": [
        "data/test_samplers.py::test_exactly_k_minus_one_images_of_other_cameras_are_all_taken",
    ],
    "10 SetReWeightSampler gives no batch": ["data/test_samplers.py::test_set_weights_divide_the_identities"],
    "11 samplers use global generators": [
        "data/test_loader.py::test_global_generators_do_not_matter_and_are_not_moved",
    ],
    "12 an exception in the loader hangs the training": [
        "data/test_loader.py::test_bad_image_stops_at_once_and_is_named",
        "compat/test_public_names.py::test_background_generator_gives_items_in_order_and_passes_on_errors",
    ],
    "13 palettes, transparency and bilevel images are read wrong": [
        "data/test_images.py::test_palette_with_and_without_transparency",
        "data/test_images.py::test_transparency_lies_on_white",
        "data/test_images.py::test_bilevel_becomes_gray",
    ],
    "14 RandomPatch keeps whole images in memory": ["data/test_transforms.py::test_random_patch_memory_is_bounded"],
    "15 the collator gives None for NumPy numbers": [
        "data/test_loader.py::test_collators_take_every_kind_of_number",
    ],
    "16 MoCo takes its own keys and empty slots for positives": [
        "modeling/test_moco.py::test_identical_singletons_lose_the_same_at_every_step",
        "modeling/test_moco.py::test_empty_slots_are_nobodys_positives",
    ],
    "17 NaN in margins, focal loss and one class": [
        "layers/test_any_softmax.py::test_finite_at_the_ends_of_the_range",
        "modeling/test_losses.py::test_focal_is_finite_for_saturated_logits",
        "modeling/test_losses.py::test_cross_entropy_of_one_class_is_zero",
    ],
    "18 AQE of few items and negative similarities": [
        "retrieval/test_expansion.py::test_joint_expansion_with_itself_alone_changes_nothing",
        "retrieval/test_expansion.py::test_negative_similarity_never_gives_nan",
    ],
    "20 clipping per flat buffer": ["solver/test_optimizer.py::test_gradients_are_clipped_per_parameter"],
    "21 RegNet's settings leak": [
        "modeling/test_timm_families.py::test_building_one_network_leaves_the_next_as_it_is",
    ],
    "22 Non_local's width is fixed": ["layers/test_blocks.py::test_non_local_against_the_full_position_matrix"],
    "23 options that a network lacks are ignored": [
        "modeling/test_resnest.py::test_switches_of_other_networks_are_named",
        "modeling/test_timm_families.py::test_switches_that_a_backbone_does_not_have_are_named",
        "modeling/test_baseline.py::test_unknown_names_have_near_misses",
        "modeling/test_baseline.py::test_no_loss_at_all_is_refused",
        "modeling/test_mgn.py::test_every_loss_of_the_registry_is_used",
    ],
    "24 model_best, resume, torn files": [
        "engine/test_trainer.py::test_best_belongs_to_its_weights_whatever_the_periods",
        "engine/test_trainer.py::test_resume_restores_the_best_metric_and_the_epoch",
        "engine/test_resume.py::test_killed_training_resumes_to_the_same_losses",
        "utils/test_checkpoint.py::test_failed_save_leaves_the_old_file",
    ],
    "25 demonstration of a folder; cosine of features that are not normalised": [
        "tools/test_demo.py::test_inputs_are_files_folders_and_patterns",
        "evaluation/test_visualizer.py::test_cosine_distances_are_those_of_normalised_features",
        "evaluation/test_visualizer.py::test_average_precisions_are_those_of_the_evaluation",
    ],
    "26 several processes": [
        "utils/test_comm.py::test_launch_under_torchrun_joins_its_group",
        "distributed/test_same_numbers.py::test_training_has_the_losses_and_weights_of_one_process",
        "engine/test_resume.py::test_two_processes_hold_one_model",
        "data/test_loader.py::test_messages",
    ],
    "27 periods and lengths of zero; a model left in evaluation mode": [
        "engine/test_trainer.py::test_no_evaluation_with_period_zero",
        "engine/test_trainer.py::test_data_set_smaller_than_a_batch",
        "solver/test_lr_scheduler.py::test_no_epoch_left_for_the_cosine_is_an_error",
        "evaluation/test_evaluator.py::test_inference_context_restores_each_modules_mode_after_an_exception",
    ],
    "28 teachers drift": [
        "modeling/test_distiller.py::test_teachers_stay_as_they_are_and_out_of_the_model",
        "modeling/test_distiller.py::test_moving_average_follows_weights_and_statistics",
    ],
    "29 the SWA hook cannot work": [
        "compat/test_public_names.py::test_swa_ends_with_the_average_of_every_second_model",
        "solver/test_optim.py::test_swa_is_the_mean_of_the_weights_at_its_steps",
    ],
    "unhelpful errors": [
        "modeling/test_resnet.py::test_wrong_options_are_named",
        "modeling/test_pretrained.py::test_a_variant_without_public_weights_is_named",
        "modeling/test_heads.py::test_without_classes_it_extracts_but_does_not_train",
        "modeling/test_baseline.py::test_full_width_of_the_backbone_is_used_whatever_the_config_says",
        "modeling/test_baseline.py::test_training_outside_a_storage_works",
        "solver/test_lr_scheduler.py::test_wrong_names_and_lengths",
        "utils/test_checkpoint.py::test_files_without_weights_are_refused",
        "utils/test_checkpoint.py::test_no_matching_name_is_an_error",
        "retrieval/test_rank.py::test_errors_name_the_likely_cause",
    ],
    "security: pickles that run code": [
        "utils/test_checkpoint.py::test_code_in_a_file_is_not_run",
        "modeling/test_pretrained.py::test_code_in_a_weights_file_is_not_run",
        "evaluation/test_visualizer.py::test_roc_files_hold_numbers_and_pickles_are_refused",
        "modeling/test_pretrained.py::test_digits_of_the_file_name_are_the_checksum",
    ],
}


@functools.cache
def functions_of(path: str) -> set[str]:
    tree = ast.parse((TESTS / path).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_fault_has_its_test():
    for fault, tests in ELSEWHERE.items():
        for name in tests:
            path, _, function = name.partition("::")
            assert function in functions_of(path), f"fault {fault}: {name} is gone"
    own = [name.split("_")[1] for name in functions_of("compat/test_faults.py") if name.startswith("test_")]
    covered = [*" ".join(ELSEWHERE).replace(";", " ").split(), *own]
    assert [number for number in range(1, 30) if str(number) not in covered] == []


def test_6_cmc_of_a_query_with_few_items_does_not_go_on_as_that_of_the_query_before():
    # the first query keeps four items, the second one: a match at rank 1
    distances = np.array([[0.9, 0.1, 0.2, 0.3], [0.1, 0.2, 0.3, 0.4]], dtype=np.float32)
    pids, camids = np.array([0, 1, 1, 1]), np.array([1, 0, 0, 0])
    cmc, ap, _ = evaluate_rank(distances, [0, 0], pids, [0, 0], camids, max_rank=4)
    assert cmc.tolist() == [0.5, 0.5, 0.5, 1.0]
    assert ap.tolist() == [0.25, 1.0]
    assert (np.diff(cmc) >= 0).all()


def test_7_few_gallery_images_nan_and_wrong_lengths():
    cfg = get_cfg()
    evaluator = ReidEvaluator(cfg, num_query=2)
    labels = {"targets": torch.tensor([0, 1, 0, 1]), "camids": torch.tensor([0, 0, 1, 1])}
    evaluator.process(labels, torch.eye(2).repeat(2, 1))
    assert evaluator.evaluate()["Rank-10"] == 100
    labels = ([0, 1], [0, 1, 1], [0, 0], [1, 1, 1])
    with pytest.raises(ValueError, match="6 distances are NaN or infinite"):
        evaluate_rank(np.full((2, 3), np.nan, np.float32), *labels)
    with pytest.raises(ValueError, match="'pids' of the gallery has 2 rows; expected 3"):
        evaluate_rank(np.zeros((2, 3), np.float32), [0, 1], [0, 1], [0, 0], [1, 1, 1])


def test_10_set_weights_with_cameras_that_are_strings():
    items = [(f"{number}.jpg", f"market_{number // 4}", f"market_c{number % 2}") for number in range(32)]
    cfg = get_cfg()
    cfg.merge_from_list(["DATALOADER.SAMPLER_TRAIN", "SetReWeightSampler", "DATALOADER.SET_WEIGHT", [1, 3]])
    cfg.DATALOADER.NUM_INSTANCE = 2
    stream = iter(build_train_sampler(cfg, items, 8, seed=0))
    for _ in range(5):
        batch = [items[next(stream)] for _ in range(8)]
        assert len({pid for _, pid, _ in batch}) == 4
        assert sum(camera == "market_c1" for _, _, camera in batch) == 6


def test_11_imbalanced_sampling_shares_one_stream_among_the_ranks(monkeypatch):
    items = [(str(number), number // 3, 0) for number in range(12)]

    def draws(rank, world_size, count):
        monkeypatch.setattr("fastreid.utils.comm.get_rank", lambda: rank)
        monkeypatch.setattr("fastreid.utils.comm.get_world_size", lambda: world_size)
        stream = iter(ImbalancedDatasetSampler(items, seed=3))
        return [next(stream) for _ in range(count)]

    whole, state = draws(0, 1, 40), np.random.get_state()[1].tolist()
    assert [draws(rank, 2, 20) for rank in (0, 1)] == [whole[0::2], whole[1::2]]
    assert np.random.get_state()[1].tolist() == state


def test_14_patches_are_copies_that_later_pastes_leave_alone():
    transform = RandomPatch(prob=1.0)
    torch.manual_seed(0)
    images = [torch.full((3, 32, 16), float(number)) for number in range(transform.MIN_POOL_SIZE + 20)]
    results = [transform(image) for image in images]
    for number, (image, patch) in enumerate(zip(images, transform.pool, strict=True)):
        assert (image == number).all(), "the caller's image stays as it is"
        assert patch.untyped_storage().nbytes() == patch.numel(), "no view of a whole image"
        assert (patch == number).all(), "a piece of its own image, nothing pasted into it"
    assert any((result != number).any() for number, result in enumerate(results))


def test_17_the_angle_margin_at_and_beyond_a_cosine_of_one():
    cosines = torch.tensor([[1 + 1e-7, -0.2], [-1 - 1e-7, 1.0]], requires_grad=True)
    ArcSoftmax(2, 30, 0.5)(cosines, torch.tensor([0, 0])).sum().backward()
    assert cosines.grad.isfinite().all()


def test_18_query_expansion_with_fewer_items_than_k():
    queries, gallery = torch.tensor([[1.0, 0.0]]), torch.tensor([[-1.0, 0.0], [0.0, 1.0]])
    new_queries, new_gallery = aqe(queries, gallery, 1, 5, 2.5)
    assert torch.cat([new_queries, new_gallery]).isfinite().all()
    torch.testing.assert_close(new_queries, queries / 3)


def test_19_the_two_re_rankers_need_no_gpu_and_differ_as_their_sources_do():
    """Kept: one follows the paper's code, one what fast-reid evaluates with; ``retrieval/rerank.py`` says how."""
    features = nn.functional.normalize(torch.randn(60, 8, generator=torch.Generator().manual_seed(0)))
    q, g = features[:10], features[10:]

    def distances(x, y):
        return build_dist(x, y, "euclidean")

    evaluated = np.asarray(build_dist(q, g, "jaccard", k1=20, k2=6))
    paper = np.asarray(re_ranking(distances(q, g), distances(q, q), distances(g, g), 20, 6, 0.0))
    assert evaluated.shape == paper.shape == (10, 50)
    assert 0 < np.abs(evaluated - paper).max() < 0.2


def test_22_one_inner_channel_is_kept_for_checkpoints_and_may_be_changed():
    assert Non_local(64, "BN").g.weight.shape == (1, 64, 1, 1)
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "MODEL.BACKBONE.DEPTH", "10x", "MODEL.BACKBONE.WITH_NL", True])
    cfg.merge_from_list(["MODEL.BACKBONE.NL_CHANNELS", 8])
    names = {name: value.shape[0] for name, value in build_model(cfg).state_dict().items() if name.endswith("g.weight")}
    assert names
    assert set(names.values()) == {8}


def test_23_a_switch_that_the_backbone_lacks_is_named(caplog):
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "MODEL.BACKBONE.NAME", "build_osnet_backbone"])
    cfg.merge_from_list(["MODEL.BACKBONE.DEPTH", "x0_25", "MODEL.BACKBONE.WITH_NL", True])
    build_model(cfg)
    assert "MODEL.BACKBONE.WITH_NL is True, which build_osnet_backbone does not have" in caplog.text


def test_an_empty_path_of_a_config_is_said():
    with pytest.raises(FileNotFoundError, match="the path is empty"):
        get_cfg().merge_from_file("")


def test_a_vision_transformer_takes_images_of_another_size():
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "MODEL.BACKBONE.NAME", "build_vit_backbone"])
    cfg.merge_from_list(["MODEL.BACKBONE.DEPTH", "small", "INPUT.SIZE_TRAIN", [64, 32], "INPUT.SIZE_TEST", [64, 32]])
    model = build_model(cfg).eval()
    with torch.no_grad():
        assert model(torch.rand(1, 3, 96, 32)).shape == (1, 768)


def test_same_camera_everywhere_is_said():
    labels = ([0, 1], [0, 1, 1], [7, 7], [7, 7, 7])
    with pytest.raises(ValueError, match="do queries and gallery carry the same camera id"):
        evaluate_rank(np.zeros((2, 3), np.float32), *labels)


def by_numpy_1(source: Path, target: Path) -> None:
    """Copy a checkpoint under the module names that NumPy 1 wrote."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as new:
        for name in old.namelist():
            content = old.read(name)
            if name.endswith("data.pkl"):
                assert b"numpy._core.multiarray" in content
                content = content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
            new.writestr(name, content)


def test_checkpoints_of_numpy_1_with_scalars_arrays_and_arguments_load(tmp_path):
    model = nn.Linear(3, 2)
    weights = {f"module.{name}": value.detach().numpy() for name, value in model.state_dict().items()}
    rest = {"metric": np.float64(91.5), "epoch": np.int64(59), "args": Namespace(num_gpus=4)}
    torch.save({"model": weights, **rest}, tmp_path / "new.pth")
    by_numpy_1(tmp_path / "new.pth", tmp_path / "zoo.pth")
    for name in ("new.pth", "zoo.pth"):
        other = nn.Linear(3, 2)
        assert Checkpointer(other).load(str(tmp_path / name)) == rest
        assert torch.equal(other.weight, model.weight)


class Command:
    """A pickle that would write a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_malicious_checkpoint_does_not_run_and_no_advice_is_given_to_let_it(tmp_path, zipped):
    torch.save(
        {"model": {"weight": torch.ones(1)}, "metric": Command(tmp_path / "made")},
        tmp_path / "evil.pth", _use_new_zipfile_serialization=zipped,
    )  # fmt: skip
    with pytest.raises(ValueError, match="objects other than tensors and plain values inside") as error:
        read_checkpoint(tmp_path / "evil.pth")
    assert not (tmp_path / "made").exists()
    assert "weights_only" not in str(error.value)
    assert "trust" not in str(error.value)


def test_what_does_not_fit_is_listed_by_name_and_nothing_fitting_is_an_error(tmp_path, caplog):
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    given = {"0.weight": torch.ones(2, 2), "0.bias": torch.ones(5), "old.weight": torch.ones(1)}
    torch.save({"model": given}, tmp_path / "part.pth")
    Checkpointer(model).load(str(tmp_path / "part.pth"))
    assert float(model[0].weight.detach().mean()) == 1
    for words in ("1.{weight, bias, running_mean, running_var}", "old.weight", "0.bias: (5,) in the file, (2,)"):
        assert words in caplog.text
    torch.save({"model": {"old.weight": torch.ones(1)}}, tmp_path / "none.pth")
    with pytest.raises(ValueError, match=r"Nothing in .*none.pth fits the model"):
        Checkpointer(model).load(str(tmp_path / "none.pth"))


def test_the_table_of_expected_values_is_json_alone(tmp_path):
    """What a run leaves behind can be read without unpickling: figures are JSON, features are arrays."""
    cfg = get_cfg()
    evaluator = ReidEvaluator(cfg, num_query=1, output_dir=str(tmp_path), dataset_name="x")
    labels = {"targets": torch.tensor([0, 0]), "camids": torch.tensor([0, 1])}
    evaluator.process(labels, torch.eye(2))
    evaluator.evaluate()
    assert "x" in json.loads((tmp_path / "results.json").read_text())
    with np.load(tmp_path / "features" / "x.npz", allow_pickle=False) as stored:
        assert all(stored[name].dtype != object for name in stored.files)
