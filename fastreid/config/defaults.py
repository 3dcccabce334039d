"""Every configuration key, declared once, with its default, meaning and unit.

The keys and defaults of fast-reid 1.3 keep their values; keys that it does not have are marked ``(new)``. A key of a
node that belongs to a component is, in lower case, a keyword argument of that component (``fastreid.utils.registry``).
"""

from fastreid.config.config import CfgNode as CN

_C = CN()

# (new) Python files or dotted modules imported before keys and names are checked; they register components and may
# define `add_config(cfg)` to declare keys of their own. Relative paths are relative to the YAML file.
_C.PLUGINS = ()
# (new) Seed of everything random: weights, sampling, augmentation. Negative: a different one each run.
_C.SEED = 0
# Folder that receives checkpoints, metrics, TensorBoard files and results.
_C.OUTPUT_DIR = "logs/"
# Let cuDNN time its algorithms; faster with fixed input sizes, not bit-reproducible.
_C.CUDNN_BENCHMARK = False

# ---------------------------------------------------------------------------------------------------- MODEL
_C.MODEL = CN()
_C.MODEL.DEVICE = "cuda"  # "cuda", "cuda:1" or "cpu"; without a CUDA device the CPU is used and said so
_C.MODEL.META_ARCHITECTURE = "Baseline"  # name in META_ARCH_REGISTRY
_C.MODEL.FREEZE_LAYERS = []  # module names, e.g. ["backbone"], frozen for the first SOLVER.FREEZE_ITERS iterations
_C.MODEL.QUEUE_SIZE = 8192  # MoCo: features in the memory, at least the batch of all processes
_C.MODEL.WEIGHTS = ""  # checkpoint to start from or to evaluate: a path or an http(s) address
_C.MODEL.PIXEL_MEAN = [0.485 * 255, 0.456 * 255, 0.406 * 255]  # RGB, on the scale 0..255
_C.MODEL.PIXEL_STD = [0.229 * 255, 0.224 * 255, 0.225 * 255]

_C.MODEL.BACKBONE = CN()
_C.MODEL.BACKBONE.NAME = "build_resnet_backbone"  # name in BACKBONE_REGISTRY
_C.MODEL.BACKBONE.DEPTH = "50x"  # size of the network, in the backbone's own naming
_C.MODEL.BACKBONE.LAST_STRIDE = 1  # stride of the last stage, 1 or 2
_C.MODEL.BACKBONE.FEAT_DIM = 2048  # output width; backbones state their own, a different value here is reported
_C.MODEL.BACKBONE.NORM = "BN"  # BN, syncBN, GhostBN, FrozenBN or GN
_C.MODEL.BACKBONE.WITH_IBN = False  # instance-batch normalisation
_C.MODEL.BACKBONE.WITH_SE = False  # squeeze-and-excitation
_C.MODEL.BACKBONE.WITH_NL = False  # non-local blocks
_C.MODEL.BACKBONE.SIE_COE = 3.0  # ViT: weight of the side information embedding
_C.MODEL.BACKBONE.NUM_CAMERAS = 0  # (new) ViT: cameras of training, each with an embedding (SIE); 0: none
_C.MODEL.BACKBONE.STRIDE_SIZE = (16, 16)  # ViT: stride of the patches, pixels
_C.MODEL.BACKBONE.DROP_PATH_RATIO = 0.1  # ViT: stochastic depth
_C.MODEL.BACKBONE.DROP_RATIO = 0.0  # ViT: dropout
_C.MODEL.BACKBONE.ATT_DROP_RATE = 0.0  # ViT: dropout of the attention weights
_C.MODEL.BACKBONE.PRETRAIN = False  # start from ImageNet weights
# Path or address of these weights; empty: the public file of this depth. (new) package://NAME/path: a file inside an
# installed Python package
_C.MODEL.BACKBONE.PRETRAIN_PATH = ""
_C.MODEL.BACKBONE.IBN_TYPE = "a"  # (new) "a": half of the first norm; "b": instance norm after the residual sum
_C.MODEL.BACKBONE.NL_CHANNELS = 1  # (new) inner channels of a non-local block; 1 is what fast-reid's checkpoints have
_C.MODEL.BACKBONE.NL_LAYERS = []  # (new) non-local blocks of the four stages, e.g. [0, 2, 3, 0]; empty: the depth's own
# (new) timm: numbers of the stages whose maps stand side by side, -1 the last; empty: the network's own last map
_C.MODEL.BACKBONE.STAGES = []

_C.MODEL.BACKBONE.WIDTH = 64  # (new) ResNet: channels of the first stage

_C.MODEL.HOG = CN()  # (new) the meta-architecture HOG, a baseline without training
_C.MODEL.HOG.CELLS = 8  # cells along each side of the image
_C.MODEL.HOG.BINS = 9  # orientations in 180 degrees
_C.MODEL.HOG.BLOCK = 2  # cells along each side of the blocks that are normalised; 0: no blocks
_C.MODEL.HOG.ROOT = False  # square root of the values at the end

_C.MODEL.PIXELS = CN()  # (new) the meta-architecture RawPixels, a baseline without training
_C.MODEL.PIXELS.ZERO_MEAN = True  # subtract the mean grey of each image

_C.MODEL.PHASH = CN()  # (new) the meta-architecture PerceptualHash, a baseline without training
_C.MODEL.PHASH.KIND = "dct"  # "dct" (pHash) or "difference" (dHash)
_C.MODEL.PHASH.SIDE = 8  # the hash has SIDE * SIDE bits

_C.MODEL.ORB = CN()  # (new) the meta-architecture ORB: a vocabulary of local features, learnt without gradients
_C.MODEL.ORB.ENCODING = "vlad"  # "vlad" or "tf-idf", a bag of visual words
_C.MODEL.ORB.WORDS = 64  # size of the vocabulary
_C.MODEL.ORB.KEYPOINTS = 500  # kept of an image, the strongest
_C.MODEL.ORB.PATCH = 31  # side of what a descriptor sees, and the border without keypoints, pixels
_C.MODEL.ORB.FIT_IMAGES = 1000  # training images that the vocabulary is learnt from, drawn by SEED; 0: all

_C.MODEL.HEADS = CN()
_C.MODEL.HEADS.NAME = "EmbeddingHead"  # name in REID_HEADS_REGISTRY
_C.MODEL.HEADS.NORM = "BN"  # norm of the BN-neck
_C.MODEL.HEADS.NUM_CLASSES = 0  # 0: the number of training identities
# Width of a linear reduction before the neck; 0: none. (new) ProjectionHead: width of its features; 0: of the text bank
_C.MODEL.HEADS.EMBEDDING_DIM = 0
_C.MODEL.HEADS.DROPOUT = 0.5  # (new) BNDropoutHead: share of the values dropped before its linear layer, 0..1
_C.MODEL.HEADS.WITH_BNNECK = False
_C.MODEL.HEADS.NECK_FEAT = "before"  # what the metric losses see: the feature "before" or "after" the BN-neck
# (new) The descriptor in evaluation: the feature "after" the BN-neck, or "before" it (behind the reduction, if any)
_C.MODEL.HEADS.TEST_FEAT = "after"
_C.MODEL.HEADS.POOL_LAYER = "GlobalAvgPool"  # name in POOLING_REGISTRY
_C.MODEL.HEADS.CLS_LAYER = "Linear"  # name in SOFTMAX_REGISTRY
_C.MODEL.HEADS.MARGIN = 0.0  # margin of the classification layer (the ArcSoftmax family: radians)
_C.MODEL.HEADS.SCALE = 1  # scale of its logits
_C.MODEL.HEADS.PFC = CN()  # (new, of FastFace) partial FC, for very many classes
_C.MODEL.HEADS.PFC.ENABLED = False  # each process holds the weights of its part of the classes
_C.MODEL.HEADS.PFC.SAMPLE_RATE = 0.1  # share of them that a step uses, in 0..1 without 0; 1: all, the exact softmax
# (new) ProjectionHead: from the pooled feature to the width of the text vectors: "" nothing, "linear", or "mlp" with a
# hidden layer
_C.MODEL.HEADS.PROJECTOR = "mlp"
_C.MODEL.HEADS.PROJECTOR_DIM = 0  # (new) width of that hidden layer; 0: that of the pooled feature
_C.MODEL.HEADS.TEMPERATURE = 0.07  # (new) ProjectionHead: first value of the learnable temperature, > 0
_C.MODEL.HEADS.MIN_TEMPERATURE = 0.01  # (new) below which it never falls, as in CLIP; > 0
_C.MODEL.HEADS.LEARN_TEMPERATURE = True  # (new) False: it stays as it is

_C.MODEL.LOSSES = CN()
_C.MODEL.LOSSES.NAME = ("CrossEntropyLoss",)  # names in LOSS_REGISTRY
_C.MODEL.LOSSES.CE = CN()
_C.MODEL.LOSSES.CE.EPSILON = 0.0  # label smoothing; negative: adaptive
_C.MODEL.LOSSES.CE.ALPHA = 0.2  # rate of the adaptive smoothing
_C.MODEL.LOSSES.CE.SCALE = 1.0  # weight of the loss (also below)
_C.MODEL.LOSSES.BCE = CN()  # (new, of FastAttr) BinaryCrossEntropyLoss: recognition of attributes
_C.MODEL.LOSSES.BCE.WEIGHT_ENABLED = True  # weigh what is rare in an attribute, its presence or its absence, more
_C.MODEL.LOSSES.BCE.SCALE = 1.0
_C.MODEL.LOSSES.BCE.POSITIVE_SHARE = []  # (new) share of the images with each attribute; empty: of the training set
_C.MODEL.LOSSES.FL = CN()
_C.MODEL.LOSSES.FL.ALPHA = 0.25
_C.MODEL.LOSSES.FL.GAMMA = 2
_C.MODEL.LOSSES.FL.SCALE = 1.0
_C.MODEL.LOSSES.FL.REDUCTION = "sample"  # (new) focus by the probability of each "sample", or by that of the "batch"
_C.MODEL.LOSSES.TRI = CN()
_C.MODEL.LOSSES.TRI.MARGIN = 0.3  # 0: soft margin
_C.MODEL.LOSSES.TRI.NORM_FEAT = False  # cosine distance of normalised features instead of Euclidean
_C.MODEL.LOSSES.TRI.HARD_MINING = False  # batch-hard; otherwise softmax-weighted
_C.MODEL.LOSSES.TRI.ALL_TRIPLETS = False  # (new) no mining: the mean over all triplets that are not satisfied yet
_C.MODEL.LOSSES.TRI.SCALE = 1.0
# (new) Features of earlier batches, of all processes, that the images of the batch are compared with as well, without
# gradients (cross-batch memory, Wang et al., CVPR 2020): at least a batch; 0: none (also below)
_C.MODEL.LOSSES.TRI.MEMORY = 0
# (new) Iterations before a memory is written and used: features move fast at first. 1000 in its authors' sample config
_C.MODEL.LOSSES.TRI.MEMORY_START = 0
_C.MODEL.LOSSES.CIRCLE = CN()
_C.MODEL.LOSSES.CIRCLE.MARGIN = 0.25
_C.MODEL.LOSSES.CIRCLE.GAMMA = 128
_C.MODEL.LOSSES.CIRCLE.SCALE = 1.0
_C.MODEL.LOSSES.CIRCLE.MEMORY = 0  # (new) as TRI.MEMORY
_C.MODEL.LOSSES.CIRCLE.MEMORY_START = 0  # (new) as TRI.MEMORY_START
_C.MODEL.LOSSES.COSFACE = CN()
_C.MODEL.LOSSES.COSFACE.MARGIN = 0.25
_C.MODEL.LOSSES.COSFACE.GAMMA = 128
_C.MODEL.LOSSES.COSFACE.SCALE = 1.0
_C.MODEL.LOSSES.COSFACE.MEMORY = 0  # (new) as TRI.MEMORY
_C.MODEL.LOSSES.COSFACE.MEMORY_START = 0  # (new) as TRI.MEMORY_START
_C.MODEL.LOSSES.INFONCE = CN()  # (new) InfoNCELoss: each pair of one identity against the other identities of the batch
_C.MODEL.LOSSES.INFONCE.TEMPERATURE = 0.07  # divides the cosines, > 0
_C.MODEL.LOSSES.INFONCE.SCALE = 1.0
# (new) HierarchicalContrastiveLoss: pairs count by what their patents share in the Locarno classification
_C.MODEL.LOSSES.HIERARCHICAL = CN()
_C.MODEL.LOSSES.HIERARCHICAL.SCORES = [1.0, 0.5, 0.25]  # of pairs of one patent, one subclass, one class; falling, >= 0
_C.MODEL.LOSSES.HIERARCHICAL.TEMPERATURE = 0.07  # divides the cosines, > 0
# "joint": the scores of an image's pairs are divided by their sum; "level": each level's mean counts by its score
_C.MODEL.LOSSES.HIERARCHICAL.NORMALIZATION = "joint"
_C.MODEL.LOSSES.HIERARCHICAL.MEMORY = 0  # features of earlier batches that are compared as well; 0: none
_C.MODEL.LOSSES.HIERARCHICAL.MEMORY_START = 0  # iterations before that
_C.MODEL.LOSSES.HIERARCHICAL.SCALE = 1.0
_C.MODEL.LOSSES.CLIP = CN()  # (new) ImageTextLoss: each image against the texts of the batch
_C.MODEL.LOSSES.CLIP.BOTH_WAYS = False  # also each text against the images, as CLIP does; Lo et al. print one way
_C.MODEL.LOSSES.CLIP.SCALE = 1.0
_C.MODEL.LOSSES.CLASSTEXT = CN()  # (new) ClassTextLoss: images and texts of one Locarno code are pairs
_C.MODEL.LOSSES.CLASSTEXT.LEVEL = "subclass"  # "subclass" (14-04) or "class" (14)
_C.MODEL.LOSSES.CLASSTEXT.SCALE = 1.0
_C.MODEL.LOSSES.CATEGORYTEXT = CN()  # (new) CategoryTextLoss: those of one category, head or tail of the subclasses
_C.MODEL.LOSSES.CATEGORYTEXT.SCALE = 1.0
# (new) How losses are joined: "fixed", their sum; "uncertainty": each L as L e^-s + s with a learnt s (Kendall and Gal)
_C.MODEL.LOSSES.WEIGHTING = "fixed"

_C.MODEL.TEXT_ENCODER = CN()  # (new) the frozen encoder that turns texts into vectors, once, before the training
_C.MODEL.TEXT_ENCODER.NAME = "HashedWords"  # name in TEXT_ENCODER_REGISTRY
_C.MODEL.TEXT_ENCODER.MODEL = ""  # OpenClip: "ViT-B-32", ...; else a path, a hub name or package://NAME/path
_C.MODEL.TEXT_ENCODER.WEIGHTS = ""  # OpenClip: file of weights, or the tag of public ones ("openai"); Precomputed: file
_C.MODEL.TEXT_ENCODER.WIDTH = 512  # HashedWords: length of its vectors

# ---------------------------------------------------------------------------------- KD (knowledge distillation)
_C.KD = CN()
# For MODEL.META_ARCHITECTURE Distiller and DistillerOverhaul.
_C.KD.MODEL_CONFIG = []  # YAML files of the teachers, trained models with the same classes
_C.KD.MODEL_WEIGHTS = []  # their checkpoints, in the same order
_C.KD.EMA = CN()  # a moving average of the model itself as a teacher
_C.KD.EMA.ENABLED = False
_C.KD.EMA.MOMENTUM = 0.999  # share that stays at each step, 0..1
_C.KD.OVERHAUL = CN()  # (new) DistillerOverhaul: distance to the features of the first teacher
_C.KD.OVERHAUL.SCALE = 1e-4  # weight of the loss; fast-reid's fixed value

# ---------------------------------------------------------------------------------------------------- INPUT
# Sizes are (height, width) in pixels, grey values 0..255, PROB is the chance per image.
_C.INPUT = CN()
_C.INPUT.SIZE_TRAIN = [256, 128]
_C.INPUT.SIZE_TEST = [256, 128]
_C.INPUT.CHANNELS = 3  # (new) 3 or 1
_C.INPUT.GRAYSCALE = False  # (new) read every image as grey first (drawings); 3 channels are then three equal ones

# (new) How an image of other proportions becomes (height, width).
_C.INPUT.RESIZE = CN()
# "stretch": its proportions change; "letterbox": all of it, with bars beside it; "crop": it covers the size (a square:
# by its shorter side), the rest is cut off at the centre, or in training at a random place (RANDOM_CROP)
_C.INPUT.RESIZE.MODE = "stretch"
_C.INPUT.RESIZE.FILL = 255  # grey value of the bars
# "bicubic"; "area": the mean of what becomes a pixel, several times faster for pages: they are reduced while decoded
_C.INPUT.RESIZE.FILTER = "bicubic"
_C.INPUT.RANDOM_CROP = CN()  # (new) for RESIZE.MODE "crop"
_C.INPUT.RANDOM_CROP.ENABLED = False

# (new) Cut the page down to the drawing before any other step, in training and test.
_C.INPUT.INK_CROP = CN()
_C.INPUT.INK_CROP.ENABLED = False
_C.INPUT.INK_CROP.METHOD = "ink"  # "ink", or "notebook": what the code of Higuchi and Yanai does, mostly nothing
_C.INPUT.INK_CROP.THRESHOLD = 128  # darker than this is ink
_C.INPUT.INK_CROP.SQUARE = True  # fill up to a square with white, so that resizing keeps the proportions
_C.INPUT.INK_CROP.MARGIN = 0.02  # white border kept, as a share of the longer side of the ink box
_C.INPUT.INK_CROP.SPECK = 0.005  # groups of ink below this share of the page's longer side do not count; 0: all count
_C.INPUT.INK_CROP.FRAMES = True  # count frames and rules along the border of the ink
_C.INPUT.INK_CROP.LABELS = True  # count figure labels ("FIG. 3"); False: erase those that stand apart
# (new) Thicken dark lines before a strong reduction, which would lose them.
_C.INPUT.THICKEN = CN()
_C.INPUT.THICKEN.ENABLED = False
_C.INPUT.THICKEN.SIZE = 3  # odd width of the minimum filter, pixels; 0: the factor by which the image gets reduced

_C.INPUT.CROP = CN()  # random resized crop
_C.INPUT.CROP.ENABLED = False
_C.INPUT.CROP.SIZE = [224, 224]
_C.INPUT.CROP.SCALE = [0.16, 1]
_C.INPUT.CROP.RATIO = [3.0 / 4.0, 4.0 / 3.0]
_C.INPUT.FLIP = CN()  # left-right
_C.INPUT.FLIP.ENABLED = False
_C.INPUT.FLIP.PROB = 0.5
_C.INPUT.PADDING = CN()  # pad on all sides, then crop at random to the training size
_C.INPUT.PADDING.ENABLED = False
_C.INPUT.PADDING.MODE = "constant"  # constant, edge, reflect or symmetric
_C.INPUT.PADDING.SIZE = 10
_C.INPUT.PADDING.VALUE = 0  # (new) grey value of the constant border; 255 on white pages
_C.INPUT.CJ = CN()  # colour jitter
_C.INPUT.CJ.ENABLED = False
_C.INPUT.CJ.PROB = 0.5
_C.INPUT.CJ.BRIGHTNESS = 0.15
_C.INPUT.CJ.CONTRAST = 0.15
_C.INPUT.CJ.SATURATION = 0.1
_C.INPUT.CJ.HUE = 0.1
_C.INPUT.AFFINE = CN()  # small rotation, shift, scale and shear
_C.INPUT.AFFINE.ENABLED = False
_C.INPUT.AFFINE.FILL = 0  # (new) grey value outside the image
_C.INPUT.ROTATION = CN()  # (new)
_C.INPUT.ROTATION.ENABLED = False
_C.INPUT.ROTATION.PROB = 0.5
_C.INPUT.ROTATION.DEGREES = 10.0  # uniform in +-DEGREES
_C.INPUT.ROTATION.FILL = 255
_C.INPUT.STROKE = CN()  # (new) bolder or fainter lines
_C.INPUT.STROKE.ENABLED = False
_C.INPUT.STROKE.PROB = 0.5
_C.INPUT.STROKE.BOLD = 1.0  # strongest widening, 0..1; 1: a pixel on both sides
_C.INPUT.STROKE.FADE = 0.5  # largest share of the ink taken away, 0..1
_C.INPUT.BLUR = CN()  # (new) Gaussian blur
_C.INPUT.BLUR.ENABLED = False
_C.INPUT.BLUR.PROB = 0.5
_C.INPUT.BLUR.SIGMA = [0.1, 1.0]  # pixels, uniform
_C.INPUT.SCALE_CROP = CN()  # (new) enlarge by a random factor, then crop to the training size
_C.INPUT.SCALE_CROP.ENABLED = False
_C.INPUT.SCALE_CROP.PROB = 0.5
_C.INPUT.SCALE_CROP.SCALE = [1.0, 1.25]
_C.INPUT.AUTOAUG = CN()  # AutoAugment, ImageNet policy
_C.INPUT.AUTOAUG.ENABLED = False
_C.INPUT.AUTOAUG.PROB = 0.0
_C.INPUT.AUTOAUG.FILL = 128  # (new) grey value of areas that a geometric operation uncovers
_C.INPUT.AUGMIX = CN()
_C.INPUT.AUGMIX.ENABLED = False
_C.INPUT.AUGMIX.PROB = 0.0
_C.INPUT.REA = CN()  # random erasing
_C.INPUT.REA.ENABLED = False
_C.INPUT.REA.PROB = 0.5
_C.INPUT.REA.VALUE = [0.485 * 255, 0.456 * 255, 0.406 * 255]  # [255, 255, 255] on white pages
_C.INPUT.REA.SCALE = [0.02, 0.33]  # (new) share of the image, uniform
_C.INPUT.REA.RATIO = [0.3, 3.3]  # (new) height / width of the rectangle
_C.INPUT.RPT = CN()  # random patch: paste a piece of an earlier image
_C.INPUT.RPT.ENABLED = False
_C.INPUT.RPT.PROB = 0.5
_C.INPUT.GRIDMASK = CN()  # (new) erase a grid of squares (Chen et al., arXiv 2001.04086)
_C.INPUT.GRIDMASK.ENABLED = False
_C.INPUT.GRIDMASK.PROB = 0.5
_C.INPUT.GRIDMASK.UNIT = [0.4, 0.9]  # distance of two squares as a share of the image's shorter side, uniform
_C.INPUT.GRIDMASK.KEEP = 0.5  # share of that distance between the squares, 0..1; less erases more
_C.INPUT.GRIDMASK.DEGREES = 0.0  # the grid is turned by a uniform angle in +-DEGREES
_C.INPUT.GRIDMASK.VALUE = [0.485 * 255, 0.456 * 255, 0.406 * 255]  # [255, 255, 255] on white pages

# ------------------------------------------------------------------------------------------------- DATASETS
# All data sets lie below the folder in the environment variable FASTREID_DATASETS (default: datasets).
_C.DATASETS = CN()
_C.DATASETS.NAMES = ("Market1501",)  # training sets, names in DATASET_REGISTRY
_C.DATASETS.TESTS = ("Market1501",)  # test sets
_C.DATASETS.COMBINEALL = False  # train on the test identities too
# (new) Folder of a text bank (tools/encode_text.py): texts of the images and their vectors; below the data root, or
# absolute; ${VARIABLES} are expanded
_C.DATASETS.TEXT_BANK = ""
_C.DATASETS.MARKET1501 = CN()  # (new)
_C.DATASETS.MARKET1501.MARKET1501_500K = False  # add its 500,000 distractors to the gallery
_C.DATASETS.CUHK03 = CN()  # (new)
_C.DATASETS.CUHK03.CUHK03_LABELED = True  # boxes drawn by hand; False: detected ones
_C.DATASETS.CUHK03.CUHK03_CLASSIC_SPLIT = False  # 20 splits with 100 test persons each; False: the 767/700 protocol
_C.DATASETS.CUHK03.SPLIT_ID = 0  # number of the split: 0 to 19 for the classic ones, otherwise 0
_C.DATASETS.PA100K = CN()  # (new)
_C.DATASETS.PA100K.SPLIT = "test"  # test images: "test" or "val"
_C.DATASETS.IMAGEFOLDER = CN()  # (new) classes as folders: train/<class>/<image> and val/<class>/<image>
_C.DATASETS.IMAGEFOLDER.ROOT = "images"  # its folder: below the data root, or absolute; ${VARIABLES} are expanded
_C.DATASETS.IMAGEFOLDER.SPLIT = "val"  # folder of the test images
_C.DATASETS.FILELIST = CN()  # (new) any images from list files with lines `path identity`
_C.DATASETS.FILELIST.ROOT = ""  # folder of the images; ${VARIABLES} are expanded; relative: below the data root
_C.DATASETS.FILELIST.TRAIN = ()  # list files, absolute or relative to ROOT
_C.DATASETS.FILELIST.QUERY = ()
_C.DATASETS.FILELIST.GALLERY = ()  # the same lists as QUERY: leave one out
_C.DATASETS.FILELIST.CAMERAS = False  # lines are `path identity camera`; without cameras no match is ever dropped
_C.DATASETS.FILELIST.PATHS = "root"  # what the paths in the lists are relative to: ROOT, or the "list"'s own folder
_C.DATASETS.FILELIST.METADATA = ()  # (new) files of JSON lines with date, Locarno code, view and text of the images
_C.DATASETS.TARSHARDS = CN()  # (new) tar archives as webdataset lays them out: KEY.png with KEY.json or KEY.cls
_C.DATASETS.TARSHARDS.ROOT = ""  # folder of the archives; ${VARIABLES} are expanded; relative: below the data root
_C.DATASETS.TARSHARDS.TRAIN = ()  # archives: names below ROOT, or http(s) addresses; {000..099} stands for all between
_C.DATASETS.TARSHARDS.QUERY = ()
_C.DATASETS.TARSHARDS.GALLERY = ()
_C.DATASETS.DEEPPATENT = CN()  # (new) the official lists
_C.DATASETS.DEEPPATENT.ROOT = "DeepPatent"  # its folder: below the data root, or absolute; ${VARIABLES} are expanded
_C.DATASETS.DEEPPATENT.SPLIT = "val"  # queries and gallery of "val" or "test"
_C.DATASETS.MINIPATENT = CN()  # (new) drawings made on first use
_C.DATASETS.MINIPATENT.ROOT = "minipatent"  # its folder: below the data root, or absolute; one per size and seed
_C.DATASETS.MINIPATENT.NUM_TRAIN = 396  # designs; the 33 families take turns
_C.DATASETS.MINIPATENT.NUM_VAL = 66
_C.DATASETS.MINIPATENT.NUM_TEST = 66
_C.DATASETS.MINIPATENT.SIZE = 256  # pixels
_C.DATASETS.MINIPATENT.SEED = 0
_C.DATASETS.MINIPATENT.STYLE = "mixed"  # "mixed" manners of drawing, or "fixed": one for all, a control experiment
_C.DATASETS.MINIPATENT.SIBLINGS = 1  # designs per line; more than 1: those of a line differ in proportions alone (hard)
_C.DATASETS.MINIPATENT.SPLIT = "val"  # queries and gallery of "val" or "test"
_C.DATASETS.MINIPATENT.IMBALANCE = 1.0  # training designs of the largest family / of the smallest; 1: all there are

# ----------------------------------------------------------------------------------------------- DATALOADER
_C.DATALOADER = CN()
_C.DATALOADER.SAMPLER_TRAIN = "TrainingSampler"  # name in SAMPLER_REGISTRY
_C.DATALOADER.NUM_INSTANCE = 4  # images per identity in a batch
_C.DATALOADER.SUBCLASS_SHARE = 0.5  # (new) HierarchicalSampler: share of the patents that meet one of their subclass
_C.DATALOADER.NUM_WORKERS = 8  # processes per loader; 0: read in the main process
_C.DATALOADER.SET_WEIGHT = []  # SetReWeightSampler: weight of each camera (data set)
_C.DATALOADER.ON_BAD_IMAGE = "error"  # (new) "error": stop and name it; "skip": replace it, count it, report it
# (new) Images that were decoded, cropped to their ink and resized once, as uint8 on a disk (docs/scaling.md). Batches
# are then uint8 (B, 1 or 3, H, W), which the model expands and normalises.
_C.DATALOADER.CACHE = CN()
_C.DATALOADER.CACHE.DIR = ""  # folder, on a fast disk; several settings and data sets may share it. "": no cache
_C.DATALOADER.CACHE.SCALE = 1.0  # side of training images kept, in sides of the input, >= 1; more for random crops

# --------------------------------------------------------------------------------------------------- SOLVER
_C.SOLVER = CN()
_C.SOLVER.AMP = CN()
_C.SOLVER.AMP.ENABLED = False  # mixed precision
_C.SOLVER.AMP.DTYPE = "float16"  # (new) "float16" (with loss scaling) or "bfloat16"
_C.SOLVER.CHANNELS_LAST = False  # (new) weights and maps in memory channel by channel of each pixel; docs/scaling.md
_C.SOLVER.FUSED = False  # (new) SGD, Adam, AdamW: one pass over parameters, gradients and averages in place of several
_C.SOLVER.OPT = "Adam"  # name in OPTIMIZER_REGISTRY or of a class of torch.optim
_C.SOLVER.MAX_EPOCH = 120
_C.SOLVER.BASE_LR = 3e-4
_C.SOLVER.HEADS_LR_FACTOR = 1.0  # learning rate of the head, as a multiple of BASE_LR
_C.SOLVER.CLASSIFIER_LR_FACTOR = 1.0  # (new) learning rate of the class weights, as a multiple of that of the head
# (new) Learning rate of the s of MODEL.LOSSES.WEIGHTING "uncertainty", as a multiple of BASE_LR. An s must go as far as
# the logarithm of its loss, some units, which a small rate for pretrained weights does not allow.
_C.SOLVER.WEIGHTING_LR_FACTOR = 1.0
_C.SOLVER.MOMENTUM = 0.9  # SGD
_C.SOLVER.NESTEROV = False  # SGD
_C.SOLVER.WEIGHT_DECAY = 0.0005
_C.SOLVER.WEIGHT_DECAY_NORM = 0.0005
_C.SOLVER.BIAS_LR_FACTOR = 1.0
_C.SOLVER.WEIGHT_DECAY_BIAS = 0.0005
_C.SOLVER.SCHED = "MultiStepLR"  # name in SCHEDULER_REGISTRY
_C.SOLVER.DELAY_EPOCHS = 0  # epochs at the full rate before the schedule begins
_C.SOLVER.GAMMA = 0.1  # MultiStepLR: factor at each step
_C.SOLVER.STEPS = [30, 55]  # MultiStepLR: epochs, counted from the end of the warm-up
_C.SOLVER.ETA_MIN_LR = 1e-7  # CosineAnnealingLR: last learning rate
# (new) [name, value] pairs for other schedules of torch.optim.lr_scheduler, e.g. [["step_size", 20], ["gamma", 0.5]]
# for StepLR; their epochs count from the end of the warm-up
_C.SOLVER.SCHED_OPTIONS = []
_C.SOLVER.WARMUP_FACTOR = 0.1  # first learning rate, as a multiple of BASE_LR
_C.SOLVER.WARMUP_ITERS = 1000
_C.SOLVER.WARMUP_METHOD = "linear"  # linear, constant or exp
_C.SOLVER.FREEZE_ITERS = 0  # iterations during which MODEL.FREEZE_LAYERS stay fixed
_C.SOLVER.CHECKPOINT_PERIOD = 20  # epochs
_C.SOLVER.CHECKPOINT_KEEP = 0  # (new) how many periodic checkpoints stay; 0: all. The best and the final one always do
# (new) Iterations after which model_latest.pth is written over the former one, within epochs too; 0: never. A resumed
# training gives what one that was never stopped gives with the same number
_C.SOLVER.CHECKPOINT_ITERS = 0
_C.SOLVER.LOG_PERIOD = 20  # (new) iterations between two lines on the console and in metrics.json
_C.SOLVER.IMS_PER_BATCH = 64  # over all processes
# (new) Parts in which a process computes its share of a batch, one after the other, before the one step of the
# optimiser: less memory. Iterations, rates and batches stay what they are; batch norm and losses over pairs see a part
_C.SOLVER.ACCUMULATE = 1
# (new) Divide parameters, gradients and the optimiser's state among the processes (PyTorch's fully_shard), for
# backbones that do not fit otherwise; checkpoints are whole as ever. Without evaluation during training
_C.SOLVER.FSDP = False
_C.SOLVER.CLIP_GRADIENTS = CN()
_C.SOLVER.CLIP_GRADIENTS.ENABLED = False
_C.SOLVER.CLIP_GRADIENTS.CLIP_TYPE = "norm"  # "norm" or "value", of each parameter tensor
_C.SOLVER.CLIP_GRADIENTS.CLIP_VALUE = 5.0
_C.SOLVER.CLIP_GRADIENTS.NORM_TYPE = 2.0

# -------------------------------------------------------------------------------------------------- PROFILE
# (new) Write to OUTPUT_DIR/profile where the time of a training goes, and log it.
_C.PROFILE = CN()
_C.PROFILE.ENABLED = False
_C.PROFILE.START = 10  # iterations before the first that counts
_C.PROFILE.ITERS = 10  # iterations timed: data, forward, backward, optimiser; and as many traced, operator by operator

# ----------------------------------------------------------------------------------------------------- TEST
_C.TEST = CN()
_C.TEST.EVAL_PERIOD = 20  # epochs; 0: no evaluation during training
_C.TEST.IMS_PER_BATCH = 64
# (new) Extract features in parts of so many images, each written and, after an interruption, kept; the file is the
# same bit for bit with any number of processes, of which none gathers features, in a training neither.
# TEST.IMS_PER_BATCH then counts for each process. 0: in one piece
_C.TEST.SHARD_SIZE = 0
# (new) How a trained model computes features; docs/scaling.md has speeds. What differs from these defaults is part of
# the fingerprint of feature files and indexes. The first batch is compared with the model as it is.
_C.TEST.INFERENCE = CN()
_C.TEST.INFERENCE.BACKEND = "torch"  # "torch", or "openvino": converted, for CPUs (extra: openvino)
# "float32"; "bfloat16", refused where the processor has no instructions for it; "auto": bfloat16 where it has them
_C.TEST.INFERENCE.DTYPE = "float32"
_C.TEST.INFERENCE.CHANNELS_LAST = False  # torch: images and weights in memory channel by channel of each pixel
_C.TEST.INFERENCE.FOLD_BN = False  # torch: batch norms become part of the convolutions before them
_C.TEST.METRIC = "cosine"  # "cosine" or "euclidean"
_C.TEST.THRES = 0.5  # (new, of FastAttr) an attribute counts as present from this probability on
_C.TEST.RULE = "camera"  # (new) which gallery items count, a name in RULE_REGISTRY
# (new) Name in PROTOCOL_REGISTRY, written by --protocol with the settings that belong to it; here it brings its table
# alone. What differs from its settings is named in the result. Empty: none.
_C.TEST.PROTOCOL = ""
# (new) The column in which a match agrees with its query: "pids" (the same patent), "subclass", "class", ...
_C.TEST.RELEVANCE = "pids"
# (new) Further such columns: mAP@subclass and the like in the table, a pass over all pairs for each
_C.TEST.LEVELS = ()
# (new) What "frequency", head or tail, is counted in: the "gallery", or the training set ("train", which is then read)
_C.TEST.FREQUENCY = "gallery"
# (new) Folder of a text bank with texts of the test images, for text-to-image and image-to-text retrieval; below the
# data root, or absolute. Empty: none.
_C.TEST.TEXT_BANK = ""
_C.TEST.TEXTS_PER_IMAGE = 0  # (new) of them, the first ones of each image; 0: all
_C.TEST.ALLOW_NONCAUSAL = False  # (new) let post-processing see items that "granted_before" hides
_C.TEST.BLOCK_MIB = 32  # (new) memory for the blocks of a scan over all pairs, MiB
# (new) Further metrics in the table, results.json and report, such as "recall@10", "MRR", "nDCG@10", "AP_pessimistic";
# docs/evaluation.md has all of them.
_C.TEST.METRICS = ()
# (new) Columns of the queries, such as "class", "frequency", "year", "camids": results.json and the report then have
# averages per value, and over the values.
_C.TEST.GROUP_BY = ()
# (new) For nDCG: [column, gain] of an item that agrees with the query in it; the largest gain counts.
_C.TEST.GAINS = [["pids", 3.0], ["subclass", 2.0], ["class", 1.0]]
# (new) The measure of CUHK03: "single-shot Rank-k", averaged over so many random galleries with one image per identity
# (its classic splits: 10); the draws are seeded. Takes another pass over all pairs; 0: off.
_C.TEST.SINGLE_SHOT = 0
_C.TEST.EXPECTED_RESULTS = []  # (new) [data set, metric, value, tolerance] rows that a run must reach
_C.TEST.ROC = CN()  # true-positive rates at false-positive rates 1e-4, 1e-3, 1e-2
_C.TEST.ROC.ENABLED = False
_C.TEST.FLIP = CN()  # average the features of an image and its mirror image
_C.TEST.FLIP.ENABLED = False
# Post-processing, applied in this order: AQE, QE, DBA, RERANK.
_C.TEST.AQE = CN()  # query expansion of queries and gallery together, as fast-reid and the DIRA entry
_C.TEST.AQE.ENABLED = False
_C.TEST.AQE.ALPHA = 3.0  # exponent of the similarity
_C.TEST.AQE.QE_TIME = 1  # passes
_C.TEST.AQE.QE_K = 5  # neighbours, the item itself among them
_C.TEST.QE = CN()  # (new) alpha query expansion of the queries only
_C.TEST.QE.ENABLED = False
_C.TEST.QE.ALPHA = 3.0
_C.TEST.QE.K = 5  # gallery neighbours
_C.TEST.DBA = CN()  # (new) database-side augmentation: the same, of the gallery only
_C.TEST.DBA.ENABLED = False
_C.TEST.DBA.ALPHA = 3.0
_C.TEST.DBA.K = 5
_C.TEST.DBA.PRIOR_ART = False  # an item takes from earlier items alone; allowed under "granted_before"
_C.TEST.RERANK = CN()  # k-reciprocal re-ranking
_C.TEST.RERANK.ENABLED = False
_C.TEST.RERANK.K1 = 20
_C.TEST.RERANK.K2 = 6
_C.TEST.RERANK.LAMBDA = 0.3  # weight of the original distance
_C.TEST.PRECISE_BN = CN()  # recompute the statistics of batch norms before an evaluation
_C.TEST.PRECISE_BN.ENABLED = False
_C.TEST.PRECISE_BN.DATASET = "Market1501"  # one of DATASETS.NAMES
_C.TEST.PRECISE_BN.NUM_ITER = 300  # batches
_C.TEST.REPORT = CN()  # (new) report.html
_C.TEST.REPORT.ENABLED = True
_C.TEST.REPORT.NUM_QUERIES = 8  # of each kind: best, worst, random
_C.TEST.REPORT.TOPK = 10  # gallery images shown per query
_C.TEST.REPORT.METRICS = ()  # metrics.json files of earlier training stages, drawn before the run's own

# --------------------------------------------------------------------------------------------------- ENRICH
# (new) For tools/enrich_text.py: texts of drawings from their metadata.
_C.ENRICH = CN()
_C.ENRICH.VARIANTS = 20  # texts per image
_C.ENRICH.CAPTIONER = CN()  # (new) says what a drawing shows
_C.ENRICH.CAPTIONER.NAME = "MetadataCaptioner"  # name in CAPTIONER_REGISTRY
_C.ENRICH.CAPTIONER.MODEL = ""  # TransformersCaptioner: folder with model and processor
_C.ENRICH.CAPTIONER.DTYPE = "float32"  # of its weights: "float32", "float16" or "bfloat16"
# What it is asked about each image (Lo et al., section 3.3); empty for models that take no text, such as BLIP
_C.ENRICH.CAPTIONER.PROMPT = (
    "Describe the distinct visual elements present in the design, such as shapes, contours, texture, and the "
    "arrangement of various components."
)
_C.ENRICH.CAPTIONER.MAX_TOKENS = 80  # of its answer
_C.ENRICH.CAPTIONER.BATCH_SIZE = 8  # images at a time
_C.ENRICH.REWRITER = CN()  # (new) turns what is known of a drawing into texts
_C.ENRICH.REWRITER.NAME = "TemplateRewriter"  # name in REWRITER_REGISTRY
# OpenAIRewriter: address up to the version, such as http://127.0.0.1:8000/v1
_C.ENRICH.REWRITER.URL = ""
_C.ENRICH.REWRITER.MODEL = ""  # its name there
_C.ENRICH.REWRITER.KEY_VARIABLE = ""  # environment variable with the key; empty: none is sent
_C.ENRICH.REWRITER.INSTRUCTION = ""  # further wishes, appended to the prompt
_C.ENRICH.REWRITER.TEMPERATURE = 0.8  # negative: that of the endpoint
_C.ENRICH.REWRITER.MAX_TOKENS = 4000  # of an answer, which holds all texts of an image
_C.ENRICH.REWRITER.TOKENS_FIELD = "max_tokens"  # name of that limit; OpenAI's newer models: "max_completion_tokens"
_C.ENRICH.REWRITER.CONNECT_TIMEOUT = 10.0  # seconds until the connection stands
_C.ENRICH.REWRITER.READ_TIMEOUT = 180.0  # seconds from then on, for the whole answer
_C.ENRICH.REWRITER.RETRIES = 5  # further tries after a timeout, a broken answer, the states 429 and 5xx
_C.ENRICH.REWRITER.REPAIRS = 2  # further questions after unacceptable texts, with what was wrong
_C.ENRICH.REWRITER.REQUESTS_PER_MINUTE = 0.0  # 0: no limit
_C.ENRICH.REWRITER.CONCURRENCY = 4  # requests at the same time
_C.ENRICH.REWRITER.PRICE_IN = 0.0  # of a million tokens of prompts, in any currency
_C.ENRICH.REWRITER.PRICE_OUT = 0.0  # of a million tokens of answers
_C.ENRICH.REWRITER.COST_CAP = 0.0  # what all requests of an output may cost together; 0: no cap
_C.ENRICH.REWRITER.CACHE = ""  # file of the answers and their costs; empty: beside the output
