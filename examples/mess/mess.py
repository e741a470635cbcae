"""The 22 data sets of MESS (Blumenstiel et al., NeurIPS 2023 Datasets and Benchmarks), as its scripts prepare them.

The data root is the folder that MESS calls DETECTRON2_DATASETS. Masks hold class ids; 255 is ignored. Every class is a
query, a background included. Folders, names and classes of interest are those of blumenstiel/MESS, cc701b5; PAXRay is
four data sets, whose mean is its figure there.

    car eval examples/mess/suim.yaml --data-root /data --metrics examples/mess/mess.py:ClassesOfInterest
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dataset_adapters import LabelSpace
from dataset_adapters.base.adapter import Row
from dataset_adapters.base.layout import LayoutAdapter, read_ids
from dataset_adapters.base.sample import Sample
from dataset_adapters.base.semantic import class_ids, read_semantic_sample
from dataset_adapters.errors import DatasetError, LabelSourceMissingError
from support.arrays import Int32Array
from support.choices import NameSet

IGNORED = 255


@dataclass(frozen=True)
class MessAdapter(LayoutAdapter):
    """<folder>/<images>/<id><suffix> and <folder>/<masks>/<id><suffix>.

    names: the classes in the order of their ids, separated by ", ". suffixes: of images and of masks. not_of_interest:
    ids of classes that do not count in `ClassesOfInterest`.
    """

    name: str
    folder: str
    images: str
    masks: str
    names: str
    not_of_interest: tuple[int, ...] = (0,)
    suffixes: tuple[str, str] = (".jpg", ".png")
    default_split: str = "test"
    version: int = 1
    task: str = "semantic"
    file_columns: tuple[str, ...] = ("image", "mask")

    @property
    def nestings(self) -> tuple[str, ...]:  # type: ignore[override]
        """Where the layout may start below the data root."""
        return (self.folder,)

    @property
    def folders(self) -> tuple[str, ...]:  # type: ignore[override]
        """The folders of images and masks."""
        return self.images, self.masks

    def rows(self, root: Path, split: str | Path) -> list[Row]:
        """Return one row (id, image, mask) per mask, or per id if `split` is a file of ids. Raises DatasetError."""
        of_image, of_mask = self.suffixes
        if str(split) != self.default_split and not Path(split).is_file():
            raise DatasetError(f"split: expected {self.default_split} or a file of ids, found {str(split)!r}")
        found = sorted(path.name.removesuffix(of_mask) for path in (root / self.masks).glob(f"*{of_mask}"))
        if not found:
            raise LabelSourceMissingError(f"{self.masks}/*{of_mask}")
        ids = found if str(split) == self.default_split else read_ids(Path(split))
        return [
            {"id": id_, "image": f"{self.images}/{id_}{of_image}", "mask": f"{self.masks}/{id_}{of_mask}"}
            for id_ in ids
        ]

    def label_space(self, names: NameSet) -> LabelSpace:
        """Return label 0 for pixels of no query, and class id + 1."""
        classes = tuple(self.names.split(", "))
        labels = tuple(range(1, len(classes) + 1))
        return LabelSpace(self.name, ("no class", *classes), classes, labels, IGNORED, labels)

    def read(self, root: Path, row: Row, label_space: LabelSpace) -> Sample:
        """Decode one image and its mask. Raises SampleError."""
        return read_semantic_sample(root, row, label_space, class_ids(len(label_space.queries), IGNORED))


class ClassesOfInterest:
    """CoI-mIoU: the mean IoU of the classes of interest, all but a background unless MESS names fewer."""

    name = "coi"
    version = "1"
    tasks = ("semantic",)
    reductions: Mapping[str, str] = {
        "miou": "mean IoU over classes of interest with a target or predicted pixel; counts pooled over all samples"
    }

    def count(self, target: Int32Array, prediction: Int32Array, label_space: LabelSpace) -> dict[str, int]:
        """The pixels of each class of interest in both label maps, and in either, where the target counts."""
        left_out = {id_ + 1 for own in SETS if own.name == label_space.name for id_ in own.not_of_interest} or {0}
        known = target != label_space.ignore_label
        n_labels = len(label_space.labels)
        both, *each = (
            np.bincount(labels, minlength=n_labels)
            for labels in (target[known & (target == prediction)], target[known], prediction[known])
        )
        return {
            f"{kind}_{label}": int(pixels[label])
            for label in label_space.scored_labels
            if label not in left_out and (each[0][label] or each[1][label])
            for kind, pixels in (("intersection", both), ("union", each[0] + each[1] - both))
        }

    def figures(self, counts: Sequence[Mapping[str, int]]) -> dict[str, float | None]:
        """`miou`, None without a pixel of a class of interest."""
        labels = {key.partition("_")[2] for own in counts for key in own}
        sums = [
            [sum(own.get(f"{kind}_{label}", 0) for own in counts) for kind in ("intersection", "union")]
            for label in sorted(labels)
        ]
        return {"miou": sum(both / either for both, either in sums) / len(sums) if sums else None}


# fmt: off
PREPARED = ("images_detectron2/test", "annotations_detectron2/test")  # most sets'
PNG = (".png", ".png")
bdd100k = MessAdapter(
    "mess-bdd100k", "bdd100k", "images/10k/val", "annotations_detectron2/val",
    "road, sidewalk, building, wall, fence, pole, traffic light, traffic sign, vegetation, terrain, sky, person, "
    "rider, car, truck, bus, train, motorcycle, bicycle", (), default_split="val",
)
dark_zurich = MessAdapter(
    "mess-dark-zurich", "Dark_Zurich", "rgb_anon/val/night/GOPR0356", "gt/val_detectron2",
    f"unlabeled, {bdd100k.names}", suffixes=("_rgb_anon.png", "_gt_labelIds.png"), default_split="val",
)
mhp_v1 = MessAdapter(
    "mess-mhp-v1", "LV-MHP-v1", *PREPARED,
    "others, hat, hair, sunglasses, upper clothes, skirt, pants, dress, belt, left shoe, right shoe, face, left leg, "
    "right leg, left arm, right arm, bag, scarf, torso skin",
)
foodseg103 = MessAdapter(
    "mess-foodseg103", "FoodSeg103", "Images/img_dir/test", "Images/ann_dir/test",
    "background, candy, egg tart, french fries, chocolate, biscuit, popcorn, pudding, ice cream, cheese butter, cake, "
    "wine, milkshake, coffee, juice, milk, tea, almond, red beans, cashew, dried cranberries, soy, walnut, peanut, "
    "egg, apple, date, apricot, avocado, banana, strawberry, cherry, blueberry, raspberry, mango, olives, peach, "
    "lemon, pear, fig, pineapple, grape, kiwi, melon, orange, watermelon, steak, pork, chicken duck, sausage, "
    "fried meat, lamb, sauce, crab, fish, shellfish, shrimp, soup, bread, corn, hamburg, pizza, hanamaki baozi, "
    "wonton dumplings, pasta, noodles, rice, pie, tofu, eggplant, potato, garlic, cauliflower, tomato, kelp, seaweed, "
    "spring onion, rape, ginger, okra, lettuce, pumpkin, cucumber, white radish, carrot, asparagus, bamboo shoots, "
    "broccoli, celery stick, cilantro mint, snow peas, cabbage, bean sprouts, onion, pepper, green beans, "
    "French beans, king oyster mushroom, shiitake, enoki mushroom, oyster mushroom, white button mushroom, salad, "
    "other ingredients",
)
atlantis = MessAdapter(
    "mess-atlantis", "atlantis", *PREPARED,
    "bicycle, boat, breakwater, bridge, building, bus, canal, car, cliff, culvert, cypress tree, dam, ditch, fence, "
    "fire hydrant, fjord, flood, glaciers, hot spring, lake, levee, lighthouse, mangrove, marsh, motorcycle, "
    "offshore platform, parking meter, person, pier, pipeline, pole, puddle, rapids, reservoir, river, river delta, "
    "road, sea, ship, shoreline, sidewalk, sky, snow, spillway, swimming pool, terrain, traffic sign, train, truck, "
    "umbrella, vegetation, wall, water tower, water well, waterfall, wetland", (),
)
dram = MessAdapter(
    "mess-dram", "DRAM_processed", *PREPARED,
    "bird, boat, bottle, cat, chair, cow, dog, horse, person, potted-plant, sheep, background", (11,),
)
isaid = MessAdapter(
    "mess-isaid", "isaid", "images_detectron2/val", "annotations_detectron2/val",
    "others, boat, storage tank, baseball diamond, tennis court, basketball court, running track field, bridge, "
    "truck or bus, car, helicopter, swimming pool, traffic circle, soccer field, air plane, pier",
    suffixes=PNG, default_split="val",
)
isprs_potsdam = MessAdapter(
    "mess-isprs-potsdam", "ISPRS_Potsdam", "images_detectron2/test/irrg", "annotations_detectron2/test",
    "road, building, grass, tree, car, others", (5,), PNG,
)
worldfloods = MessAdapter(
    "mess-worldfloods", "WorldFloods", "images_detectron2/test/irrg", "annotations_detectron2/test",
    "land, water and flood, cloud", (0, 2), PNG,
)
floodnet = MessAdapter(
    "mess-floodnet", "FloodNet-Supervised_v1.0", *PREPARED,
    "background, building-flooded, building-non-flooded, road-flooded, road-non-flooded, water, tree, vehicle, pool, "
    "grass", (0, 2, 4, 5, 6, 7, 8, 9),
)
uavid = MessAdapter(
    "mess-uavid", "uavid_v1.5", "images_detectron2/val", "annotations_detectron2/val",
    "others, building, road, tree, grass, moving car, parked car, humans", suffixes=PNG, default_split="val",
)
kvasir_instrument = MessAdapter(
    "mess-kvasir-instrument", "kvasir-instrument", *PREPARED, "others, tool", suffixes=PNG
)
chase_db1 = MessAdapter("mess-chase-db1", "CHASEDB1", *PREPARED, "others, blood vessels")
cryonuseg = MessAdapter(
    "mess-cryonuseg", "CryoNuSeg", "images_detectron2", "annotations_detectron2", "others, nuclei in cells",
    suffixes=PNG,
)
paxray_lungs, paxray_mediastinum, paxray_bones, paxray_diaphragm = (
    MessAdapter(
        f"mess-paxray-{part}", "paxray_dataset", "images_detectron2/test", f"annotations_detectron2/test/{part}",
        f"others, {name}", suffixes=PNG,
    )
    for part, name in (
        ("lungs", "lung"), ("mediastinum", "mediastinum"), ("bones", "bones"), ("diaphragm", "diaphragm")
    )
)
corrosion_cs = MessAdapter(
    "mess-corrosion-cs", "Corrosion Condition State Classification", "original/Test/images", "original/Test/masks",
    "others, steel with fair corrosion, steel with poor corrosion, steel with severe corrosion",
    suffixes=(".jpeg", ".png"),
)
deepcrack = MessAdapter(
    "mess-deepcrack", "DeepCrack", "test_img", "annotations_detectron2/test", "concrete or asphalt, crack"
)
pst900 = MessAdapter(
    "mess-pst900", "PST900_RGBT_Dataset", "test/thermal", "test/labels",
    "background, fire extinguisher, backpack, drill, human", suffixes=PNG,
)
zerowaste_f = MessAdapter(
    "mess-zerowaste-f", "zerowaste-f", "splits_final_deblurred/test/data", "splits_final_deblurred/test/sem_seg",
    "background or trash, rigid plastic, cardboard, metal, soft plastic", suffixes=(".PNG", ".PNG"),
)
suim = MessAdapter(
    "mess-suim", "SUIM", "TEST/images", "annotations_detectron2/test",
    "background (waterbody), human diver, aquatic plants and sea-grass, wrecks and ruins, "
    "robots (auvs/rovs/instruments), reefs and invertebrates, fish and vertebrates, sea-floor and rocks",
)
cub_200 = MessAdapter(
    "mess-cub-200", "CUB_200_2011", *PREPARED,
    "background, Black-footed Albatross, Laysan Albatross, Sooty Albatross, Groove billed "
    "Ani, Crested Auklet, Least Auklet, Parakeet Auklet, Rhinoceros Auklet, Brewer "
    "Blackbird, Red winged Blackbird, Rusty Blackbird, Yellow-headed Blackbird, Bobolink, "
    "Indigo Bunting, Lazuli Bunting, Painted Bunting, Cardinal, Spotted Catbird, Gray "
    "Catbird, Yellow-breasted Chat, Eastern Towhee, Chuck will Widow, Brandt Cormorant, "
    "Red-faced Cormorant, Pelagic Cormorant, Bronzed Cowbird, Shiny Cowbird, Brown Creeper, "
    "American Crow, Fish Crow, Black-billed Cuckoo, Mangrove Cuckoo, Yellow-billed Cuckoo, "
    "Gray-crowned Rosy-Finch, Purple Finch, Northern Flicker, Acadian Flycatcher, Great "
    "Crested Flycatcher, Least Flycatcher, Olive-sided Flycatcher, Scissor-tailed "
    "Flycatcher, Vermilion Flycatcher, Yellow-bellied Flycatcher, Frigatebird, Northern "
    "Fulmar, Gadwall, American Goldfinch, European Goldfinch, Boat-tailed Grackle, Eared "
    "Grebe, Horned Grebe, Pied-billed Grebe, Western Grebe, Blue Grosbeak, Evening "
    "Grosbeak, Pine Grosbeak, Rose-breasted Grosbeak, Pigeon Guillemot, California Gull, "
    "Glaucous-winged Gull, Heermann Gull, Herring Gull, Ivory Gull, Ring-billed Gull, "
    "Slaty-backed Gull, Western Gull, Anna Hummingbird, Ruby-throated Hummingbird, Rufous "
    "Hummingbird, Green Violetear, Long-tailed Jaeger, Pomarine Jaeger, Blue Jay, Florida "
    "Jay, Green Jay, Dark-eyed Junco, Tropical Kingbird, Gray Kingbird, Belted Kingfisher, "
    "Green Kingfisher, Pied Kingfisher, Ringed Kingfisher, White-breasted Kingfisher, "
    "Red-legged Kittiwake, Horned Lark, Pacific Loon, Mallard, Western Meadowlark, Hooded "
    "Merganser, Red-breasted Merganser, Mockingbird, Nighthawk, Clark Nutcracker, "
    "White-breasted Nuthatch, Baltimore Oriole, Hooded Oriole, Orchard Oriole, Scott "
    "Oriole, Ovenbird, Brown Pelican, White Pelican, Western Wood-Pewee, Sayornis, American "
    "Pipit, Whip-poor-Will, Horned Puffin, Common Raven, White-necked Raven, American "
    "Redstart, Geococcyx, Loggerhead Shrike, Great Grey Shrike, Baird Sparrow, "  # codespell:ignore grey
    "Black-throated Sparrow, Brewer Sparrow, Chipping Sparrow, Clay-colored Sparrow, House "
    "Sparrow, Field Sparrow, Fox Sparrow, Grasshopper Sparrow, Harris Sparrow, Henslow "
    "Sparrow, Le Conte Sparrow, Lincoln Sparrow, Nelson Sharp-tailed Sparrow, Savannah "
    "Sparrow, Seaside Sparrow, Song Sparrow, Tree Sparrow, Vesper Sparrow, White-crowned "
    "Sparrow, White-throated Sparrow, Cape Glossy Starling, Bank Swallow, Barn Swallow, "
    "Cliff Swallow, Tree Swallow, Scarlet Tanager, Summer Tanager, Artic Tern, Black Tern, "  # codespell:ignore artic
    "Caspian Tern, Common Tern, Elegant Tern, Forsters Tern, Least Tern, Green-tailed "
    "Towhee, Brown Thrasher, Sage Thrasher, Black-capped Vireo, Blue-headed Vireo, "
    "Philadelphia Vireo, Red-eyed Vireo, Warbling Vireo, White-eyed Vireo, Yellow-throated "
    "Vireo, Bay-breasted Warbler, Black-and-white Warbler, Black-throated Blue Warbler, "
    "Blue-winged Warbler, Canada Warbler, Cape May Warbler, Cerulean Warbler, "
    "Chestnut-sided Warbler, Golden-winged Warbler, Hooded Warbler, Kentucky Warbler, "
    "Magnolia Warbler, Mourning Warbler, Myrtle Warbler, Nashville Warbler, Orange-crowned "
    "Warbler, Palm Warbler, Pine Warbler, Prairie Warbler, Prothonotary Warbler, Swainson "
    "Warbler, Tennessee Warbler, Wilson Warbler, Worm-eating Warbler, Yellow Warbler, "
    "Northern Waterthrush, Louisiana Waterthrush, Bohemian Waxwing, Cedar Waxwing, American "
    "Three-toed Woodpecker, Pileated Woodpecker, Red-bellied Woodpecker, Red-cockaded "
    "Woodpecker, Red-headed Woodpecker, Downy Woodpecker, Bewick Wren, Cactus Wren, "
    "Carolina Wren, House Wren, Marsh Wren, Rock Wren, Winter Wren, Common Yellowthroat",
)
cwfid = MessAdapter(
    "mess-cwfid", "cwfid", "images", "annotations_detectron2/test", "ground, crop seedling, weed",
    suffixes=("_image.png", "_annotation.png"),
)
# fmt: on
SETS = [own for own in vars().copy().values() if isinstance(own, MessAdapter)]
